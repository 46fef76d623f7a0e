"""The quantiles of as many numbers as there may be, in a memory that does not grow.

A histogram whose bins grow with the numbers: each is 2 % wider than the one before, so that a quantile is told within
1 % of itself (the principle of DDSketch: Masson, Rim and Lee, VLDB 2019). The extremes are kept as they are.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Sketch"]

GROWTH = math.log(1.02)
SMALLEST, LARGEST = 1e-30, 1e30  # in magnitude; what is nearer to zero counts as zero, what is farther as LARGEST
LOWEST = math.floor(math.log(SMALLEST) / GROWTH)
BINS = math.ceil(math.log(LARGEST) / GROWTH) - LOWEST + 1
MOST_BINS = 48  # of what is shown


class Sketch:
    """Of real numbers of either sign. NaN and the infinities are counted apart."""

    def __init__(self) -> None:
        # From the largest negative number over zero, in the middle, to the largest positive one; made when needed.
        self._counts: NDArray[np.int64] = np.zeros(0, np.int64)
        self.count = self.not_a_number = self.infinite = 0
        # Told from the first number on: squares of what is large would drown what differs.
        self._origin = self._sum = self._squares = 0.0
        self.least, self.most = math.inf, -math.inf

    def add(self, values: ArrayLike) -> None:
        given = np.asarray(values, dtype=np.float64).ravel()
        finite = given[np.isfinite(given)]
        self.not_a_number += int(np.isnan(given).sum())
        self.infinite += int(np.isinf(given).sum())
        if not finite.size:
            return
        if not self.count:
            self._counts, self._origin = np.zeros(2 * BINS + 1, np.int64), float(finite[0])
        self.count += finite.size
        with np.errstate(over="ignore", invalid="ignore"):
            self._sum += float((finite - self._origin).sum())
            self._squares += float(np.square(finite - self._origin).sum())
        self.least, self.most = min(self.least, float(finite.min())), max(self.most, float(finite.max()))
        size = np.clip(np.abs(finite), SMALLEST, LARGEST)
        steps = np.floor(np.log(size) / GROWTH).astype(np.int64) - LOWEST + 1
        steps = np.where(np.abs(finite) < SMALLEST, 0, np.clip(steps, 1, BINS))
        places, counts = np.unique(BINS + np.sign(finite).astype(np.int64) * steps, return_counts=True)
        self._counts[places] += counts

    def quantile(self, share: float) -> float:
        """The number that this share of all finite ones does not exceed, within 1 %; NaN where there is none."""
        if not self.count:
            return math.nan
        if share >= 1:
            return self.most
        rank = max(1, math.ceil(share * self.count))
        place = int(np.searchsorted(np.cumsum(self._counts), rank))
        return min(max(self._value(place - BINS), self.least), self.most)

    @property
    def mean(self) -> float:
        """NaN without a number, and where the sum is none."""
        return self._origin + self._sum / self.count if self.count else math.nan

    @property
    def deviation(self) -> float:
        """The standard deviation; likewise."""
        if not self.count:
            return math.nan
        mean = self._sum / self.count
        variance = self._squares / self.count - mean * mean
        return variance if math.isnan(variance) else math.sqrt(max(variance, 0.0))

    def bins(self, most: int = MOST_BINS) -> list[tuple[float, float, int]]:
        """From where to where, and how many numbers are in between; ascending, none without a number.

        Each is made of whole bins of the sketch, so that none is told more exactly than it is known; zero has one of
        its own, from 0 to 0.

        Args:
            most: How many, about.
        """
        places = np.flatnonzero(self._counts)
        steps = places - BINS
        span = sum(int(np.ptp(side)) + 1 for side in (steps[steps < 0], steps[steps > 0]) if side.size)
        width = max(1, math.ceil(span / most))
        groups, members = np.unique(np.sign(steps) * -(-np.abs(steps) // width), return_inverse=True)
        counts = np.bincount(members, weights=self._counts[places], minlength=len(groups))
        return [(*self._edges(int(group), width), int(count)) for group, count in zip(groups, counts)]

    def _edges(self, group: int, width: int) -> tuple[float, float]:
        if not group:
            return 0.0, 0.0
        ends = [math.exp((step + LOWEST) * GROWTH) for step in ((abs(group) - 1) * width, abs(group) * width)]
        lower, upper = sorted(math.copysign(end, group) for end in ends)
        return min(max(lower, self.least), self.most), max(min(upper, self.most), self.least)

    @staticmethod
    def _value(step: int) -> float:
        """The middle, in the logarithm, of a bin."""
        if not step:
            return 0.0
        return math.copysign(math.exp((abs(step) - 1 + LOWEST + 0.5) * GROWTH), step)
