"""Where the truth is known: how much worse the candidate is than the legacy model, on the same requests."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Optional

import numpy as np
from numpy.typing import NDArray

from stopgap.comparison.classes import chosen, label
from stopgap.comparison.pairs import Answer, Pair
from stopgap.comparison.sight import Evidence, Sight, excluded, unknown
from stopgap.comparison.values import Floats, as_array, flat, numbers, rows_of
from stopgap.errors import ComparisonError

__all__ = ["PairedLoss"]

LOSSES = ("zero_one", "log", "squared", "absolute")


@dataclass(frozen=True)
class PairedLoss:
    """The candidate's loss less the legacy model's, by row. A margin of 0.01 under `zero_one`: one point of accuracy.

    An answer that is none, is no number, or has a NaN has the highest loss there is, on either side. A row without a
    label, or with one that cannot be, is not known.

    Attributes:
        label: The name in `Case.extras`.
        loss: `zero_one`: 1 unless the class is the label. `log`: the natural logarithm, of probabilities not below
            `clip`. `squared`, `absolute`: of numbers cut at `low` and `high`.
        threshold: With a single score for each row: at or above it the class is 1. None: the answer is the class.
    """

    output: str
    label: str
    loss: str = "zero_one"
    clip: float = 1e-3
    low: Optional[float] = None  # noqa: UP045 - read by Python 3.9 too
    high: Optional[float] = None  # noqa: UP045
    threshold: Optional[float] = None  # noqa: UP045
    sees_failures: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.loss not in LOSSES:
            raise ComparisonError(f"There is no loss {self.loss!r}.", f"There are: {', '.join(LOSSES)}.")
        if not self.label:
            raise ComparisonError("A loss needs a label.", "State in the plan which of the data is the label.")
        if not 0 < self.clip < 1:
            raise ComparisonError(f"Probabilities cannot be cut at {self.clip}.", "Choose 0.001, say.")
        if self.loss in ("squared", "absolute"):
            stated = self.low is not None and self.high is not None
            if not stated or not -math.inf < self.low < self.high < math.inf:  # type: ignore[operator]  # stated
                raise ComparisonError(
                    f"A {self.loss} loss has no bounds without a range.",
                    "State low and high, of label and answer both.",
                )

    @property
    def width(self) -> float:
        """The highest loss."""
        if self.loss == "zero_one":
            return 1.0
        if self.loss == "log":
            return -math.log(self.clip)
        size = (self.high or 0.0) - (self.low or 0.0)
        return size**2 if self.loss == "squared" else size

    @property
    def evidence(self) -> Evidence:
        return Evidence("loss", -self.width, self.width)

    def look(self, pair: Pair) -> Sight:
        if pair.legacy.outputs is None:
            return excluded("the legacy model did not answer")
        labels = as_array(pair.case.extras.get(self.label))
        if labels is None or not labels.size:
            return unknown("there is no label")
        rows = rows_of(labels)
        ours = self._losses(pair.legacy, labels, rows)
        theirs = self._losses(pair.candidate, labels, rows)
        if ours is None or theirs is None:
            return unknown("the label is none of this output's")
        reason = "the candidate did not answer" if pair.candidate.outputs is None else ""
        right = {0.0: "right"}
        marks = None
        if self.loss == "zero_one":
            marks = (tuple(right.get(x, "wrong") for x in ours), tuple(right.get(x, "wrong") for x in theirs))
        values = theirs - ours
        return Sight(values, reason, labels=marks, severity=float(values.max()))

    def _losses(self, answer: Answer, labels: NDArray[Any], rows: int) -> Floats | None:
        """Shape [rows]; None where the label is to blame."""
        highest = np.full(rows, self.width)
        output = as_array((answer.outputs or {}).get(self.output))
        if output is None or rows_of(output) != rows or not output.size:
            # Still the label must be one: or an unanswered row could not be told from an unlabelled one.
            return highest if self._may_be(labels) else None
        truth = flat(labels)
        if truth.shape[1] != 1:
            return None
        scores = numbers(output)
        if self.loss == "zero_one" and flat(output).shape[1] == 1 and self.threshold is None:
            pairs = zip(flat(output)[:, 0], truth[:, 0])
            return np.array([float(label(one) != label(other)) for one, other in pairs])
        known = numbers(truth)
        if known is None or not np.isfinite(known).all():
            return None
        if scores is None:
            return highest
        return self._numeric(flat(scores), known[:, 0], highest)

    def _numeric(self, scores: Floats, truth: Floats, highest: Floats) -> Floats | None:
        broken = np.isnan(scores).any(axis=1)
        if self.loss in ("squared", "absolute"):
            if scores.shape[1] != 1:
                return highest
            apart = np.clip(scores[:, 0], self.low, self.high) - np.clip(truth, self.low, self.high)
            found = np.square(apart) if self.loss == "squared" else np.abs(apart)
            return np.asarray(np.where(broken, highest, found))
        classes = max(2, scores.shape[1])
        if (truth != np.floor(truth)).any() or (truth < 0).any() or (truth >= classes).any():
            return None
        wanted = truth.astype(np.int64)
        if self.loss == "zero_one":
            one = scores.shape[1] == 1
            decided = (scores[:, 0] >= (self.threshold or 0.0)).astype(np.int64) if one else chosen(scores)
            return np.where(broken | (decided != wanted), 1.0, 0.0)
        if scores.shape[1] == 1:
            scores = np.concatenate([1 - scores, scores], axis=1)
        given = np.take_along_axis(scores, wanted[:, np.newaxis], 1)[:, 0]
        with np.errstate(invalid="ignore"):
            found = -np.log(np.clip(given, self.clip, 1.0))
        return np.asarray(np.where(broken, highest, found))

    def _may_be(self, labels: NDArray[Any]) -> bool:
        truth = numbers(labels)
        return self.loss == "zero_one" or (truth is not None and bool(np.isfinite(truth).all()))
