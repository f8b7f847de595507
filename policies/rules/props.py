"""A resource's inputs as plain data, which is what every rule works on.

The engine's inputs are proxies that raise when an unknown value is touched, and an exception ends the whole rule
as a mere advisory. `plain` is the one place that touches them: an unknown becomes the value UNKNOWN, and rules
work on ordinary dictionaries and lists. What a rule forbids does not belong here.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from typing import Final

from pulumi_policy import Secret
from pulumi_policy import proxy as sdk

from policies.rules.literals import looks_secret


class Unknown(Enum):
    """A value that only an update will know."""

    UNKNOWN = "unknown"


UNKNOWN: Final = Unknown.UNKNOWN

Path = tuple[str | int, ...]
Value = dict[str, "Value"] | list["Value"] | str | float | bool | Unknown | None

_UNKNOWN_TEXTS: Final = frozenset(
    {
        sdk.UNKNOWN_BOOLEAN_VALUE,
        sdk.UNKNOWN_NUMBER_VALUE,
        sdk.UNKNOWN_STRING_VALUE,
        sdk.UNKNOWN_ARRAY_VALUE,
        sdk.UNKNOWN_ASSET_VALUE,
        sdk.UNKNOWN_ARCHIVE_VALUE,
        sdk.UNKNOWN_OBJECT_VALUE,
    }
)
# How the engine's wire format marks a secret and an output (pulumi sdk/go/common/resource/properties.go). The SDK
# unwraps them for validation; recorded mock inputs and exported state still carry them.
SIGNATURE: Final = "4dabf18193072939515e22adb298388d"
WRAPPERS: Final = ("1b47061264138c4ac30d75fd1eb44270", "d0e6a833031e9bbcd3f4e8bde6ca49a4")


def plain(value: object) -> Value:
    """Copies engine inputs to plain data. Unknowns become UNKNOWN, secret wrappers their content; never raises."""
    if isinstance(value, Secret):
        return plain(value.value)
    if isinstance(value, str):
        return UNKNOWN if value in _UNKNOWN_TEXTS else value
    if value is None or isinstance(value, bool | int | float | Unknown):
        return value
    if isinstance(value, Mapping):
        if any(key == SIGNATURE and _member(value, key) in WRAPPERS for key in value):
            return _member(value, "value")
        # What begins so is the bridge's own, such as which inputs it has filled in.
        return {str(key): _member(value, key) for key in value if not str(key).startswith("__")}
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return [_member(value, index) for index in range(len(value))]
    return None  # an asset or archive: nothing a rule could read


def _member(holder: Mapping[object, object] | Sequence[object], key: object) -> Value:
    try:
        return plain(holder[key])  # type: ignore[call-overload]
    except (sdk.UnknownValueError, LookupError):
        return UNKNOWN


def leaves(value: Value, path: Path = ()) -> Iterator[tuple[Path, str | float | bool]]:
    """Each text, number and switch below `value`, with the path to it."""
    if isinstance(value, dict):
        for key, member in value.items():
            yield from leaves(member, (*path, key))
    elif isinstance(value, list):
        for index, member in enumerate(value):
            yield from leaves(member, (*path, index))
    elif value is not None and not isinstance(value, Unknown):
        yield path, value


def show(path: Path) -> str:
    """A property path as people write it, `mounts[0].source`. A part that is no plain name is shown as `*`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += ("." if text else "") + (safe_name(part) or "*")
    return text


def safe_name(name: str) -> str | None:
    """`name` where it can be printed: an identifier that is not itself a credential. Otherwise None."""
    if re.fullmatch(r"[A-Za-z_/][\w./-]{0,79}", name) and not looks_secret(name):
        return name
    return None
