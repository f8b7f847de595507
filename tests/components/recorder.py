"""What a Pulumi program registers under mocks (scripts/declared.py), as data that tests ask questions of.

Assert on it after `run`: an assertion inside an `apply` that nothing awaits never runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, cast

from google.protobuf import json_format

from scripts import declared
from scripts.declared import Export, Request, bcrypt, configuration, generated
from scripts.wire import SECRET, SIGNATURE, Json

__all__ = ["UNKNOWN", "Json", "Leaf", "Recorder", "Registered", "bcrypt", "configuration", "generated", "run"]

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


def _registered(request: Request) -> Registered:
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


def run(
    program: Callable[[], object], *, stack: str = "test", preview: bool = False, into: Recorder | None = None
) -> Recorder:
    """Runs `program` to its end, as scripts.declared does. What a program that raises had registered is in `into`."""
    recorder = Recorder() if into is None else into
    exports = declared.run(
        program, lambda request: recorder.resources.append(_registered(request)), stack, preview=preview
    )
    recorder.exports.update(exports)
    return recorder
