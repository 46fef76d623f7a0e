"""How many edits lie between two sequences: of bytes, of ids, or of words."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Optional

import numpy as np
from numpy.typing import NDArray

from stopgap.comparison.classes import label
from stopgap.comparison.pairs import Pair
from stopgap.comparison.sight import DISTANCE, Evidence, Sight, matching
from stopgap.comparison.values import as_array, text

__all__ = ["EditDistance", "edit_distance"]


@dataclass(frozen=True)
class EditDistance:
    """Levenshtein's distance by row, divided by the longer one's length: 0 for the same, 1 for nothing in common.

    A row of one text is a sequence of its bytes, any other row one of its elements, whatever lengths both have.

    Attributes:
        padding: An element that fills rows up: taken off their ends.
        longest: What is longer on either side is not known: it would take time by the square of it.
    """

    output: str
    padding: Optional[int] = None  # noqa: UP045 - read by Python 3.9 too
    longest: int = 4096

    @property
    def evidence(self) -> Evidence:
        return DISTANCE

    def look(self, pair: Pair) -> Sight:
        found = matching(self, pair, self.output, same_shape=False)
        if isinstance(found, Sight):
            return found
        sides = [[self._sequence(row) for row in np.atleast_1d(side)] for side in (found.legacy, found.candidate)]
        if any(len(each) > self.longest for side in sides for each in side):
            return Sight(np.zeros(0), f"a sequence has more than {self.longest} elements", unknown=True)
        values = np.array([distance(one, other) for one, other in zip(*sides)])
        return Sight(values, severity=float(values.max()))

    def _sequence(self, row: Any) -> Sequence[Hashable]:
        found = as_array(row)
        if found is None:
            return text(row)
        if not found.ndim or found.size == 1:
            element = found.ravel()[0]
            if isinstance(element, (bytes, str)):
                return text(element)
        elements: list[Hashable] = [label(each) for each in found.ravel()]
        end = len(elements)
        filling = None if self.padding is None else text(self.padding)
        while end and elements[end - 1] == filling:
            end -= 1
        return elements[:end]


def distance(ours: Sequence[Hashable], theirs: Sequence[Hashable]) -> float:
    longer = max(len(ours), len(theirs))
    return edit_distance(ours, theirs) / longer if longer else 0.0


def edit_distance(ours: Sequence[Hashable], theirs: Sequence[Hashable]) -> int:
    """Insertions, deletions and replacements, one each."""
    numbers: dict[Hashable, int] = {}
    first, second = (
        np.array([numbers.setdefault(each, len(numbers)) for each in side], int) for side in (ours, theirs)
    )
    first, second = stripped(first, second)
    places = np.arange(len(second) + 1)
    row = places.copy()
    for step, element in enumerate(first, 1):
        # Replaced or deleted first; then what insertions from the left make of that, all of the row at once.
        best = np.concatenate([[step], np.minimum(row[:-1] + (second != element), row[1:] + 1)])
        row = np.minimum.accumulate(best - places) + places
    return int(row[-1])


def stripped(first: NDArray[np.int_], second: NDArray[np.int_]) -> tuple[NDArray[np.int_], NDArray[np.int_]]:
    """Without what both begin and end with."""
    shorter = min(len(first), len(second))
    differ = np.flatnonzero(first[:shorter] != second[:shorter])
    start = int(differ[0]) if differ.size else shorter
    first, second = first[start:], second[start:]
    shorter = min(len(first), len(second))
    differ = np.flatnonzero(first[::-1][:shorter] != second[::-1][:shorter])
    end = int(differ[0]) if differ.size else shorter
    return first[: len(first) - end], second[: len(second) - end]
