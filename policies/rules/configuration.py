"""What a resource is configured with: its environment, its arguments and the files that it is given.

All of it as names and values in one spelling, whichever way it came: `--log.level=debug`, `LOG_LEVEL=debug` and
`log: {level: debug}` are one setting, and so is a file that holds one value, as secrets do, by the file's name. What
a rule forbids does not belong here. Not seen from here: a file that is in the image or on the host, an upload by
`source`, and what a script does before it starts the app.
"""

import base64
import binascii
import codecs
import json
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final
from xml.etree import ElementTree

import yaml

from policies.rules.props import COMMANDS, ENVIRONMENT, UNKNOWN, Path, Unknown, Value, canonical, safe_name
from policies.rules.rule import Resource

_DEEPEST: Final = 60
_LARGEST: Final = 200_000
"""Levels and values of a document. More is nothing that people write: a document that refers to itself, say."""


class UnreadableError(ValueError):
    """A document is not what its name says. The message holds nothing of it."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One setting. `name` is in capitals with `_` between its words, `value` without quotes and outer spaces.

    A flag without a value has the value `true`. `called` is the name as it stands there, where the path has it not.
    """

    path: Path
    name: str
    value: str
    called: str = ""

    @property
    def note(self) -> str:
        """The name as it stands there, where it can be printed."""
        return safe_name(self.called) or ""


@dataclass(frozen=True, kw_only=True)
class File:
    """A file that a resource is given. `name` is its path in the container, `text` its content.

    UNKNOWN is what only an update will know, and a text of None one that no update will show either: what is given
    by `source`, and what is no text.
    """

    path: Path
    name: str | Unknown
    text: str | Unknown | None

    @property
    def base(self) -> str:
        """The last part of its path; empty where that is not known."""
        return self.name.rpartition("/")[2] if isinstance(self.name, str) else ""

    @property
    def extension(self) -> str:
        """In lower case, without the dot; empty where there is none or the name is not known."""
        return self.base.rpartition(".")[2].casefold() if "." in self.base else ""

    @property
    def opaque(self) -> bool:
        """Whether an app could read settings in it that are not seen here, though it is known."""
        if self.text is None:
            return self.extension in _SETTINGS
        if not isinstance(self.text, str):
            return False
        return self.extension in _XML and _xml(self.text) is None

    @property
    def structured(self) -> bool:
        """Whether its name promises a document of settings."""
        return self.extension in _PARSERS

    def document(self) -> Value:
        """Its content as plain data; None where it is not structured, UNKNOWN where it is not known.

        Raises UnreadableError.
        """
        if self.text is None:
            if self.structured:
                raise UnreadableError("is not given as text")
            return None
        if not isinstance(self.text, str):
            return UNKNOWN
        return _parsed(self.extension, self.text) if self.structured else None


def member(holder: Value, name: str) -> Value:
    """The value under `name` of a mapping, however the key is spelled; None where there is none."""
    if not isinstance(holder, dict):
        return None
    if name in holder:
        return holder[name]
    wanted = canonical(name)
    return next((value for key, value in holder.items() if canonical(key) == wanted), None)


def members(holder: Value, name: str) -> Iterator[tuple[str, Value]]:
    """The keys and values of the mapping under `name`; none where it is none."""
    found = member(holder, name)
    if isinstance(found, dict):
        yield from found.items()


def texts(value: Value) -> tuple[str, ...]:
    """The texts of a list, or the one text."""
    found = value if isinstance(value, list) else [value]
    return tuple(one for one in found if isinstance(one, str))


def files(resource: Resource) -> tuple[File, ...]:
    """What is uploaded into a container; the content of a Swarm config or secret."""
    return resource.once(_files)


def _files(resource: Resource) -> Iterator[File]:
    if resource.kind in ("ServiceConfig", "Secret"):
        name, data = member(resource.props, "name"), member(resource.props, "data")
        yield File(path=("data",), name=_name(name), text=_decoded(data))
    uploads = member(resource.props, "uploads")
    for index, upload in enumerate(uploads if isinstance(uploads, list) else []):
        # The provider takes an empty text for one that is not given, and refuses more than one.
        plain, encoded, source = (member(upload, key) for key in ("content", "contentBase64", "source"))
        where = "content"
        text: str | Unknown | None = None
        if UNKNOWN in (upload, plain):
            text = UNKNOWN
        elif isinstance(plain, str):
            text = plain.removeprefix(_MARK)
        if plain in (None, "") and encoded not in (None, ""):
            where, text = "contentBase64", _decoded(encoded)
        elif plain == "" and source not in (None, ""):
            text = None
        name = UNKNOWN if upload is UNKNOWN else member(upload, "file")
        yield File(path=("uploads", index, where), name=_name(name), text=text)


def _name(value: Value) -> str | Unknown:
    return value if isinstance(value, str | Unknown) else ""


def settings(resource: Resource) -> tuple[Setting, ...]:
    """Every setting of a resource, in its environment, its arguments and its files."""
    return resource.once(_settings)


def _settings(resource: Resource) -> Iterator[Setting]:
    for entry in resource.entries:
        if entry.within & ENVIRONMENT:
            if isinstance(entry.value, str):
                yield from _variable(entry.path, entry.value, entry.holder)
        elif entry.key in COMMANDS and (entry.holder or isinstance(entry.value, list)):
            yield from _arguments(entry.path, entry.value)
    for file in files(resource):
        if isinstance(file.text, str):
            yield from _of_file(file, file.text)


def name_of(text: str) -> str:
    """A name as words in capitals: `log.level`, `logLevel` and `LOG__LEVEL` are LOG_LEVEL."""
    apart = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", text)
    return re.sub(r"[^A-Z0-9]+", "_", apart.upper()).strip("_")


def _clean(value: str) -> str:
    return value.strip().strip("\"'").strip()


# In the spellings of Go's and Python's parsers and of people.
_OFF: Final = frozenset({"0", "false", "f", "no", "n", "off", "none", "null", "disable", "disabled", "never"})
_ON: Final = frozenset({"1", "true", "t", "yes", "y", "on", "enable", "enabled"})


def switched_off(value: str) -> bool:
    """Whether a value switches something off."""
    return value.casefold() in _OFF


def switched_on(value: str) -> bool:
    """Whether a value switches something on, and can be nothing else, such as a device's name."""
    return value.casefold() in _ON


def _variable(path: Path, text: str, holder: Mapping[str, Value]) -> Iterator[Setting]:
    key = path[-1]
    if isinstance(key, int):
        name, separator, value = text.partition("=")
        if not separator:
            return
    elif canonical(key) == "value" and isinstance(called := member(dict(holder), "name") or holder.get("key"), str):
        name, value = called, text
    else:
        name, value = key, text
    yield Setting(path=path, name=name_of(name), value=_clean(value), called=name)


def _arguments(path: Path, value: Value) -> Iterator[Setting]:
    """Flags and assignments, in a list of arguments and in the text of a shell."""
    words: list[tuple[Path, str]] = []
    for index, argument in enumerate(value if isinstance(value, list) else [value]):
        place = (*path, index) if isinstance(value, list) else path
        pieces = _words(argument) if isinstance(argument, str) else []
        words += [(place, piece) for piece in pieces]
    for index, (place, word) in enumerate(words):
        flag = re.fullmatch(r"(?:--?|cfg:)([A-Za-z][\w.-]*)(?:=(.*))?", word, re.DOTALL)
        assigned = re.fullmatch(r"([A-Za-z_]\w*)=(.*)", word, re.DOTALL)
        if flag:
            following = words[index + 1][1] if index + 1 < len(words) else "-"
            given = flag[2] if flag[2] is not None else ("true" if following.startswith("-") else following)
            name = flag[1]
        elif assigned:
            name, given = assigned[1], assigned[2]
        else:
            continue
        yield Setting(path=place, name=name_of(name), value=_clean(given), called=name)


def _words(argument: str) -> list[str]:
    return re.sub(r"[\"'`]", "", re.sub(r"[;&|(){}]", " ", argument)).split()


def _of_file(file: File, text: str) -> Iterator[Setting]:
    start = text.lstrip()[:1]
    try:
        data = file.document() if file.structured else _parsed("json", text) if start == "{" else None
    except UnreadableError:
        data = None  # that is a finding of its own
    if data is not None:
        yield from _leaves(data, file.path, "")
        return
    found = _xml(text) if file.extension in _XML or start == "<" else None
    if found is not None:
        yield from (
            Setting(path=(*file.path, tag), name=name_of(name), value=_clean(value)) for tag, name, value in found
        )
        return
    value = _PEM.sub("", text).strip()
    if re.fullmatch(r"[A-Za-z]\w*", file.base) and len(value.splitlines()) == 1:
        yield Setting(path=file.path, name=name_of(file.base), value=_clean(value))
    yield from _lines(file.path, value)
    if file.extension in _XML or start == "<":
        for element in re.finditer(r"<([A-Za-z_][\w.-]*)(?:\s[^<>]*)?>([^<>]*)</\1\s*>", value):
            yield Setting(path=(*file.path, element[1]), name=name_of(element[1]), value=_clean(element[2]))


_XML: Final = frozenset({"xml", "config"})
_SETTINGS: Final = _XML | {
    "yml",
    "yaml",
    "json",
    "toml",
    "ini",
    "conf",
    "cfg",
    "cnf",
    "env",
    "properties",
    "ovpn",
    "txt",
}
"""Extensions of files that hold settings, in text."""

_PEM: Final = re.compile(r"-----BEGIN ([A-Z0-9 ]{1,60})-----\s[A-Za-z0-9+/\s]*+={0,2}+\s*+-----END \1-----")


@lru_cache(maxsize=64)
def _xml(text: str) -> tuple[tuple[str, str, str], ...] | None:
    """Tag, name and value of each element and attribute. None for what is no XML, and for what defines entities."""
    if re.search(r"<!\s*(?:DOCTYPE|ENTITY)", text, re.IGNORECASE):
        return None
    try:
        root = ElementTree.fromstring(text)  # noqa: S314 - without a DOCTYPE there are no entities to expand
    except (ElementTree.ParseError, ValueError, LookupError):
        return None
    found: list[tuple[str, str, str]] = []
    for element in root.iter():
        tag = element.tag.rpartition("}")[2]
        found.append((tag, tag, "".join([element.text or "", *(child.tail or "" for child in element)])))
        given = {key.rpartition("}")[2]: value for key, value in element.attrib.items()}
        called = given.get("key") or given.get("name")
        found += [
            (tag, called if called and key == "value" else f"{tag}.{key}", value) for key, value in given.items()
        ]
    return tuple(found)


def _leaves(value: Value, path: Path, name: str) -> Iterator[Setting]:
    if isinstance(value, dict):
        for key, below in value.items():
            yield from _leaves(below, (*path, key), f"{name}.{key}")
    elif isinstance(value, list):
        for index, below in enumerate(value):
            yield from _leaves(below, (*path, index), name)
    elif value is not None and not isinstance(value, Unknown):
        yield Setting(path=path, name=name_of(name), value=_clean(str(value)))


def _lines(path: Path, text: str) -> Iterator[Setting]:
    """Lines of `name = value` under `[section]`, without the remarks behind them."""
    section = ""
    for line in text.splitlines():
        if found := re.match(r"\s*\[([^\]]*)\]", line):
            section = found[1]
        elif found := re.fullmatch(r"\s*(?:export\s+)?[\"'`]?([A-Za-z_][^=:#\s\"'`]*)[\"'`]?\s*[=:]\s*(.*)", line):
            parts = tuple(part for part in (section, found[1]) if part)
            value = re.sub(r"\s[;#].*", "", f" {found[2]}").strip().removesuffix(",")
            yield Setting(path=(*path, *parts), name=name_of(".".join(parts)), value=_clean(value))


_MARK: Final = "\ufeff"
_ENCODINGS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before that of 16, which it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def _decoded(value: Value) -> str | Unknown | None:
    """The text of base64; None where it is none."""
    if not isinstance(value, str):
        return UNKNOWN if value is UNKNOWN else None
    try:
        data = base64.b64decode(value, validate=False)
        return data.decode(_encoding(data))
    except (binascii.Error, ValueError):
        return None


def _encoding(data: bytes) -> str:
    """That of a text: by its mark, or by where the zeros are that half of each character is in UTF-16."""
    for mark, name in _ENCODINGS:
        if data.startswith(mark):
            return name
    if len(data) > 1 and b"\0" in data[:2] and data[:2] != b"\0\0":
        return "utf-16-be" if data[0] == 0 else "utf-16-le"
    return "utf-8"


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc] # the C one is not always there
    """Plain data; a text with a tag of an app's own (`!secret`) is a value that cannot be known."""


def _tagged(loader: _Loader, _tag: str, node: yaml.Node) -> object:
    """Most readers take a tagged mapping for a mapping: a tag hides nothing in it."""
    if isinstance(node, yaml.MappingNode):
        mapping: object = loader.construct_mapping(node, deep=True)
        return mapping
    if isinstance(node, yaml.SequenceNode):
        sequence: object = loader.construct_sequence(node, deep=True)
        return sequence
    return UNKNOWN


_Loader.add_multi_constructor("!", _tagged)


def _yaml(text: str) -> object:
    found: list[object] = list(yaml.load_all(text, Loader=_Loader))
    return found if len(found) > 1 else next(iter(found), None)


_PARSERS: Final[Mapping[str, Callable[[str], object]]] = {
    "yml": _yaml,
    "yaml": _yaml,
    "json": json.loads,
    "toml": tomllib.loads,
}


@lru_cache(maxsize=256)
def _parsed(kind: str, text: str) -> Value:
    try:
        return _plain(_PARSERS[kind](text), _Budget(left=_LARGEST), 0)
    except UnreadableError:
        raise
    except (ValueError, yaml.YAMLError, RecursionError, IndexError, TypeError, OverflowError) as error:
        raise UnreadableError(f"is not {kind}") from error


@dataclass
class _Budget:
    left: int


def _plain(value: object, budget: _Budget, depth: int) -> Value:
    budget.left -= 1
    if budget.left < 0 or depth > _DEEPEST:
        raise UnreadableError("is too large or too deep")
    if isinstance(value, dict):
        return {str(key): _plain(below, budget, depth + 1) for key, below in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain(below, budget, depth + 1) for below in value]
    if value is None or isinstance(value, str | bool | int | float | Unknown):
        return value
    return str(value)  # a date
