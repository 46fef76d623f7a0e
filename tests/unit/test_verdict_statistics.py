"""How often verdicts err when they are looked at every hundred units, and whether they decide as soon as they announce.

10,000 runs of the real class are too slow one by one. What decides in them is `log_ratio` and `Bets`, which take many
runs at once: those are simulated, and first it is shown that the classes decide by nothing else, look by look.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray
from stopgap.verdict import DISTANCES, GRID, Bets, Bounded, agreement, bounded, log_ratio, mixed, paired_loss

ALPHA = 0.05
WON = math.log(1 / ALPHA)
LOOK_EVERY = 100
MOST_FALSE = 0.055
LEAST_FALSE_OF_THE_CONTROL = 0.2
LEAST_IN_TIME = 0.87
# What is announced is to be the units within which nine of ten runs are decided. Stated before it was tried: it may be
# a quarter too much, which nobody plans more finely than, and a look, since it is looked at every so many units only.
LARGEST_OVERSHOOT = 1.25
RUNS = 10_000
UNITS = 10_000
AT_ONCE = 1000  # runs whose capitals fit into the processor's cache

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Draw = Callable[[np.random.Generator, tuple[int, ...]], Floats]


@dataclass(frozen=True)
class Values:
    """A distribution in a stated range, and its true mean."""

    name: str
    draw: Draw
    mean: float
    low: float = 0.0
    high: float = 1.0

    def scaled(self, values: Floats | float) -> Floats:
        return (np.asarray(values) - self.low) / (self.high - self.low)

    def judge(self, margin: float) -> Bounded:
        """By the public way in."""
        if (self.low, self.high) == (-1.0, 1.0):
            return paired_loss(margin=margin)
        return bounded(self.low, self.high, margin=margin)


def normal_below(z: float) -> float:
    return 0.5 * math.erfc(-z / math.sqrt(2))


def cut_lognormal(mu: float, sigma: float) -> float:
    """The mean of min(1, exp(normal)), exactly."""
    return math.exp(mu + sigma**2 / 2) * normal_below(-mu / sigma - sigma) + normal_below(mu / sigma)


def two_valued(rare: float, share: float, usual: float) -> Draw:
    return lambda drawn, shape: np.where(drawn.random(shape) < share, rare, usual)


def losses(worse: float, better: float) -> Draw:
    """Both models are right or wrong, and are so together but for these shares."""

    def draw(drawn: np.random.Generator, shape: tuple[int, ...]) -> Floats:
        uniform = drawn.random(shape)
        return np.where(uniform < worse, 1.0, np.where(uniform < worse + better, -1.0, 0.0))

    return draw


# What is rare and large makes a mean look smaller than it is, for long; what is rare and small, larger.
VALUES = [
    Values("even", lambda drawn, shape: drawn.random(shape), 0.5),
    Values("skewed", lambda drawn, shape: drawn.beta(0.2, 3.8, shape), 0.05),
    Values("lognormal, cut", lambda drawn, shape: np.minimum(1, drawn.lognormal(-4, 2, shape)), cut_lognormal(-4, 2)),
    Values("rare and the largest", two_valued(1.0, 0.01, 0.0), 0.01),
    Values("very rare and the largest", two_valued(1.0, 0.001, 0.0), 0.001),
    Values("rare and the smallest", two_valued(0.0, 0.01, 0.5), 0.495),
    Values("in another range", lambda drawn, shape: drawn.uniform(-10, 30, shape), 10.0, -10, 30),
    Values("losses, hardly apart", losses(0.02, 0.01), 0.01, -1, 1),
    Values("losses, far apart", losses(0.30, 0.25), 0.05, -1, 1),
    Values("a rare loss of all", two_valued(1.0, 0.012, -0.002), 0.012 - 0.002 * 0.988, -1, 1),
]


@dataclass(frozen=True)
class Outcomes:
    """At which look each run has passed and failed, if ever, from 0; as many as there were looks where it has not."""

    passed: NDArray[np.intp]
    failed: NDArray[np.intp]
    looks: int

    @property
    def passes(self) -> float:
        return float(np.mean(self.passed < self.looks))

    @property
    def fails(self) -> float:
        return float(np.mean(self.failed < self.looks))

    def decided_within(self, units: float) -> float:
        """The share of runs."""
        return float(np.mean(np.minimum(self.passed, self.failed) < math.ceil(units / LOOK_EVERY)))

    def units_for(self, share: float) -> float:
        """After so many units that share of the runs is decided."""
        return float((np.quantile(np.minimum(self.passed, self.failed), share, method="higher") + 1) * LOOK_EVERY)


def outcomes(looks: Iterator[tuple[Bools, Bools]]) -> Outcomes:
    seen = [np.stack(pair) for pair in looks]
    won = np.stack(seen)  # by look, side and run
    first = np.where(won.any(axis=0), won.argmax(axis=0), len(won))
    return Outcomes(first[0], first[1], len(won))


def means_at(values: Values, margin: float, runs: int, units: int, seed: int) -> Outcomes:
    """Of the mean against the margin, by what `Bounded` bets with."""
    found = []
    for part, start in enumerate(range(0, runs, AT_ONCE)):
        drawn = np.random.default_rng([seed, part])
        found.append(outcomes(mean_looks(values, margin, min(AT_ONCE, runs - start), units, drawn)))
    return Outcomes(
        np.concatenate([each.passed for each in found]),
        np.concatenate([each.failed for each in found]),
        units // LOOK_EVERY,
    )


def mean_looks(
    values: Values, margin: float, runs: int, units: int, drawn: np.random.Generator
) -> Iterator[tuple[Bools, Bools]]:
    edge = values.scaled(margin).reshape(1)
    above, below = Bets(edge, (runs,)), Bets(1 - edge, (runs,))
    for _ in range(units // LOOK_EVERY):
        scaled = values.scaled(values.draw(drawn, (runs, LOOK_EVERY)))
        above.settle(scaled)
        below.settle(1 - scaled)
        yield below.log_capitals()[:, 0] >= WON, above.log_capitals()[:, 0] >= WON


def shares_at(share: float, margin: float, runs: int, units: int, seed: int) -> Outcomes:
    """Of a share against the margin, by what `Agreement` bets with."""
    return outcomes(share_looks(counts(share, runs, units, seed), margin))


def share_looks(agreeing: Floats, margin: float) -> Iterator[tuple[Bools, Bools]]:
    for look, yes in enumerate(agreeing, 1):
        no = look * LOOK_EVERY - yes
        yield log_ratio(yes, no, margin) >= WON, log_ratio(no, yes, 1 - margin) >= WON


def counts(share: float, runs: int, units: int, seed: int) -> Floats:
    """How many units agree so far, by look and run."""
    drawn = np.random.default_rng(seed)
    return np.cumsum(drawn.binomial(LOOK_EVERY, share, (units // LOOK_EVERY, runs)), axis=0).astype(np.float64)


# The classes decide by what is simulated, and that is what was defined


@pytest.mark.parametrize("values", VALUES, ids=lambda values: values.name)
@pytest.mark.parametrize("beside", [-0.1, 0.0, 0.1])
def test_a_mean_is_decided_at_the_same_look_as_in_the_simulation(values: Values, beside: float) -> None:
    margin = values.mean * (1 + beside)
    simulated = outcomes(mean_looks(values, margin, 2, 1500, np.random.default_rng(5)))
    drawn = np.random.default_rng(5)
    looks = [values.draw(drawn, (2, LOOK_EVERY)) for _ in range(1500 // LOOK_EVERY)]
    for run in range(2):
        judge = values.judge(margin)
        said = [judge.update(look[run]).outcome for look in looks]
        assert said == expected(simulated, run)


@pytest.mark.parametrize(("share", "margin"), [(0.98, 0.98), (0.99, 0.98), (0.97, 0.98), (0.5, 0.5), (0.55, 0.5)])
def test_a_share_is_decided_at_the_same_look_as_in_the_simulation(share: float, margin: float) -> None:
    agreeing = counts(share, 6, 3000, seed=6)
    simulated = outcomes(share_looks(agreeing, margin))
    for run in range(6):
        judge = agreement(margin=margin)
        each = np.diff(agreeing[:, run], prepend=0).astype(int)
        said = [judge.update(np.arange(LOOK_EVERY) < yes).outcome for yes in each]
        assert said == expected(simulated, run)


def expected(simulated: Outcomes, run: int) -> list[str]:
    """By look, what a class has to say: both, which drifting data can do, is nothing."""
    words = {(False, False): "INCONCLUSIVE", (True, False): "PASS", (False, True): "FAIL", (True, True): "INCONCLUSIVE"}
    looks = range(simulated.looks)
    return [words[bool(look >= simulated.passed[run]), bool(look >= simulated.failed[run])] for look in looks]


def slow_log_capitals(values: Floats, means: Floats, lost: int) -> Floats:
    """The definition, unit by unit: a fraction of the capital is bet, at stakes that can lose no more than it."""
    logs = np.zeros((len(means), len(DISTANCES)))
    for value in [*values, *[0.0] * lost]:
        for place, mean in enumerate(means):
            if mean > 0:
                with np.errstate(divide="ignore"):
                    logs[place] += np.log1p(DISTANCES / mean * (value - mean))
    return logs


def test_bets_are_what_they_are_defined_to_be() -> None:
    drawn = np.random.default_rng(7)
    means = np.array([0.0, 1e-6, 0.03, 0.5, 0.97, 1.0])
    for units in (1, 7, 8, 9, 40):
        for values in (drawn.random(units), drawn.beta(0.1, 5, units), drawn.integers(0, 2, units).astype(float)):
            lost = int(drawn.integers(0, 3))
            bets = Bets(means)
            cut = int(drawn.integers(0, units + 1))
            bets.settle(values[:cut])
            bets.settle(values[cut:], lost=lost)
            defined = mixed(slow_log_capitals(values, means, lost))
            np.testing.assert_allclose(bets.log_capitals(), defined, rtol=1e-9, atol=1e-9)


def test_many_runs_at_once_are_each_what_they_are_alone() -> None:
    values = np.random.default_rng(8).random((5, 30))
    means = np.linspace(0, 1, 9)
    together = Bets(means, (5,))
    together.settle(values)
    for run in range(5):
        alone = Bets(means)
        alone.settle(values[run])
        np.testing.assert_array_equal(together.log_capitals()[run], alone.log_capitals())


def test_an_interval_is_what_the_definition_gives() -> None:
    """By unit and for every mean of the grid, as it was first written down."""
    drawn = np.random.default_rng(9)
    margin, lower, upper = 0.07, 0.0, 1.0
    judge = bounded(0, 1, margin=margin)
    means = np.sort(np.append(np.linspace(0, 1, GRID), margin))
    seen = np.empty(0)
    for units in (13, 1, 60, 30):
        values = drawn.beta(0.4, 9.6, units)
        seen = np.append(seen, values)
        verdict = judge.update(values)
        too_low = np.flatnonzero(mixed(slow_log_capitals(seen, means, 0)) >= WON)
        too_high = np.flatnonzero(mixed(slow_log_capitals(1 - seen, 1 - means, 0)) >= WON)
        lower = max(lower, means[too_low[-1]] if too_low.size else 0.0)
        upper = min(upper, means[too_high[0]] if too_high.size else 1.0)
        assert (verdict.lower, verdict.upper) == (lower, upper)
    assert 0 < lower < 0.04 < upper < 1


# At the margin


@pytest.mark.parametrize("margin", [0.98, 0.9, 0.5])
def test_a_share_at_the_margin_hardly_ever_passes_or_fails_however_often_it_is_looked_at(margin: float) -> None:
    found = shares_at(margin, margin, RUNS, UNITS, seed=1)
    assert 0 < found.passes <= MOST_FALSE
    assert 0 < found.fails <= MOST_FALSE


def test_a_share_over_a_latency_budget_is_such_a_share() -> None:
    """Of latencies with a long tail as many are within the budget as the margin says."""
    budget_s, sigma, margin = 0.1, 1.5, 0.99
    z = 2.3263478740408408  # below it are 0.99 of a normal distribution
    drawn = np.random.default_rng(2)
    within = np.zeros((50, RUNS))
    for look in range(len(within)):
        latencies_s = budget_s * np.exp(sigma * (drawn.standard_normal((RUNS, LOOK_EVERY)) - z))
        within[look] = (latencies_s <= budget_s).sum(axis=1)
    found = outcomes(share_looks(np.cumsum(within, axis=0), margin))
    assert 0 < found.passes <= MOST_FALSE
    assert 0 < found.fails <= MOST_FALSE


@pytest.mark.parametrize("margin", [0.98, 0.9, 0.5])
def test_an_ordinary_interval_that_is_looked_at_as_often_passes_far_too_often(margin: float) -> None:
    """The control: Wilson's lower bound, one-sided, in the same runs."""
    passed = np.zeros(RUNS, bool)
    for look, yes in enumerate(counts(margin, RUNS, UNITS, seed=1), 1):
        passed |= wilson_lower(yes, look * LOOK_EVERY) > margin
    assert passed.mean() > LEAST_FALSE_OF_THE_CONTROL


def wilson_lower(agreeing: Floats, units: int) -> Floats:
    share, z = agreeing / units, 1.6449
    centre = share + z**2 / (2 * units)
    spread = z * np.sqrt(share * (1 - share) / units + z**2 / (4 * units**2))
    return np.asarray((centre - spread) / (1 + z**2 / units))


@pytest.mark.parametrize("values", VALUES, ids=lambda values: values.name)
def test_a_mean_at_the_margin_hardly_ever_passes_or_fails(values: Values) -> None:
    """Fewer runs than are claimed, and fewer looks; the next one has them all."""
    found = means_at(values, values.mean, 2000, 1000, seed=3)
    assert found.passes <= MOST_FALSE
    assert found.fails <= MOST_FALSE


@pytest.mark.slow
@pytest.mark.thorough
@pytest.mark.parametrize("values", VALUES, ids=lambda values: values.name)
def test_a_mean_at_the_margin_hardly_ever_passes_or_fails_in_ten_thousand_runs(values: Values) -> None:
    found = means_at(values, values.mean, RUNS, UNITS, seed=4)
    assert found.passes + found.fails > 0
    assert found.passes <= MOST_FALSE
    assert found.fails <= MOST_FALSE


# Beside it


@pytest.mark.parametrize(
    ("share", "margin"), [(0.99, 0.98), (0.97, 0.98), (0.995, 0.99), (0.92, 0.9), (0.87, 0.9), (0.55, 0.5), (1.0, 0.99)]
)
def test_nine_of_ten_shares_are_decided_within_what_is_announced(share: float, margin: float) -> None:
    announced = agreement(margin=margin)._needed(share)
    found = shares_at(share, margin, 2000, math.ceil(4 * announced / LOOK_EVERY) * LOOK_EVERY, seed=10)
    assert (found.passes > 0.99, found.fails > 0.99) == (share > margin, share < margin)
    assert found.decided_within(announced) >= LEAST_IN_TIME
    assert announced <= LARGEST_OVERSHOOT * found.units_for(0.9) + LOOK_EVERY


# By how much of its own mean, or by how much, a margin is beside the truth: above, it is passed.
BESIDE = [
    (VALUES[0], 0.54),
    (VALUES[0], 0.46),
    (VALUES[1], 0.06),
    (VALUES[1], 0.04),
    (VALUES[2], 0.1),
    (VALUES[3], 0.02),
    (VALUES[3], 0.005),
    (VALUES[5], 0.51),
    (VALUES[7], 0.03),
    (VALUES[7], -0.01),
    (VALUES[8], 0.12),
]


@pytest.mark.parametrize(("values", "margin"), BESIDE, ids=lambda given: getattr(given, "name", str(given)))
def test_nine_of_ten_means_are_decided_within_what_is_announced(values: Values, margin: float) -> None:
    announced = announced_for(values, margin)
    found = means_at(values, margin, 2000, math.ceil(2 * announced / LOOK_EVERY) * LOOK_EVERY, seed=11)
    assert (found.passes > 0.98, found.fails > 0.98) == (values.mean < margin, values.mean > margin)
    assert found.decided_within(announced) >= LEAST_IN_TIME
    assert announced <= LARGEST_OVERSHOOT * found.units_for(0.9) + LOOK_EVERY


def announced_for(values: Values, margin: float) -> float:
    """For the distribution itself, or so many values that they are as good: its spread is nowhere stated."""
    judge = values.judge(margin)
    judge._values.add(values.scaled(values.draw(np.random.default_rng(12), (4_000_000,))))
    return judge._needed()
