"""Runs a Pulumi program under the SDK's mocks: what it declares, without engine, passphrase, secrets or Docker.

The mock monitor's `Mocks` see neither resource options nor which part of an input is secret, so what is kept is the
request that the engine itself would get (`run`). `of_stack` runs this project's program so, with a stack file's plain
settings and made-up secrets. What does not belong here: checking what was declared.
"""

from __future__ import annotations

import asyncio
import contextvars
import hashlib
import inspect
import json
import runpy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias, cast
from unittest import mock

import pulumi
from google.protobuf import json_format, struct_pb2
from pulumi.runtime import MockCallArgs, MockResourceArgs, Mocks
from pulumi.runtime import config as runtime_config
from pulumi.runtime import settings as runtime_settings
from pulumi.runtime.mocks import MockMonitor
from pulumi.runtime.proto import resource_pb2

from components import host, reach
from components.settings.load import PLACEHOLDER, SettingsError, filled, placeholders
from components.settings.secret import SECRET_KEYS, required_secrets
from components.stackfile import PROJECT
from policies.rules.props import plain
from policies.rules.rule import Resource, Stack
from scripts import stack as stack_files
from scripts.console import UserError, say
from scripts.wire import SECRET, SIGNATURE, Json

Request: TypeAlias = resource_pb2.RegisterResourceRequest

SOCKET_GID: Final = 999
"""Stands for the group of the engine's socket, which only the host knows."""


@dataclass(frozen=True, kw_only=True)
class Export:
    """A stack output."""

    value: Json
    secret: bool


def of_stack(root: Path, name: str, file: Path, *, quiet: bool = False) -> Stack:
    """What this project's program, in the checkout `root`, declares on the stack `name` with the settings in `file`.

    Secrets are made up, whether the file has them or not, a template's placeholders are taken for examples, and
    nothing is asked of any host. Says which placeholders, unless `quiet`. Raises UserError where the program refuses
    the settings.
    """
    settings = stack_files.settings_of(file, name, examples=True)
    values = stack_files.values_of(file)
    if (left := placeholders(values)) and not quiet:
        keys = ", ".join(".".join(path) for path, _ in left)
        say(f"{file.name}: is a template; checked with examples in place of {PLACEHOLDER} in {keys}")
    given = {
        key: cast("Json", value)
        for key, value in filled(values).items()
        if key.startswith(f"{PROJECT}:") and not _encrypted(key)
    }
    if settings.docker.socket_gid is None:
        # The file was parsed: the key is an object, or JSON text of one, or not there.
        engine = given.get(f"{PROJECT}:docker") or {}
        loaded = json.loads(engine) if isinstance(engine, str) else engine
        given[f"{PROJECT}:docker"] = {**cast("dict[str, Json]", loaded), "socket-gid": SOCKET_GID}
    have = {key.partition(":")[2] for key in values if _encrypted(key)}
    wanted = {one.key for one in required_secrets(settings, have)} | have
    secrets = {
        f"{PROJECT}:{one.key}": one.sample.format(generated(one.key, 32)) for one in SECRET_KEYS if one.key in wanted
    }
    found: list[Resource] = []
    nowhere = host.HostFacts(stack=name, local=False)
    try:
        with (
            configuration(given, secrets),
            mock.patch.object(host, "gather", return_value=nowhere),
            mock.patch.object(reach, "refusal", return_value=None),
        ):
            run(
                lambda: runpy.run_path(str(root / "__main__.py")),
                lambda one: found.append(_resource(one, name)),
                name,
            )
    except SettingsError as error:
        raise UserError(str(error)) from error
    return Stack(name=name, resources=tuple(found))


def _encrypted(key: str) -> bool:
    return key in {f"{PROJECT}:{one.key}" for one in SECRET_KEYS}


def _resource(request: Request, stack: str) -> Resource:
    props = plain(json_format.MessageToDict(request.object))
    assert isinstance(props, dict)  # noqa: S101 - what a message is as a dictionary
    parents = request.parent.split("::")[2:3]
    kinds = "$".join([*parents, request.type]) if parents and parents[0] != "pulumi:pulumi:Stack" else request.type
    return Resource(
        type=request.type,
        name=request.name,
        stack=stack,
        props=props,
        urn=f"urn:pulumi:{stack}::{PROJECT}::{kinds}::{request.name}",
        protect=request.protect,
        sources={
            key: frozenset(urn.rpartition("::")[2] for urn in found.urns)
            for key, found in request.propertyDependencies.items()
        },
    )


def run(
    program: Callable[[], object], keep: Callable[[Request], None], stack: str = "test", *, preview: bool = False
) -> dict[str, Export]:
    """Runs `program` to its end: every resource registered, every Output awaited, every error raised.

    It may be an async function. `keep` gets each request as it comes; the stack's outputs are what comes back.
    """
    # The SDK's state lives in context variables: in a context of its own, one run leaves nothing for the next.
    return contextvars.copy_context().run(_run, program, keep, stack, preview)


def _run(
    program: Callable[[], object], keep: Callable[[Request], None], stack: str, preview: bool
) -> dict[str, Export]:
    exports: dict[str, Export] = {}

    async def whole() -> None:
        result = program()
        if inspect.isawaitable(result):
            await result
        root = runtime_settings.get_root_resource()
        outputs: Mapping[str, object] = getattr(root, "outputs", {})
        for name, value in outputs.items():
            output: pulumi.Output[Json] = pulumi.Output.from_input(cast("Json", value))
            exports[name] = Export(value=await output.future(), secret=await output.is_secret())

    loop = asyncio.new_event_loop()
    # What fails is raised. asyncio would log it once more, whenever it comes to collect the future.
    loop.set_exception_handler(lambda *_: None)
    asyncio.set_event_loop(loop)
    runtime_settings.ROOT.set(None)
    try:
        mocks = _Outputs(preview=preview)
        pulumi.runtime.set_mocks(mocks, project=PROJECT, stack=stack, preview=preview, monitor=_Monitor(mocks, keep))
        pulumi.runtime.test(whole)()  # type: ignore[no-untyped-call]
    finally:
        loop.close()
        asyncio.set_event_loop(None)
    return exports


@contextmanager
def configuration(config: Mapping[str, Json], secret: Mapping[str, str] | None = None) -> Iterator[None]:
    """The engine's configuration for a stack, restored afterwards. Keys as in the stack file (nexus:edge); objects
    become the JSON text that the engine hands over."""
    given = {**config, **(secret or {})}
    values = {key: value if isinstance(value, str) else json.dumps(value) for key, value in given.items()}
    runtime_config.set_all_config(values, sorted(secret or {}))
    try:
        yield
    finally:
        runtime_config.set_all_config({}, [])


def generated(name: str, length: int) -> str:
    """The password that the mock of the random provider gives the resource of that logical name."""
    return hashlib.shake_256(name.encode()).hexdigest(length)[:length]


def bcrypt(name: str) -> str:
    """What stands for the bcrypt hash of that password."""
    return f"$2a$10${generated(f'{name} in bcrypt', 53)}"


class _Outputs(Mocks):
    """What the providers would give back: ids and computed outputs, made from names. None of them in a preview."""

    def __init__(self, *, preview: bool) -> None:
        self.preview = preview

    def new_resource(self, args: MockResourceArgs) -> tuple[str, dict[str, object]]:
        if self.preview:
            return "", args.inputs
        return f"{args.name}-id", {**args.inputs, **_computed(args)}

    def call(self, args: MockCallArgs) -> tuple[dict[object, object], list[tuple[str, str]] | None]:
        raise AssertionError(f"unexpected call {args.token}: the program looks nothing up")


def _computed(args: MockResourceArgs) -> dict[str, object]:
    match args.typ:
        case "docker:index/remoteImage:RemoteImage":
            return {"imageId": f"sha256:{args.name}"}
        case "random:index/randomPassword:RandomPassword":
            return {"result": generated(args.name, int(args.inputs["length"])), "bcryptHash": bcrypt(args.name)}
    return {}


class _Monitor(MockMonitor):
    """The mock monitor, which also hands on each request and marks the outputs that a provider marks as secret."""

    def __init__(self, mocks: Mocks, keep: Callable[[Request], None]) -> None:
        super().__init__(mocks)
        self._keep = keep

    def RegisterResource(self, request: Request) -> resource_pb2.RegisterResourceResponse:  # noqa: N802
        if request.type != "pulumi:pulumi:Stack":
            self._keep(request)
        response = cast(
            "resource_pb2.RegisterResourceResponse",
            super().RegisterResource(request),  # type: ignore[no-untyped-call]
        )
        for key in request.additionalSecretOutputs:
            if key in response.object.fields:
                marked = struct_pb2.Value()
                marked.struct_value.fields[SIGNATURE].string_value = SECRET
                marked.struct_value.fields["value"].CopyFrom(response.object.fields[key])
                response.object.fields[key].CopyFrom(marked)
        return response
