"""The engine's JSON: its types, and how it marks a secret. What does not belong here: what one document means.

The policy pack, which the engine starts by itself, has the marks in policies/rules/props.py.
"""

from typing import Final

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]
Table = dict[str, Json]

# sdk/go/common/resource/sig: an object with this key is no object, and this value under it says that it is a secret.
SIGNATURE: Final = "4dabf18193072939515e22adb298388d"
SECRET: Final = "1b47061264138c4ac30d75fd1eb44270"  # noqa: S105 - a mark and no secret
MASK: Final = "[secret]"
"""What a preview writes in the place of a secret."""


def table(value: object) -> Table:
    """An object; an empty one in the place of anything else."""
    return value if isinstance(value, dict) else {}


def masked(value: object) -> object:
    """`value` with the mask for each secret, whether it is there as ciphertext or in clear."""
    if isinstance(value, dict):
        if value.get(SIGNATURE) == SECRET:
            return MASK
        return {key: masked(member) for key, member in value.items()}
    return [masked(member) for member in value] if isinstance(value, list) else value
