"""What one measure sees in one request, and what may be claimed from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Optional, Protocol

import numpy as np
from numpy.typing import NDArray

from stopgap.comparison.pairs import Pair
from stopgap.comparison.values import Floats, as_array, flat, numbers, rows_of

__all__ = ["Evidence", "Measure", "Sight", "by_row", "excluded", "matching", "sight_of", "unknown", "worst"]


@dataclass(frozen=True)
class Evidence:
    """What a measure's values are, and with that which verdict there can be.

    Attributes:
        kind: `share`: each row agrees or does not, 1 or 0. `mean`: each row has a value in [low, high]. `loss`: a
            difference of two losses in [low, high]. `shown`: without bounds; it is told, and never passes.
        low: The lowest value there can be.
        high: The highest.
        higher_is_better: Then the mean is to be above the margin; below it otherwise.
    """

    kind: str
    low: float = 0.0
    high: float = 1.0
    higher_is_better: bool = False

    @property
    def worst(self) -> float:
        return self.low if self.higher_is_better else self.high


SHARE = Evidence("share", higher_is_better=True)
DISTANCE = Evidence("mean")
SHOWN = Evidence("shown", -np.inf, np.inf)


@dataclass(frozen=True)
class Sight:
    """One request, as one measure sees it.

    Attributes:
        values: Shape [rows], in the measure's range.
        reason: Why it is at its worst, is not known, or does not count; empty where it was simply measured.
        unknown: It counts, but nothing can be said of it: it is put at its worst for a PASS and at its best for a FAIL.
        excluded: It does not count: there is nothing of the legacy model's to agree with.
        labels: Of each row, what either model decided; for the table of flips.
        differences: Candidate less legacy, by row, where that is a number; for the quantiles.
        severity: How bad it is, to find the worst among those that disagree.
        notes: What is to be counted beside.
        notice: What a person has to know, once.
        errors: By output, element by element, where they were looked at so.
    """

    values: Floats
    reason: str = ""
    unknown: bool = False
    excluded: bool = False
    labels: Optional[tuple[tuple[str, ...], tuple[str, ...]]] = None  # noqa: UP045 - read by Python 3.9 too
    differences: Optional[Floats] = None  # noqa: UP045
    severity: float = 0.0
    notes: tuple[str, ...] = ()
    notice: str = ""
    errors: Mapping[str, Any] = field(default_factory=dict)


class Measure(Protocol):
    """One way to look at a pair. `look` raises nothing, whatever the models answered."""

    @property
    def evidence(self) -> Evidence:
        """What can be claimed from its values."""

    def look(self, pair: Pair) -> Sight:
        """A pair of which both have answered, under the legacy model's names and in its order."""


NOTHING = np.zeros(0)


def worst(measure: Measure, reason: str) -> Sight:
    """Where the candidate is to blame."""
    end = measure.evidence.worst
    return Sight(np.full(1, end if np.isfinite(end) else np.nan), reason, severity=np.inf)


def unknown(reason: str) -> Sight:
    """Where neither is, or both are."""
    return Sight(NOTHING, reason, unknown=True)


def excluded(reason: str) -> Sight:
    return Sight(NOTHING, reason, excluded=True)


@dataclass(frozen=True)
class Arrays:
    """One output of both, of the same number of rows."""

    legacy: NDArray[Any]
    candidate: NDArray[Any]


def matching(measure: Measure, pair: Pair, output: str, *, same_shape: bool = True) -> Arrays | Sight:
    """The output of both, or what is seen where they cannot be compared row by row."""
    ours = as_array((pair.legacy.outputs or {}).get(output))
    theirs = as_array((pair.candidate.outputs or {}).get(output))
    if ours is None:
        return unknown("the legacy model has no such output")
    if theirs is None:
        return worst(measure, "the candidate has no such output")
    if (ours.shape != theirs.shape) if same_shape else (rows_of(ours) != rows_of(theirs)):
        return worst(measure, "the shapes differ")
    if not rows_of(ours):
        return excluded("the answer has no rows")
    return Arrays(ours, theirs)


@dataclass(frozen=True)
class Rows:
    """One output of both as numbers, shape [rows, elements of a row] each."""

    legacy: Floats
    candidate: Floats


def by_row(measure: Measure, pair: Pair, output: str, *, least: int = 0, else_there_is: str = "") -> Rows | Sight:
    """The output of both as numbers; what is no number at all is the fault of whoever answered it.

    Args:
        least: How many numbers a row must have for there to be anything to look at.
        else_there_is: What is said where it has fewer.
    """
    found = matching(measure, pair, output)
    if isinstance(found, Sight):
        return found
    ours, theirs = numbers(found.legacy), numbers(found.candidate)
    if ours is None:
        return unknown("the legacy model's answer is no number")
    if theirs is None:
        return worst(measure, "the candidate's answer is no number")
    rows = Rows(flat(ours), flat(theirs))
    return rows if rows.legacy.shape[1] >= least else excluded(else_there_is)


def sight_of(measure: Measure, pair: Pair) -> Sight:
    """What the measure sees, also where a model has failed.

    Who fails to answer where the legacy model does disagrees as much as can be. Where the legacy model failed there is
    nothing to agree with: such a request counts in the measures of failures alone, whatever the candidate did.
    """
    if getattr(measure, "sees_failures", False):
        return measure.look(pair)
    if pair.legacy.outputs is None:
        return excluded("the legacy model did not answer")
    if pair.candidate.outputs is None:
        return worst(measure, "the candidate did not answer")
    return measure.look(pair)
