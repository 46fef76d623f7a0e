"""Whether both put a row's elements in the same order: for rankings, and for scores that nobody thresholds."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stopgap.comparison.pairs import Pair
from stopgap.comparison.sight import DISTANCE, Evidence, Sight, by_row
from stopgap.comparison.values import Floats
from stopgap.errors import ComparisonError

__all__ = ["Ranks", "kendall", "spearman"]

METHODS = ("kendall", "spearman")


@dataclass(frozen=True)
class Ranks:
    """(1 - correlation) / 2, by row: 0 for the same order, 1 for the reverse, 0.5 for none.

    Rows of equal elements alone have no order: 0 where both are so, 0.5 where one is. A row with a NaN is 0 from
    another with NaN in the same places and 1 from any other.
    """

    output: str
    method: str = "kendall"

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ComparisonError(f"There is no rank correlation {self.method!r}.", f"There are: {', '.join(METHODS)}.")

    @property
    def evidence(self) -> Evidence:
        return DISTANCE

    def look(self, pair: Pair) -> Sight:
        rows = by_row(self, pair, self.output, least=2, else_there_is="there is nothing to put in order")
        if isinstance(rows, Sight):
            return rows
        values = np.array([self._distance(one, other) for one, other in zip(rows.legacy, rows.candidate)])
        return Sight(values, severity=float(values.max()))

    def _distance(self, ours: Floats, theirs: Floats) -> float:
        here, there = np.isnan(ours), np.isnan(theirs)
        if (here != there).any():
            return 1.0
        ours, theirs = ours[~here], theirs[~here]
        if len(ours) < 2:
            return 0.0
        correlation = kendall(ours, theirs) if self.method == "kendall" else spearman(ours, theirs)
        if math.isnan(correlation):
            return 0.0 if (ours == ours[0]).all() and (theirs == theirs[0]).all() else 0.5
        return min(1.0, max(0.0, (1 - correlation) / 2))


def kendall(ours: Floats, theirs: Floats) -> float:
    """Kendall's tau-b in n log² n steps; NaN where one side is all equal. Shape [n] each, without NaN."""
    order = np.lexsort((theirs, ours))
    first, second = dense(ours)[order], dense(theirs)[order]
    pairs = len(first) * (len(first) - 1) / 2
    tied = pairs_within(first), pairs_within(second)
    tied_in_both = pairs_within(dense(first * (int(second.max()) + 1) + second))
    discordant = inversions(second)
    concordant = pairs - tied[0] - tied[1] + tied_in_both - discordant
    room = math.sqrt(pairs - tied[0]) * math.sqrt(pairs - tied[1])
    return (concordant - discordant) / room if room else math.nan


def spearman(ours: Floats, theirs: Floats) -> float:
    """Pearson's correlation of the ranks, equals sharing theirs; NaN where one side is all equal."""
    first, second = average_ranks(ours), average_ranks(theirs)
    first, second = first - first.mean(), second - second.mean()
    room = math.sqrt(float(first @ first)) * math.sqrt(float(second @ second))
    return float(first @ second) / room if room else math.nan


def dense(values: NDArray[np.generic]) -> NDArray[np.int64]:
    """Each value's place among the distinct ones, from 0."""
    return np.asarray(np.unique(values, return_inverse=True)[1], dtype=np.int64).reshape(-1)


def pairs_within(groups: NDArray[np.int64]) -> float:
    """How many pairs are of the same group."""
    sizes = np.bincount(groups).astype(np.float64)
    return float((sizes * (sizes - 1) / 2).sum())


def average_ranks(values: Floats) -> Floats:
    groups = dense(values)
    sizes = np.bincount(groups)
    last = np.cumsum(sizes)
    return np.asarray((last - (sizes - 1) / 2)[groups])


def inversions(values: NDArray[np.int64]) -> float:
    """How many pairs stand in the wrong order, bit by bit from the highest: no loop over the elements."""
    total = 0.0
    for bit in reversed(range(int(values.max()).bit_length())):
        # Within those that share the higher bits, in their order: each 0 that comes after a 1 is an inversion.
        groups = values >> (bit + 1)
        order = np.argsort(groups, kind="stable")
        ones = (values[order] >> bit) & 1
        before = np.cumsum(ones) - ones
        starts = np.searchsorted(groups[order], groups[order])
        total += float(((before - before[starts])[ones == 0]).sum())
    return total
