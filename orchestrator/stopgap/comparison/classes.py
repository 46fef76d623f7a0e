"""Decisions: which class a model chooses. The first of equals is chosen, so that ties are the same every time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stopgap.comparison.pairs import Pair
from stopgap.comparison.sight import DISTANCE, SHARE, Evidence, Rows, Sight, by_row, matching
from stopgap.comparison.values import Floats, flat, text
from stopgap.errors import ComparisonError

__all__ = ["Equal", "Overlap", "Threshold", "TopK", "chosen", "first"]

NO_NUMBER = "not a number"
LONGEST_LABEL = 60


@dataclass(frozen=True)
class TopK:
    """Whether the legacy model's class is among the k that the candidate ranks highest; for k = 1, the same class.

    Scores of shape [rows, classes]. A row with a NaN has no class: it agrees with another such row alone.
    """

    output: str
    k: int = 1

    def __post_init__(self) -> None:
        check_k(self.k)

    @property
    def evidence(self) -> Evidence:
        return SHARE

    def look(self, pair: Pair) -> Sight:
        rows = by_row(self, pair, self.output, least=1, else_there_is="there are no classes")
        if isinstance(rows, Sight):
            return rows
        ours, theirs = chosen(rows.legacy), chosen(rows.candidate)
        agree = ours == theirs
        if self.k > 1:
            among = (first(rows.candidate, self.k) == ours[:, np.newaxis]).any(axis=1)
            agree = np.where((ours < 0) | (theirs < 0), agree, among)
        labels = (tuple(map(class_name, ours)), tuple(map(class_name, theirs)))
        return Sight(agree.astype(np.float64), labels=labels, severity=lead(rows, ours, theirs))


@dataclass(frozen=True)
class Overlap:
    """How much of the k highest classes is not shared: 0 for the same set, 1 for none in common."""

    output: str
    k: int = 5

    def __post_init__(self) -> None:
        check_k(self.k)

    @property
    def evidence(self) -> Evidence:
        return DISTANCE

    def look(self, pair: Pair) -> Sight:
        rows = by_row(self, pair, self.output, least=1, else_there_is="there are no classes")
        if isinstance(rows, Sight):
            return rows
        ours, theirs = first(rows.legacy, self.k), first(rows.candidate, self.k)
        shared = (ours[:, :, np.newaxis] == theirs[:, np.newaxis, :]).any(axis=2).mean(axis=1)
        broken = (chosen(rows.legacy) < 0) | (chosen(rows.candidate) < 0)
        both = (chosen(rows.legacy) < 0) & (chosen(rows.candidate) < 0)
        values = np.where(both, 0.0, np.where(broken, 1.0, 1.0 - shared))
        return Sight(values, severity=float(values.max()))


@dataclass(frozen=True)
class Threshold:
    """Whether both are at or above the threshold, or both below it: each element of a row."""

    output: str
    threshold: float = 0.5

    @property
    def evidence(self) -> Evidence:
        return SHARE

    def look(self, pair: Pair) -> Sight:
        rows = by_row(self, pair, self.output)
        if isinstance(rows, Sight):
            return rows
        ours, theirs = self._decided(rows.legacy), self._decided(rows.candidate)
        agree = (ours == theirs).all(axis=1)
        labels = None
        if ours.shape[1] == 1:
            names = {-1: NO_NUMBER, 0: "below", 1: "above"}
            labels = (tuple(names[each] for each in ours[:, 0]), tuple(names[each] for each in theirs[:, 0]))
        with np.errstate(invalid="ignore"):
            apart = np.abs(rows.candidate - rows.legacy)[~agree]
        severity = float(np.max(np.nan_to_num(apart, nan=np.inf, posinf=np.inf), initial=0.0))
        return Sight(agree.astype(np.float64), labels=labels, severity=severity)

    def _decided(self, scores: Floats) -> NDArray[np.int64]:
        return np.where(np.isnan(scores), -1, (scores >= self.threshold).astype(np.int64))


@dataclass(frozen=True)
class Equal:
    """Whether a row is the same, element by element: for class numbers, names and other text."""

    output: str

    @property
    def evidence(self) -> Evidence:
        return SHARE

    def look(self, pair: Pair) -> Sight:
        found = matching(self, pair, self.output)
        if isinstance(found, Sight):
            return found
        ours, theirs = flat(found.legacy), flat(found.candidate)
        names, others = ([tuple(map(label, row)) for row in side] for side in (ours, theirs))
        agree = np.array([one == other for one, other in zip(names, others)], dtype=np.float64)
        labels = None
        if ours.shape[1] == 1:
            labels = (tuple(shown(row[0]) for row in names), tuple(shown(row[0]) for row in others))
        return Sight(agree, labels=labels, severity=float(1 - agree.mean()))


def chosen(scores: Floats) -> NDArray[np.int64]:
    """By row, the first of the highest; -1 where one of them is a NaN."""
    return np.where(np.isnan(scores).any(axis=1), -1, scores.argmax(axis=1)).astype(np.int64)


def first(scores: Floats, k: int) -> NDArray[np.int64]:
    """By row, the k highest, the first of equals before the later ones; shape [rows, k or all that there are]."""
    return np.argsort(-scores, axis=1, kind="stable")[:, :k]


def lead(rows: Rows, ours: NDArray[np.int64], theirs: NDArray[np.int64]) -> float:
    """By how much the legacy model preferred its own class to the candidate's: the largest of the rows that differ."""
    differ = (ours != theirs) & (ours >= 0) & (theirs >= 0)
    if not differ.any():
        return 1.0 if (ours != theirs).any() else 0.0
    scores = rows.legacy[differ]
    with np.errstate(invalid="ignore"):
        ahead = scores.max(axis=1) - np.take_along_axis(scores, theirs[differ][:, np.newaxis], 1)[:, 0]
    return float(np.nan_to_num(ahead, nan=0.0, posinf=np.inf).max())


def class_name(number: np.int64) -> str:
    return NO_NUMBER if number < 0 else str(int(number))


def label(element: Any) -> bytes:
    """What makes two elements equal: 3, 3.0 and True are not told apart from 3, 3 and 1; NaN is equal to NaN."""
    if isinstance(element, (bool, np.bool_)):
        return text(int(element))
    if isinstance(element, (float, np.floating)):
        return text(int(element) if np.isfinite(element) and element == int(element) else float(element))
    return text(int(element)) if isinstance(element, (int, np.integer)) else text(element)


def shown(name: bytes) -> str:
    return name[:LONGEST_LABEL].decode("utf-8", "backslashreplace")


def check_k(k: int) -> None:
    if k < 1:
        raise ComparisonError(f"k = {k} classes cannot be looked at.", "Choose 1 or more.")
