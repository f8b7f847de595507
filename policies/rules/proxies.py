"""What a socket proxy is, and what it lets pass by its arguments, variables and labels.

Known are wollomatic/socket-proxy (a regular expression for each HTTP method) and those in the manner of
tecnativa/docker-socket-proxy (a switch for each part of the API). Who may reach a proxy does not belong here, nor a
rule.
"""

import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from policies.rules.props import ARGUMENTS, ENVIRONMENT, LABELS, Entry, Path, Value
from policies.rules.rule import Resource

_REPOSITORY: Final = re.compile(
    r"(?:^|/)(?:[\w.-]*socket-?proxy[\w.-]*|tecnativa/docker-socket-proxy|[\w.-]*dockersocket[\w.-]*)(?=[:@]|$)",
    re.IGNORECASE,
)
# wollomatic: -allowGET, SP_ALLOW_GET, SP_ALLOW_GET_2, and socket-proxy.allow.get.1 as a label of a consumer.
_METHOD: Final = re.compile(
    r"(?:sp|socketproxy)?allow(?P<method>get|head|post|put|patch|delete|connect|trace|options)\d*"
)
_READS: Final = frozenset({"get", "head", "trace", "options"})
_STARTS_ONE: Final = re.compile(r"/containers/[A-Za-z0-9][\w-]*(?:\\\.[\w-]+)*/start")
# tecnativa and linuxserver: the methods that write, single actions, and the parts of the API whose every use runs
# something or reads a secret.
_SWITCH: Final = re.compile(
    r"post|put|patch|delete|allow_\w+|auth|secrets|exec|build|commit|session|grpc|plugins|swarm|configs"
)
_OFF: Final = frozenset({"", "0", "false", "no", "off", "n", "f"})

_ID: Final = "0a" * 32
_NOWHERE: Final = ("/zq", "/zq/zq", "/v1.51/zq", "/v1.51/zq/zq", "/v1.51/containers/zq/zq", "/containers/zq/zq")
_FILES: Final = tuple(
    f"{version}{path}"
    for version in ("", "/v1.51", "/v1.24")
    for path in (
        f"/containers/{_ID}/archive",
        f"/containers/{_ID}/export",
        f"/containers/{_ID[:12]}/archive",
        "/containers/sonarr/archive",
        "/containers/sonarr/export",
        f"/containers/{_ID}/attach/ws",
        "/images/get",
        f"/images/{_ID}/get",
        "/images/sonarr/get",
        "/secrets",
        "/secrets/abc",
        "/configs",
        "/swarm/unlockkey",
    )
)


@dataclass(frozen=True, kw_only=True)
class Option:
    """One option of a container: its name as it is written, and its value where that is known.

    `variable` says that it is one of the environment, and no flag.
    """

    path: Path
    name: str
    value: str | None
    variable: bool = False

    @property
    def key(self) -> str:
        """The name in one spelling: `-allowPOST`, `SP_ALLOW_POST` and `--allow-post` have the same, but for `sp`."""
        return re.sub(r"[^a-z0-9]", "", self.name.casefold())


def known_proxy(image: str) -> bool:
    """Whether an image's name is that of a socket proxy."""
    return _REPOSITORY.search(image.strip()) is not None


def pair(entry: Entry, text: str) -> tuple[str, str]:
    """Name and value of a variable or label: `NAME=value` of a list, `{name, value}`, or a member of a map."""
    if isinstance(entry.path[-1], int):
        name, _, value = text.partition("=")
        return name.strip(), value
    called = next((entry.holder[key] for key in ("label", "name", "key") if key in entry.holder), None)
    return (called if isinstance(called, str) else str(entry.path[-1])), text


def options(resource: Resource) -> Iterator[Option]:
    """The flags and variables of a container."""
    for entry in resource.entries:
        if entry.within & ENVIRONMENT:
            if isinstance(entry.value, str):
                name, value = pair(entry, entry.value)
                yield Option(path=entry.path, name=name, value=_unquoted(value), variable=True)
        elif entry.key in ARGUMENTS and (entry.holder or isinstance(entry.value, list)):
            yield from _flags(entry.path, entry.value)


def grants(resource: Resource) -> Iterator[tuple[Path, str, Option]]:
    """What a proxy lets pass that a reader has no need of: where, the problem, and the option."""
    for option in options(resource):
        if problem := _granted(option) or _switched(option):
            yield option.path, problem, option


def label_grants(resource: Resource) -> Iterator[tuple[Path, str, Option]]:
    """The same, of the labels by which a container grants itself requests to a proxy that reads them."""
    for entry in resource.entries:
        if not entry.within & LABELS or not isinstance(entry.value, str):
            continue
        name, value = pair(entry, entry.value)
        option = Option(path=entry.path, name=name, value=value)
        if option.key.startswith("socketproxyallow") and (problem := _granted(option)):
            yield option.path, problem, option


def starts_one(option: Option) -> bool:
    """Whether it lets one container be started, named in full, by the engine's newest API: before 1.24 a start could
    bring along a new HostConfig."""
    found = _METHOD.fullmatch(option.key)
    return bool(found and found["method"] == "post" and _STARTS_ONE.fullmatch(option.value or ""))


def _granted(option: Option) -> str:
    found = _METHOD.fullmatch(option.key)
    if found is None or option.value == "":
        return ""
    if found["method"] not in _READS:
        return "lets requests pass that change something"
    return "" if option.value is None else _too_wide(option.value)


def _switched(option: Option) -> str:
    if not option.variable or not _SWITCH.fullmatch(option.name.strip().casefold()):
        return ""
    if option.value is None or option.value.casefold() in _OFF:
        return ""
    return "opens a part of the engine's API that changes something or reads secrets"


def _too_wide(pattern: str) -> str:
    """What is wrong with the regular expression of the paths that may be read, if anything."""
    # The proxy puts ^ and $ around it and searches.
    if _loose(pattern):
        return "allows paths by a choice without a group, of which each half is held at one end only"
    if len(pattern) > 1000 or _involved(pattern):
        return "allows paths by a pattern that is too involved to be judged"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            paths = re.compile(f"^{pattern}$")
    except (re.error, RecursionError, OverflowError):
        return "allows paths by a pattern that cannot be judged"
    if any(paths.search(path) for path in _NOWHERE):
        return "allows paths of any kind"
    if any(paths.search(path) for path in _FILES):
        return "allows paths by which files of every container, or secrets, can be read"
    return ""


def _loose(pattern: str) -> bool:
    """Whether there is a `|` outside of groups and classes."""
    bare = re.sub(r"\\.|\[\^?\]?[^\]]*\]", "", pattern, flags=re.DOTALL)
    while (inner := re.sub(r"\([^()]*\)", "", bare)) != bare:
        bare = inner
    return "|" in bare


def _involved(pattern: str) -> bool:
    """Whether matching it could take long: repeated groups, or many repetitions in a row."""
    if re.search(r"\)(?:[*+]|\{\d*,)", pattern):
        return True
    return any(len(re.findall(r"[*+]|\{\d*,\d*\}", piece)) > 4 for piece in pattern.split("|"))


def _flags(path: Path, value: Value) -> Iterator[Option]:
    listed = isinstance(value, list)
    words: list[tuple[Path, str | None]] = []
    for index, argument in enumerate(value if isinstance(value, list) else [value]):
        place = (*path, index) if listed else path
        if not isinstance(argument, str):
            words.append((place, None))
        elif listed and argument.lstrip().startswith("-"):
            words.append((place, argument.strip()))
        else:
            words += [(place, word) for word in argument.split()]
    for index, (place, word) in enumerate(words):
        found = re.fullmatch(r"[\"']?--?(?P<name>[A-Za-z][\w.-]*)(?:=(?P<value>.*))?", word or "", re.DOTALL)
        if found is None:
            continue
        if found["value"] is not None:
            yield Option(path=place, name=found["name"], value=_unquoted(found["value"]))
            continue
        following = words[index + 1][1] if index + 1 < len(words) else ""
        switch = following is not None and (following.startswith("-") or following == "")
        yield Option(path=place, name=found["name"], value="true" if switch else following and _unquoted(following))


def _unquoted(text: str) -> str:
    return text.strip().strip("\"'").strip()
