"""Boxes and points, however many each model finds and in whatever order: matched one to one before they are judged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stopgap.comparison.pairs import Pair, Tensors
from stopgap.comparison.sight import DISTANCE, Evidence, Sight, matching, unknown, worst
from stopgap.comparison.values import Floats, as_array, numbers
from stopgap.errors import ComparisonError

__all__ = ["Boxes", "Points", "matched", "overlaps"]

CORNERS, CENTRE = "corners", "centre"
MOST = 1000  # of one row: the pairs grow by the square


@dataclass(frozen=True)
class Found:
    """What one model found in one row: shape [found, coordinates], and the class of each."""

    places: Floats
    classes: tuple[object, ...]


@dataclass(frozen=True)
class Sets:
    """1 - 2 * matched / (found by the one + found by the other), by row; 0 where both found nothing.

    Matched greedily, the nearest two first, each once; only within `least`, and only of the same class where there is
    one. What is behind the number in `count`, or scored below `least_score`, was not found.

    Attributes:
        output: Shape [rows, found, coordinates], or a row each of its own length.
        classes: The output with the classes, [rows, found]; empty for none.
        scores: Likewise.
        count: The output that says how many there are, [rows].
    """

    output: str
    classes: str = ""
    scores: str = ""
    count: str = ""
    least_score: float = 0.5

    @property
    def evidence(self) -> Evidence:
        return DISTANCE

    def look(self, pair: Pair) -> Sight:
        found = matching(self, pair, self.output, same_shape=False)
        if isinstance(found, Sight):
            return found
        ours = self._sets(found.legacy, pair.legacy.outputs or {})
        theirs = self._sets(found.candidate, pair.candidate.outputs or {})
        if ours is None:
            return unknown("the legacy model's answer is no set of places")
        if theirs is None:
            return worst(self, "the candidate's answer is no set of places")
        if any(len(each.places) > MOST for each in (*ours, *theirs)):
            return unknown(f"more than {MOST} were found in one row")
        values = np.array([self._distance(one, other) for one, other in zip(ours, theirs)])
        return Sight(values, severity=float(values.max()))

    def nearness(self, ours: Floats, theirs: Floats) -> Floats:
        """Shape [ours, theirs]; -inf where two cannot be matched."""
        raise NotImplementedError

    def _sets(self, places: NDArray[np.generic], outputs: Tensors) -> list[Found] | None:
        beside = {name: as_array(outputs.get(name)) for name in (self.classes, self.scores, self.count) if name}
        if any(array is None or len(np.atleast_1d(array)) != len(np.atleast_1d(places)) for array in beside.values()):
            return None
        try:
            return [self._row(row, number, beside) for number, row in enumerate(np.atleast_1d(places))]
        except (ValueError, TypeError, IndexError, OverflowError):
            return None

    def _row(self, row: object, number: int, beside: dict[str, Any]) -> Found:
        array = as_array(row)
        places = None if array is None else numbers(array) if array.size else np.zeros((0, 4))
        if places is None or places.ndim != 2 or np.isnan(places).any():
            raise ValueError(row)

        def of(name: str) -> NDArray[Any]:
            return np.ravel(np.atleast_1d(beside[name])[number])

        kept = np.ones(len(places), np.bool_)
        if self.count:
            kept[max(0, int(real(of(self.count))[0])) :] = False
        if self.scores:
            kept &= real(of(self.scores))[: len(places)] >= self.least_score
        classes = of(self.classes)[: len(places)][kept].tolist() if self.classes else []
        return Found(places[kept], tuple(classes))

    def _distance(self, ours: Found, theirs: Found) -> float:
        total = len(ours.places) + len(theirs.places)
        if not len(ours.places) or not len(theirs.places):
            return 1.0 if total else 0.0
        if ours.places.shape[1] != theirs.places.shape[1]:
            return 1.0
        near = self.nearness(ours.places, theirs.places)
        if self.classes:
            same = np.array([[one == other for other in theirs.classes] for one in ours.classes], np.bool_)
            near = np.where(same, near, -np.inf)
        return 1 - 2 * matched(near) / total


@dataclass(frozen=True)
class Boxes(Sets):
    """Matched where they overlap: intersection over union at least `least`.

    Attributes:
        form: `corners`: two opposite corners, the axes in either order. `centre`: a centre and two sizes.
    """

    least: float = 0.5
    form: str = CORNERS

    def __post_init__(self) -> None:
        if self.form not in (CORNERS, CENTRE) or not 0 < self.least <= 1:
            raise ComparisonError(
                f"Boxes cannot be of the form {self.form!r} with a least overlap of {self.least}.",
                "Choose `corners` or `centre`, and an overlap above 0, to 1.",
            )

    def nearness(self, ours: Floats, theirs: Floats) -> Floats:
        if ours.shape[1] != 4:
            return np.full((len(ours), len(theirs)), -np.inf)
        if self.form == CENTRE:
            ours, theirs = (
                np.concatenate([side[:, :2] - side[:, 2:] / 2, side[:, :2] + side[:, 2:] / 2], axis=1)
                for side in (ours, theirs)
            )
        found = overlaps(ours, theirs)
        return np.asarray(np.where(found >= self.least, found, -np.inf))


@dataclass(frozen=True)
class Points(Sets):
    """Matched where they are at most `radius` apart, in a straight line."""

    radius: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.radius < np.inf:
            raise ComparisonError(f"A radius of {self.radius} matches nothing.", "Choose one above 0.")

    def nearness(self, ours: Floats, theirs: Floats) -> Floats:
        with np.errstate(all="ignore"):
            apart = np.sqrt(np.square(ours[:, np.newaxis] - theirs[np.newaxis]).sum(axis=2))
        return np.asarray(np.where(apart <= self.radius, -apart, -np.inf))


def real(array: NDArray[Any]) -> Floats:
    found = numbers(array)
    if found is None:
        raise TypeError(array.dtype)
    return found


def overlaps(ours: Floats, theirs: Floats) -> Floats:
    """Intersection over union; shape [n, 4] and [m, 4], two opposite corners each; gives [n, m]."""
    with np.errstate(all="ignore"):
        low, high = (
            (np.minimum(side[:, :2], side[:, 2:]), np.maximum(side[:, :2], side[:, 2:])) for side in (ours, theirs)
        )
        sides = np.minimum(low[1][:, np.newaxis], high[1]) - np.maximum(low[0][:, np.newaxis], high[0])
        shared = np.clip(sides, 0, None).prod(axis=2)
        areas = [(side[1] - side[0]).prod(axis=1) for side in (low, high)]
        share = shared / (areas[0][:, np.newaxis] + areas[1] - shared)
    # Two boxes without an area are the same one or have nothing in common.
    same = (ours[:, np.newaxis] == theirs).all(axis=2)
    return np.asarray(np.where(same, 1.0, np.nan_to_num(share, nan=0.0, posinf=0.0, neginf=0.0)))


def matched(near: Floats) -> int:
    """How many pairs are made, the nearest first and the first of equals before the later ones."""
    ours, theirs = np.nonzero(near > -np.inf)
    left, right = set(range(near.shape[0])), set(range(near.shape[1]))
    count = 0
    for place in np.argsort(-near[ours, theirs], kind="stable"):
        one, other = int(ours[place]), int(theirs[place])
        if one in left and other in right:
            left.remove(one)
            right.remove(other)
            count += 1
    return count
