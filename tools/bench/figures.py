"""Medians and ratios of measurements, and the tables that show them. What does not belong here: measuring."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Series:
    """One thing's seconds, one for each round."""

    name: str
    seconds: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows under a head; the first column is text, the others are numbers."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def text(self) -> str:
        """For the terminal."""
        widths = [max(len(row[column]) for row in (self.head, *self.rows)) for column in range(len(self.head))]
        return "\n".join(
            "  "
            + "  ".join(
                _aligned(cell, width, column) for column, (cell, width) in enumerate(zip(row, widths, strict=True))
            )
            for row in (self.head, *self.rows)
        )

    def markdown(self) -> str:
        """For a document."""
        rule = ["---", *(["---:"] * (len(self.head) - 1))]
        return "\n".join("| " + " | ".join(row) + " |" for row in (self.head, rule, *self.rows))


def ratio(one: Series, other: Series) -> float:
    """How many times `other` took `one`: the median over the rounds, so that a slow stretch of the machine, which
    both of a round went through, does not show. Raises ValueError for series of different or no rounds."""
    return statistics.median(a / b for a, b in zip(one.seconds, other.seconds, strict=True))


def compare(series: Sequence[Series], against: Sequence[str]) -> Table:
    """Each series with its median and range, in seconds, and its ratio to those named in `against`.

    A series is not compared with itself nor with one that comes after it.
    """
    named = {one.name: one for one in series}
    order = list(named)
    rows = []
    for place, one in enumerate(series):
        ratios = (f"{ratio(one, named[base]):.2f}" if order.index(base) < place else "" for base in against)
        spread = f"{min(one.seconds):.1f} to {max(one.seconds):.1f}"
        rows.append((one.name, f"{statistics.median(one.seconds):.1f}", spread, *ratios))
    return Table(head=("seconds of", "median", "range", *(f"to {base}" for base in against)), rows=tuple(rows))


def _aligned(cell: str, width: int, column: int) -> str:
    return cell.rjust(width) if column else cell.ljust(width)
