"""Verdicts that may be looked at after every unit: PASS, FAIL or INCONCLUSIVE against a margin that was stated before.

    quality = agreement(margin=0.98)
    verdict = quality.update(same_answer)    # an array of bools: one for each unit
    verdict.outcome, verdict.lower, verdict.upper, verdict.more_units

Whoever looks at an ordinary interval again and again, and stops when it looks good, passes far more often than it
says. These can be looked at as often as wanted: each is a bet against "the margin is missed" whose capital cannot be
expected to grow while that is true, so that it is ever worth 1/alpha with a probability of at most alpha (Ville). The
bets on a share are the likelihood ratios of a beta-binomial mixture, discretised; those on a mean are of a fixed
fraction each, the capital spread over several (Waudby-Smith and Ramdas, "Estimating means of bounded random variables
by betting", JRSS B 2024).

A unit is whatever was drawn independently: the first observation of a user or of a distinct input, not a request.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Optional

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stopgap.errors import VerdictError
from stopgap.forecast import Histogram, moments, units_until

__all__ = ["Agreement", "Bounded", "Verdict", "agreement", "bounded", "paired_loss", "whole_file"]

PASS, FAIL, INCONCLUSIVE = "PASS", "FAIL", "INCONCLUSIVE"

# How far from the margin the truth may be for one of the bets to be a good one, as shares of the way to the end of the
# range: evenly spaced in the logarithm, since nobody knows the scale beforehand.
DISTANCES = np.geomspace(2e-3, 1.0, 14)
GRID = 257  # candidates for a mean, from one end of its range to the other, between which an interval is told
BISECTIONS = 50
UNITS_A_LOGARITHM = 8  # multiplied before it is taken, which is the dear part; their product stays well within a float

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Verdict:
    """What is known so far.

    Attributes:
        outcome: PASS, FAIL or INCONCLUSIVE. Once passed or failed it stays so.
        estimate: The share or the mean that was seen; NaN without a unit.
        lower: With `upper`, what can be true: each end errs with a probability of at most alpha, whenever it is read.
        upper: See `lower`.
        units: How many there were, dropped ones included.
        more_units: About how many more it takes, in nine of ten cases, if the truth is as estimated; None where it is
            decided, and where no number is enough.
        reason: Why it is INCONCLUSIVE; empty otherwise.
    """

    outcome: str
    estimate: float
    lower: float
    upper: float
    units: int
    more_units: Optional[int] = None  # noqa: UP045 - dataclasses are looked into at run time, by Python 3.9 too
    reason: str = ""


def agreement(*, margin: float | None, alpha: float = 0.05, most_units: int | None = None) -> Agreement:
    """For a share that is to be above `margin`: of units that agree, say.

    Args:
        margin: From 0 to 1, both excluded. None: everything is counted, nothing can pass.
        alpha: With what probability a PASS, and likewise a FAIL, may be wrong.
        most_units: After so many, what is not decided stays INCONCLUSIVE.

    Raises:
        VerdictError: The margin or alpha cannot be.
    """
    return Agreement(margin, alpha, most_units)


def bounded(
    low: float, high: float, *, margin: float | None, alpha: float = 0.05, most_units: int | None = None
) -> Bounded:
    """For the mean of a value in [low, high] that is to be below `margin`: a distance, say.

    The range is stated and not taken from the data: of a mean without bounds nothing can be said that holds.

    Args:
        low: No value is below it.
        high: None is above it.
        margin: Between the two.
        alpha: As for `agreement`.
        most_units: As for `agreement`.

    Raises:
        VerdictError: The range, the margin or alpha cannot be.
    """
    return Bounded(low, high, margin, alpha, most_units)


def paired_loss(*, margin: float | None, alpha: float = 0.05, most_units: int | None = None) -> Bounded:
    """For labelled pairs: the candidate's loss less the legacy model's, each in [0, 1], is to be below `margin`.

    Raises:
        VerdictError: The margin is not between -1 and 1, or alpha cannot be.
    """
    return Bounded(-1.0, 1.0, margin, alpha, most_units)


def whole_file(agreeing: int, units: int, *, margin: float | None, alpha: float = 0.05, candidates: int = 1) -> Verdict:
    """For a file that is looked at once, whole: Clopper and Pearson's exact bounds on a share.

    On the file itself the share is simply what it is. That it holds beyond the file is claimed under the condition that
    its units were drawn independently from what is to come.

    Args:
        agreeing: How many units agree.
        units: How many there are.
        margin: As for `agreement`.
        alpha: As for `agreement`.
        candidates: How many candidates have been tried on this file, this one included: alpha is divided by it.

    Raises:
        VerdictError: A number cannot be.
    """
    check(0 <= agreeing <= units and units > 0, f"{agreeing} of {units} units cannot agree.")
    check(candidates >= 1, f"{candidates} candidates cannot have been tried.")
    check_alpha(alpha)
    check_margin(margin, 0.0, 1.0)
    share = alpha / candidates
    lower = exact_lower(agreeing, units, share)
    upper = 1.0 - exact_lower(units - agreeing, units, share)
    outcome = decided(lower, upper, margin)
    reason = "" if outcome != INCONCLUSIVE else "no margin was stated" if margin is None else "the file is too small"
    return Verdict(outcome, agreeing / units, lower, upper, units, reason=reason)


class Agreement:
    """See `agreement`. Of the units only their numbers are kept."""

    def __init__(self, margin: float | None, alpha: float, most_units: int | None) -> None:
        check_margin(margin, 0.0, 1.0)
        check_alpha(alpha)
        self._plan = Plan(margin, most_units)
        self._threshold = math.log(1 / alpha)
        self._agreeing = self._units = self._dropped = 0
        self._lower, self._upper = 0.0, 1.0

    def update(self, agreeing: ArrayLike, dropped: int = 0) -> Verdict:
        """Counts further units.

        Args:
            agreeing: Shape [units], bools: whether each agrees. One that the candidate did not answer does not.
            dropped: Units that were lost before anybody was asked. For a PASS they count as disagreeing, for a FAIL as
                agreeing: whatever they would have said, the verdict holds.

        Raises:
            VerdictError: They are no bools.
        """
        values = np.atleast_1d(np.asarray(agreeing))
        if values.size and values.dtype != np.bool_:
            raise VerdictError(f"Units agree or do not: bools are needed, not {values.dtype}.")
        check(dropped >= 0, f"{dropped} units cannot have been dropped.")
        self._agreeing += int(values.sum())
        self._units += values.size
        self._dropped += dropped
        # Whatever was excluded once stays excluded: the probability of ever erring is what alpha bounds.
        missing = self._units - self._agreeing
        self._lower = self._lower_bound(self._agreeing, missing + self._dropped, self._lower)
        self._upper = 1.0 - self._lower_bound(missing, self._agreeing + self._dropped, 1.0 - self._upper)
        return self.verdict

    @property
    def verdict(self) -> Verdict:
        """What is known so far."""
        units = self._units + self._dropped
        estimate = self._agreeing / self._units if self._units else math.nan
        return self._plan.judged((self._lower, self._upper), estimate, units, self._needed(estimate))

    def _lower_bound(self, agreeing: int, disagreeing: int, before: float) -> float:
        """The largest share against which the bet is won, or has been won before."""
        if not agreeing or (before > 0 and log_ratio(agreeing, disagreeing, before) < self._threshold):
            return before
        won, lost = before, agreeing / (agreeing + disagreeing)
        for _ in range(BISECTIONS):
            middle = (won + lost) / 2
            if log_ratio(agreeing, disagreeing, middle) >= self._threshold:
                won = middle
            else:
                lost = middle
        return won

    def _needed(self, share: float) -> float:
        margin = self._plan.margin
        if margin is None or not 0 <= share <= 1 or share == margin:
            return math.inf
        if share < margin:
            share, margin = 1 - share, 1 - margin
        better = margin + (1 - margin) * DISTANCES
        with np.errstate(divide="ignore"):
            logs = np.stack([np.log(better / margin), np.log1p(-better) - math.log1p(-margin)], axis=1)
        begins = lost_before(logs[:, 1], self._dropped)
        if share == 1:
            return self._dropped + units_until(self._threshold, logs[:, 0], np.zeros(len(logs)), begins)
        return self._dropped + units_until(self._threshold, *moments(logs, np.array([share, 1 - share])), begins)


class Bounded:
    """See `bounded`. Of the units only the bets on a grid of means are kept."""

    def __init__(self, low: float, high: float, margin: float | None, alpha: float, most_units: int | None) -> None:
        check(math.isfinite(low) and math.isfinite(high) and low < high, f"[{low}, {high}] is no range.")
        check_margin(margin, low, high)
        check_alpha(alpha)
        self._low, self._width = low, high - low
        # To be below a margin is to be above it in a mirror.
        self._mirrored = Plan(None if margin is None else -margin, most_units)
        self._threshold = math.log(1 / alpha)
        self._sum = 0.0
        self._values = Histogram()
        self._units = self._dropped = 0
        self._means = np.linspace(0.0, 1.0, GRID)
        if margin is not None:
            self._means = np.sort(np.append(self._means, self._scaled(np.float64(margin))))
        self._above = Bets(self._means)  # on: the mean is above this one
        self._below = Bets(1 - self._means)  # on the reverse, in the mirrored range
        self._lower, self._upper = 0.0, 1.0

    def update(self, values: ArrayLike, dropped: int = 0) -> Verdict:
        """Counts further units.

        Args:
            values: Shape [units].
            dropped: Units that were lost before anybody was asked. For a PASS they count with the highest value, for a
                FAIL with the lowest.

        Raises:
            VerdictError: A value is no number, or outside the range that was stated.
        """
        given = np.atleast_1d(np.asarray(values, dtype=np.float64))
        scaled = self._scaled(given)
        if not np.all((scaled >= 0) & (scaled <= 1)):
            wrong = given[~((scaled >= 0) & (scaled <= 1))][0]
            raise VerdictError(f"{wrong} is not in [{self._low}, {self._low + self._width}].")
        check(dropped >= 0, f"{dropped} units cannot have been dropped.")
        self._sum += float(scaled.sum())
        self._values.add(scaled)
        self._units += given.size
        self._dropped += dropped
        self._above.settle(scaled, lost=dropped)
        self._below.settle(1 - scaled, lost=dropped)
        self._lower = max(self._lower, self._end(self._above, last=True))
        self._upper = min(self._upper, self._end(self._below, last=False))
        return self.verdict

    @property
    def verdict(self) -> Verdict:
        """What is known so far."""
        mean = self._sum / self._units if self._units else math.nan
        lower, upper = (self._low + self._width * end for end in (self._lower, self._upper))
        estimate = self._low + self._width * mean
        seen = self._mirrored.judged((-upper, -lower), -estimate, self._units + self._dropped, self._needed())
        return replace(seen, estimate=estimate, lower=lower, upper=upper)

    def _scaled(self, values: Any) -> Any:
        return (values - self._low) / self._width

    def _end(self, bets: Bets, *, last: bool) -> float:
        """The last mean that is too low, or the first that is too high."""
        won = np.flatnonzero(bets.log_capitals() >= self._threshold)
        if not won.size:
            return 0.0 if last else 1.0
        return float(self._means[won[-1] if last else won[0]])

    def _needed(self) -> float:
        """From what was seen: of a mean nobody has stated the spread."""
        if self._mirrored.margin is None or not self._values.count:
            return math.inf
        margin = float(self._scaled(-self._mirrored.margin))
        if self._values.mean > margin:
            kept, stakes = 1 - DISTANCES, DISTANCES / margin
        else:  # the bet that it is below: on 1 - value, being above 1 - margin
            stakes = -DISTANCES / (1 - margin)
            kept = 1 - DISTANCES - stakes
        with np.errstate(divide="ignore"):
            begins = lost_before(np.log(1 - DISTANCES), self._dropped)
        return self._dropped + units_until(self._threshold, *self._values.steps(kept, stakes), begins)


class Bets:
    """What capitals of 1 become that bet on the mean of values in [0, 1] being above each of several: a fraction of
    each, from DISTANCES, on every unit. In one run, or in many at once.

    A unit with the value x makes 1 - fraction + fraction * x / mean of a capital.

    Args:
        means: Shape [means], from 0 to 1. Against 0 there is nothing to bet.
        runs: The shape of the runs.
    """

    def __init__(self, means: Floats, runs: tuple[int, ...] = ()) -> None:
        possible = means > 0
        self._stakes = np.where(possible[:, np.newaxis], DISTANCES / np.where(possible, means, 1.0)[:, np.newaxis], 0.0)
        self._kept = np.where(possible[:, np.newaxis], 1 - DISTANCES, 1.0)
        self._logs = np.zeros((*runs, len(means), len(DISTANCES)))

    def settle(self, values: Floats, lost: int = 0) -> None:
        """Takes in further units.

        Args:
            values: Shape [runs, units].
            lost: So many units more, whose value is 0.
        """
        units = np.moveaxis(values, -1, 0)[..., np.newaxis, np.newaxis]
        product, factor = np.empty_like(self._logs), np.empty_like(self._logs)
        for start in range(0, len(units), UNITS_A_LOGARITHM):
            product[...] = 1.0
            for unit in units[start : start + UNITS_A_LOGARITHM]:
                np.multiply(self._stakes, unit, out=factor)
                factor += self._kept
                product *= factor
            self._add_log(product)
        if lost:
            self._add_log(self._kept, lost)

    def settle_alike(self, value: float, times: int) -> None:
        """Likewise, of one run: so many units that all have that value."""
        self._add_log(self._kept + self._stakes * value, times)

    def log_capitals(self) -> Floats:
        """The logarithm of what the fractions have made together. Shape [runs, means]."""
        return mixed(self._logs)

    def _add_log(self, factors: Floats, times: int = 1) -> None:
        with np.errstate(divide="ignore"):  # who bets all of it may lose all of it, and is out for good
            self._logs += times * np.log(factors)


def log_ratio(agreeing: ArrayLike, disagreeing: ArrayLike, share: float) -> Floats:
    """The logarithm of a mixture's likelihood, over better shares, to that of `share`; for each pair of numbers."""
    yes, no = (np.asarray(numbers, dtype=np.float64)[..., np.newaxis] for numbers in (agreeing, disagreeing))
    better = share + (1 - share) * DISTANCES
    with np.errstate(divide="ignore", invalid="ignore"):
        lost = np.where(no > 0, no * (np.log1p(-better) - math.log1p(-share)), 0.0)
    return mixed(yes * np.log(better / share) + lost)


def lost_before(logs: Floats, dropped: int) -> Floats:
    """What so many units that are counted at their worst have made of each bet; nothing, where there are none."""
    return dropped * logs if dropped else np.zeros_like(logs)


def mixed(logs: Floats) -> Floats:
    """The logarithm of each row's mean, given the logarithms of its members."""
    highest = logs.max(axis=-1, keepdims=True)
    with np.errstate(invalid="ignore"):
        rest = np.exp(logs - highest).mean(axis=-1)
    return np.asarray(highest[..., 0] + np.log(rest))


@dataclass(frozen=True)
class Plan:
    """What is wanted, and how far it may go."""

    margin: Optional[float]  # noqa: UP045
    most_units: Optional[int]  # noqa: UP045

    def judged(self, ends: tuple[float, float], estimate: float, units: int, needed: float) -> Verdict:
        """
        Args:
            ends: What can be true.
            needed: About how many units it takes in all.
        """
        outcome = decided(*ends, self.margin)
        if outcome != INCONCLUSIVE:
            return Verdict(outcome, estimate, *ends, units)
        more = max(1, math.ceil(needed) - units) if math.isfinite(needed) else None
        return Verdict(outcome, estimate, *ends, units, *self._still(units, more))

    def _still(self, units: int, more: int | None) -> tuple[int | None, str]:
        if self.margin is None:
            return None, "no margin was stated"
        if self.most_units is not None and units >= self.most_units:
            return None, "the planned number of units is reached"
        if more is None:
            return None, "the estimate is at the margin"
        if self.most_units is not None and units + more > self.most_units:
            return more, "more units are needed than were planned"
        return more, "more units are needed"


def decided(lower: float, upper: float, margin: float | None) -> str:
    """Both ends beyond the margin, on either side of it, is what drifting data can do: then nothing is decided."""
    passes, fails = margin is not None and lower >= margin, margin is not None and upper <= margin
    if passes is fails:
        return INCONCLUSIVE
    return PASS if passes else FAIL


def exact_lower(agreeing: int, units: int, alpha: float) -> float:
    """The share at which so many or more agree with a probability of `alpha`."""
    if not agreeing:
        return 0.0
    logs = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, units + 1)))])
    counts = np.arange(agreeing, units + 1)
    ways = logs[units] - logs[counts] - logs[units - counts]
    low, high = 0.0, 1.0
    for _ in range(BISECTIONS):
        share = (low + high) / 2
        with np.errstate(divide="ignore", invalid="ignore"):
            tail = np.exp(ways + counts * math.log(share) + (units - counts) * math.log1p(-share)).sum()
        low, high = (share, high) if tail < alpha else (low, share)
    return low


def check_margin(margin: float | None, low: float, high: float) -> None:
    if margin is not None:
        check(low < margin < high, f"A margin of {margin} is not between {low} and {high}, both excluded.")


def check_alpha(alpha: float) -> None:
    check(0 < alpha < 0.5, f"alpha={alpha} is no probability of erring: choose 0.05, say.")


def check(holds: bool, problem: str) -> None:
    if not holds:
        raise VerdictError(problem)
