"""What the rules read of a resource's inputs, whatever somebody wrote there. No rule belongs here."""

from collections.abc import Mapping

from policies.rules.props import Value


def is_init(props: Mapping[str, Value]) -> bool:
    """Whether a container fills volumes and ends: without a network, never restarted, not expected to run."""
    return props.get("networkMode") == "none" and props.get("restart") == "no" and props.get("mustRun") is False


def table(value: Value) -> Mapping[str, Value]:
    """An object; empty for anything else."""
    return value if isinstance(value, dict) else {}


def text_of(value: Value) -> str:
    """A text; empty for anything else."""
    return value if isinstance(value, str) else ""


def items(value: Value) -> list[Value]:
    """A list; a single object or text counts as a list of one, anything else as none."""
    if isinstance(value, list):
        return value
    return [value] if isinstance(value, dict | str) and value != {} else []


def texts(value: Value) -> tuple[str, ...]:
    """The texts of a list, or the one text."""
    found = value if isinstance(value, list) else [value]
    return tuple(one for one in found if isinstance(one, str))


def number(value: Value) -> float | None:
    """A number, also where it is written as text; None for anything else, and for what is unknown."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except ValueError:
        return None


def overlaps(one: str, other: str) -> bool:
    """Whether one of two absolute paths is the other, or is below it."""
    shorter, longer = sorted((f"{one.rstrip('/')}/", f"{other.rstrip('/')}/"), key=len)
    return longer.startswith(shorter)
