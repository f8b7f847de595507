"""Runs a Pulumi program under mocks and hands back what it registered, as plain data.

The mock monitor's `Mocks` see neither resource options nor which part of an input is secret, so what is recorded
here is the request that the engine itself would get. Assert on it after `run`: an assertion inside an `apply` that
nothing awaits never runs.
"""

from __future__ import annotations

import asyncio
import contextvars
import hashlib
import inspect
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, TypeAlias, cast

import pulumi
from google.protobuf import json_format, struct_pb2
from pulumi.runtime import MockCallArgs, MockResourceArgs, Mocks
from pulumi.runtime import config as runtime_config
from pulumi.runtime import settings as runtime_settings
from pulumi.runtime.mocks import MockMonitor
from pulumi.runtime.proto import resource_pb2
from pulumi.runtime.stack import Stack

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

# How the engine's protocol marks what is not plain JSON (sdk/python runtime/rpc.py).
SIGNATURE: Final = "4dabf18193072939515e22adb298388d"
SECRET: Final = "1b47061264138c4ac30d75fd1eb44270"
UNKNOWN: Final = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"


@dataclass(frozen=True, kw_only=True)
class Leaf:
    """One scalar of a resource's inputs, such as uploads[2].content. Keys of objects are leaves as well: `path` is
    then that of the object."""

    path: str
    value: bool | int | float | str | None
    secret: bool


@dataclass(frozen=True, kw_only=True)
class Registered:
    """One resource as the engine would get it: inputs in camelCase, secrets unwrapped but noted in `leaves`.

    Other resources are named by their logical names.
    """

    type: str
    name: str
    custom: bool
    parent: str
    provider: str
    """The name of the explicit provider; empty where the engine would use a default one."""
    inputs: Mapping[str, Json]
    leaves: tuple[Leaf, ...]
    protect: bool
    retain_on_delete: bool
    delete_before_replace: bool
    replace_on_changes: frozenset[str]
    depends_on: frozenset[str]
    """Everything it waits for, by its inputs or by `depends_on`."""
    sources: Mapping[str, frozenset[str]]
    """Of each input, the resources whose outputs it is made from: what carries a replacement on."""
    create_timeout: str

    def text(self, key: str) -> str:
        """An input that is text; empty where it is not given."""
        value = self.inputs.get(key, "")
        assert isinstance(value, str), f"{self.name}.{key} is not text"
        return value

    def texts(self, key: str) -> list[str]:
        """An input that is a list of texts; empty where it is not given."""
        values = self.inputs.get(key) or []
        assert isinstance(values, list), f"{self.name}.{key} is not a list"
        assert all(isinstance(value, str) for value in values), f"{self.name}.{key} has what is not text"
        return cast("list[str]", values)

    def table(self, key: str) -> dict[str, Json]:
        """An input that is an object; empty where it is not given."""
        value = self.inputs.get(key) or {}
        assert isinstance(value, dict), f"{self.name}.{key} is not an object"
        return value

    def tables(self, key: str) -> list[dict[str, Json]]:
        """An input that is a list of objects; empty where it is not given."""
        values = self.inputs.get(key) or []
        assert isinstance(values, list), f"{self.name}.{key} is not a list"
        assert all(isinstance(value, dict) for value in values), f"{self.name}.{key} has what is not an object"
        return cast("list[dict[str, Json]]", values)

    @property
    def labels(self) -> dict[str, str]:
        """A container's labels."""
        return {str(item["label"]): str(item["value"]) for item in self.tables("labels")}

    @property
    def env(self) -> dict[str, str]:
        """A container's environment."""
        return dict(entry.split("=", 1) for entry in self.texts("envs"))

    @property
    def files(self) -> dict[str, str]:
        """What is uploaded into a container, by path."""
        return {str(item["file"]): str(item["content"]) for item in self.tables("uploads")}

    @property
    def mounts(self) -> dict[str, dict[str, Json]]:
        """A container's mounts, by target."""
        mounts = self.tables("mounts")
        targets = [str(item["target"]) for item in mounts]
        assert len(targets) == len(set(targets)), f"{self.name} mounts one path twice: {targets}"
        return dict(zip(targets, mounts, strict=True))


@dataclass(frozen=True, kw_only=True)
class Export:
    """A stack output."""

    value: Json
    secret: bool


@dataclass
class Recorder:
    """What one run registered, in no particular order."""

    resources: list[Registered] = field(default_factory=list)
    exports: dict[str, Export] = field(default_factory=dict)

    def of(self, kind: str) -> dict[str, Registered]:
        """The resources of one type, such as Container, by logical name."""
        return {item.name: item for item in self.resources if item.type.endswith(f":{kind}")}

    def service(self, name: str) -> Registered:
        """The long-running container of a service."""
        return self.of("Container")[f"{name}-container"]

    def seed(self, name: str) -> Registered:
        """The one-shot container that fills a service's volumes."""
        return self.of("Container")[f"{name}-seed"]


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


def generated(name: str, length: int) -> str:
    """The password that the mock of the random provider gives the resource of that logical name."""
    return hashlib.shake_256(name.encode()).hexdigest(length)[:length]


def bcrypt(name: str) -> str:
    """What stands for the bcrypt hash of that password."""
    return f"$2a$10${generated(f'{name} in bcrypt', 53)}"


class _Monitor(MockMonitor):
    """The mock monitor, which also keeps each request and marks the outputs that a provider marks as secret."""

    def __init__(self, mocks: Mocks, recorder: Recorder) -> None:
        super().__init__(mocks)
        self._recorder = recorder

    def RegisterResource(  # noqa: N802
        self, request: resource_pb2.RegisterResourceRequest
    ) -> resource_pb2.RegisterResourceResponse:
        if request.type != "pulumi:pulumi:Stack":
            self._recorder.resources.append(_registered(request))
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


def _registered(request: resource_pb2.RegisterResourceRequest) -> Registered:
    given = cast("dict[str, Json]", json_format.MessageToDict(request.object))
    leaves = tuple(_leaves(given, "", secret=False))
    revealed = _reveal(given)
    assert isinstance(revealed, dict)
    return Registered(
        type=request.type,
        name=request.name,
        custom=request.custom,
        parent=_name(request.parent),
        provider=_name(request.provider.rpartition("::")[0]),
        inputs=revealed,
        leaves=leaves,
        protect=request.protect,
        retain_on_delete=request.retainOnDelete,
        delete_before_replace=request.deleteBeforeReplace,
        replace_on_changes=frozenset(request.replaceOnChanges),
        depends_on=frozenset(_name(urn) for urn in request.dependencies),
        sources={key: frozenset(map(_name, found.urns)) for key, found in request.propertyDependencies.items()},
        create_timeout=request.customTimeouts.create,
    )


def _name(urn: str) -> str:
    """The logical name in a URN."""
    return urn.rpartition("::")[2]


def _leaves(value: Json, path: str, *, secret: bool) -> Iterator[Leaf]:
    if isinstance(value, dict):
        if value.get(SIGNATURE) == SECRET:
            yield from _leaves(value["value"], path, secret=True)
            return
        for key, item in value.items():
            yield Leaf(path=path, value=key, secret=secret)
            yield from _leaves(item, f"{path}.{key}" if path else key, secret=secret)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _leaves(item, f"{path}[{index}]", secret=secret)
    else:
        yield Leaf(path=path, value=value, secret=secret)


def _reveal(value: Json) -> Json:
    if isinstance(value, dict):
        if value.get(SIGNATURE) == SECRET:
            return _reveal(value["value"])
        return {key: _reveal(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_reveal(item) for item in value]
    # The protocol knows one kind of number.
    return int(value) if isinstance(value, float) and value.is_integer() else value


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


def run(
    program: Callable[[], object], *, stack: str = "test", preview: bool = False, into: Recorder | None = None
) -> Recorder:
    """Runs `program` to its end: every resource registered, every Output awaited, every error raised. It may be
    an async function. What a program that raises had registered is seen in `into`."""
    recorder = Recorder() if into is None else into
    # The SDK's state lives in context variables: in a context of its own, one run leaves nothing for the next.
    contextvars.copy_context().run(_run, program, recorder, stack, preview)
    return recorder


def _run(program: Callable[[], object], recorder: Recorder, stack: str, preview: bool) -> None:
    async def whole() -> None:
        result = program()
        if inspect.isawaitable(result):
            await result
        root = runtime_settings.get_root_resource()
        assert isinstance(root, Stack)
        for name, value in root.outputs.items():
            output: pulumi.Output[Json] = pulumi.Output.from_input(value)
            recorder.exports[name] = Export(value=await output.future(), secret=await output.is_secret())

    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    runtime_settings.ROOT.set(None)
    try:
        mocks = _Outputs(preview=preview)
        pulumi.runtime.set_mocks(
            mocks, project="nexus", stack=stack, preview=preview, monitor=_Monitor(mocks, recorder)
        )
        pulumi.runtime.test(whole)()  # type: ignore[no-untyped-call]
    finally:
        loop.close()
        asyncio.set_event_loop(None)
