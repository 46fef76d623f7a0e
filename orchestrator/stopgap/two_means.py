"""The difference between the means of two arms whose units are not paired, to be looked at as often as one likes.

    rewards = TwoMeans(margin=0.02)
    told = rewards.update(candidate=[1, 0.7, 1], legacy=[1, 1])
    told.outcome, told.lower, told.upper

Each arm bets on its own mean as `stopgap.verdict` does. The product of a bet that the candidate's is above m and one
that the legacy model's is below m - d cannot be expected to grow while the difference is d or less, whatever m is; so
where it is worth 1/alpha for every m, the difference is more than d, and that errs with a probability of at most alpha
over all looks together. That is narrower than the distance between the ends of two intervals, and claims no more.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Optional

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stopgap.errors import VerdictError
from stopgap.verdict import Bets, check, check_alpha, decided

__all__ = ["Mean", "TwoMeans", "TwoMeansVerdict"]

CELLS = 256  # of [0, 1]: between their ends nothing is told apart

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Mean:
    """One arm's.

    Attributes:
        estimate: NaN without a unit.
        lower: With `upper`, what can be true: each end errs with a probability of at most alpha, whenever it is read.
    """

    units: int
    estimate: float
    lower: float
    upper: float


@dataclass(frozen=True)
class TwoMeansVerdict:
    """What is known so far.

    Attributes:
        outcome: PASS: the candidate's mean is lower by less than the margin, or higher; FAIL: it is lower by more.
        estimate: The candidate's less the legacy model's; NaN where one has no unit.
        lower: With `upper`, what the difference can be, as for a `Mean`.
    """

    outcome: str
    estimate: float
    lower: float
    upper: float
    candidate: Mean
    legacy: Mean


class TwoMeans:
    """Of values from 0 to 1, the higher the better.

    Args:
        margin: By so much may the candidate's mean be lower, from 0 up to 1. None: nothing can pass or fail.
        alpha: With what probability a PASS, and likewise a FAIL, may be wrong.

    Raises:
        VerdictError: The margin or alpha cannot be.
    """

    def __init__(self, margin: Optional[float] = None, alpha: float = 0.05) -> None:  # noqa: UP045
        check(margin is None or 0 <= margin < 1, f"A margin of {margin} is not from 0 up to 1.")
        check_alpha(alpha)
        self._margin, self._threshold = margin, math.log(1 / alpha)
        self._candidate, self._legacy = Arm(), Arm()

    def update(self, candidate: ArrayLike = (), legacy: ArrayLike = ()) -> TwoMeansVerdict:
        """Takes in further units of either arm, each once.

        Raises:
            VerdictError: A value is no number from 0 to 1.
        """
        self._candidate.add(candidate)
        self._legacy.add(legacy)
        return self.verdict

    def add_counted(self, candidate: dict[float, int], legacy: dict[float, int]) -> TwoMeansVerdict:
        """Likewise: how many units have each value."""
        self._candidate.add_counted(candidate)
        self._legacy.add_counted(legacy)
        return self.verdict

    @property
    def verdict(self) -> TwoMeansVerdict:
        """What is known so far."""
        candidate, legacy = self._candidate, self._legacy
        lower = lowest_difference(candidate.above, legacy.below, self._threshold)
        upper = -lowest_difference(legacy.above, candidate.below, self._threshold)
        outcome = decided(lower, upper, None if self._margin is None else -self._margin)
        means = candidate.mean(self._threshold), legacy.mean(self._threshold)
        return TwoMeansVerdict(outcome, means[0].estimate - means[1].estimate, lower, upper, *means)


class Arm:
    """One arm's bets on a grid of means: the logarithms of what they have become."""

    def __init__(self) -> None:
        self._means = np.linspace(0.0, 1.0, CELLS + 1)
        self._above, self._below = Bets(self._means), Bets(1 - self._means)
        self._sum, self._units = 0.0, 0

    @property
    def above(self) -> Floats:
        """That the mean is above each of the grid's; it falls from one to the next. Shape [CELLS + 1]."""
        return self._above.log_capitals()

    @property
    def below(self) -> Floats:
        """That it is below each; it rises."""
        return self._below.log_capitals()

    def add(self, values: ArrayLike) -> None:
        given = np.atleast_1d(np.asarray(values, dtype=np.float64))
        found, times = np.unique(given, return_counts=True)
        self.add_counted(dict(zip(found.tolist(), times.tolist())))

    def add_counted(self, units: dict[float, int]) -> None:
        wrong = [value for value in units if not 0 <= value <= 1]
        if wrong:
            raise VerdictError(f"{wrong[0]} is not in [0, 1].")
        for value, times in ((value, times) for value, times in units.items() if times):
            self._above.settle_alike(value, times)
            self._below.settle_alike(1 - value, times)
            self._sum += value * times
            self._units += times

    def mean(self, threshold: float) -> Mean:
        too_low, too_high = (np.flatnonzero(logs >= threshold) for logs in (self.above, self.below))
        return Mean(
            self._units,
            self._sum / self._units if self._units else math.nan,
            float(self._means[too_low[-1]]) if too_low.size else 0.0,
            float(self._means[too_high[0]]) if too_high.size else 1.0,
        )


def lowest_difference(above: Floats, below: Floats, threshold: float) -> float:
    """What one mean is more than the other, at least.

    Args:
        above: The bets that the one is above each of the grid's means.
        below: The bets that the other is below each.
    """
    known, unknown = -CELLS, CELLS
    while unknown - known > 1:
        middle = (known + unknown) // 2
        if worth_at_least(above, below, middle) >= threshold:
            known = middle
        else:
            unknown = middle
    return known / CELLS


def worth_at_least(above: Floats, below: Floats, cells: int) -> float:
    """What both bets together are worth, at least, wherever the one's mean is higher by so many cells.

    With the one in a cell, that is the bets at its end and at the beginning of the other's. It holds at the grid's own
    ends too, where a bet that is lost for certain is worth no more.
    """
    first = np.arange(max(0, cells), min(CELLS, CELLS + cells))
    return float((above[first + 1] + below[first - cells]).min())
