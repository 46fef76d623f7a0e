"""How many units a bet takes, in nine of ten cases, until it is won: for planning, and no part of any verdict.

The logarithm of a capital is taken for Brownian motion with the drift and the spread of its steps; when that first
reaches a height is inverse Gaussian (Schrödinger 1915; Chhikara and Folks, "The Inverse Gaussian Distribution", 1989).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

__all__ = ["Histogram", "units_until"]

SHARE = 0.9
MOST_UNITS = 1e15
HALVINGS = 24  # of a logarithm's range: to a millionth
# Between which values are counted together: finer towards both ends, where one unit can move a capital most.
EDGES = np.concatenate([np.geomspace(1e-6, 0.5, 20), 1 - np.geomspace(1e-6, 0.5, 20)[-2::-1]])

Floats = NDArray[np.float64]


class Histogram:
    """Values in [0, 1], in a memory that does not grow: of each bin how many, and their mean."""

    def __init__(self) -> None:
        self._counts = np.zeros(len(EDGES) + 1)
        self._sums = np.zeros(len(EDGES) + 1)

    def add(self, values: Floats) -> None:
        """Shape [units]."""
        bins = np.searchsorted(EDGES, values, side="right")
        self._counts += np.bincount(bins, minlength=len(self._counts))
        self._sums += np.bincount(bins, weights=values, minlength=len(self._sums))

    @property
    def count(self) -> float:
        """How many there are."""
        return float(self._counts.sum())

    @property
    def mean(self) -> float:
        """Of all of them; NaN without one."""
        return float(self._sums.sum() / self.count) if self.count else math.nan

    def steps(self, kept: Floats, stakes: Floats) -> tuple[Floats, Floats]:
        """The mean and the standard deviation of the logarithm of `kept + stakes * value`; for each of the bets.

        Args:
            kept: Shape [bets].
            stakes: Likewise.
        """
        known = self._counts > 0
        weights = self._counts[known] / self.count
        values = self._sums[known] / self._counts[known]
        with np.errstate(divide="ignore"):
            logs = np.log(kept[:, np.newaxis] + stakes[:, np.newaxis] * values)
        return moments(logs, weights)


def moments(logs: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Of each row; a bet that may lose all of it goes down for ever.

    Args:
        logs: Shape [bets, values].
        weights: Shape [values], adding up to 1.
    """
    lost = np.asarray(np.isneginf(logs).any(axis=1))
    finite = np.where(lost[:, np.newaxis], 0.0, logs)
    means = finite @ weights
    spreads = np.sqrt(np.maximum((finite - means[:, np.newaxis]) ** 2 @ weights, 0.0))
    return np.where(lost, -np.inf, means), spreads


def units_until(height: float, growths: Floats, spreads: Floats, begins: Floats | float = 0.0) -> float:
    """After how many units the logarithm of a capital that is spread evenly over bets has been at `height`, in nine of
    ten cases; infinite where none of them grows.

    Args:
        growths: Shape [bets], the mean of each bet's logarithm by unit.
        spreads: Its standard deviation, the same luck moving all of them.
        begins: Shape [bets], the logarithm that each has before the first unit: of what was lost, less than 0.
    """
    if not np.where(np.isneginf(begins), 0.0, growths).max() > 0:
        return math.inf
    low, high = 0.0, math.log(MOST_UNITS)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        if share_within(math.exp(middle), height, growths, spreads, begins) < SHARE:
            low = middle
        else:
            high = middle
    return math.exp(high) if high < math.log(MOST_UNITS) else math.inf


def share_within(units: float, height: float, growths: Floats, spreads: Floats, begins: Floats | float) -> float:
    """Of the cases in which the height was reached until then."""
    logs = begins + units * growths
    best = logs.max()
    weights = np.exp(logs - best)
    total = weights.sum()
    mixed = best + math.log(total / len(logs))
    weights /= total
    # Which bets carry the capital by then: their growth, and what the others have cost.
    held = weights > 0
    growth = float(weights[held] @ growths[held])
    spread = float(weights[held] @ spreads[held])
    return first_passage(units, height + units * growth - mixed, growth, spread)


def first_passage(units: float, height: float, growth: float, spread: float) -> float:
    """The probability that Brownian motion with that drift has been at `height` until then."""
    if not growth > 0:
        return 0.0
    deviation = spread * math.sqrt(units)
    if deviation < 1e-9 * height:
        return float(growth * units >= height)
    above = normal_below((growth * units - height) / deviation)
    back = log_normal_below(-(growth * units + height) / deviation) + 2 * growth * height / spread**2
    return min(1.0, above + math.exp(min(back, 0.0)))


def normal_below(z: float) -> float:
    return 0.5 * math.erfc(-z / math.sqrt(2))


def log_normal_below(z: float) -> float:
    """For a z below 0; far below it by its asymptotic series."""
    if z > -30:
        return math.log(normal_below(z))
    return -(z**2) / 2 - math.log(-z * math.sqrt(2 * math.pi)) + math.log1p(-1 / z**2)
