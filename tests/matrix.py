"""The networks of a stack with who is on each, from policies/matrix.yaml: what tests hold the real thing against.

That the file is what the program declares, on every stack, is itself tested (tests/components/test_networks.py,
tests/scripts/test_docs.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from components import networks
from policies.config import matrix
from policies.rules.networks import ANSWERS


@dataclass(frozen=True, kw_only=True)
class Row:
    """One network: what it is by the program, and who is on it by the matrix."""

    name: str
    internal: bool
    apart: bool
    options: Mapping[str, str]
    members: tuple[str, ...]
    answering: frozenset[str]
    """Members that the others find there by name."""

    @property
    def silent(self) -> tuple[str, ...]:
        """Members that open connections here and listen elsewhere. Where all are kept apart, nobody is called so."""
        return () if self.apart else tuple(name for name in self.members if name not in self.answering)

    def joins(self, one: str, other: str) -> bool:
        """Whether `one` may open a connection to `other` on this network."""
        return one in self.members and other in self.answering and not self.apart


def _service(container: str) -> str:
    assert container.endswith("-container"), container
    return container.removesuffix("-container")


def _rows() -> tuple[Row, ...]:
    members = {
        network.removeprefix("network-"): {_service(name): how for name, how in row.items()}
        for network, row in matrix().items()
    }
    assert members.keys() == {row.name for row in networks.TABLE}, "run `make docs`"
    return tuple(
        Row(
            name=row.name,
            internal=row.internal,
            apart=row.apart,
            options=row.options,
            members=tuple(members[row.name]),
            answering=frozenset(name for name, how in members[row.name].items() if how == ANSWERS),
        )
        for row in networks.TABLE
    )


TABLE: Final = _rows()


def rows_of(service: str) -> tuple[Row, ...]:
    """The networks that `service` is on."""
    rows = tuple(row for row in TABLE if service in row.members)
    assert rows, f"policies/matrix.yaml has no {service}"
    return rows


def may_talk(one: str, other: str) -> bool:
    """Whether `one` may open a connection to `other`."""
    return any(row.joins(one, other) for row in TABLE)
