"""The difference of two arms' means: never surer than it may be, however often one looks, and of use all the same."""

from __future__ import annotations

import math

import numpy as np
import pytest
from stopgap.errors import VerdictError
from stopgap.two_means import TwoMeans, TwoMeansVerdict
from stopgap.verdict import bounded

RUNS, STEP, LOOKS = 300, 100, 8


def false_passes(candidate: float, legacy: float, margin: float, seed: int) -> float:
    """In which share of runs at the boundary a PASS is seen, in any of the looks."""
    drawn = np.random.default_rng(seed)
    wrong = 0
    for _ in range(RUNS):
        arms = TwoMeans(margin)
        wrong += any(
            arms.update(drawn.random(STEP) < candidate, drawn.random(2 * STEP) < legacy).outcome == "PASS"
            for _ in range(LOOKS)
        )
    return wrong / RUNS


@pytest.mark.parametrize(("candidate", "legacy"), [(0.45, 0.5), (0.94, 0.99), (0.01, 0.06)])
def test_at_the_boundary_it_seldom_passes_however_often_one_looks(candidate: float, legacy: float) -> None:
    assert false_passes(candidate, legacy, 0.05, seed=7) <= 0.05


def test_the_interval_of_the_difference_covers_it_at_every_look() -> None:
    drawn = np.random.default_rng(11)
    missed = 0
    for _ in range(RUNS // 5):
        arms, seen = TwoMeans(), True
        for _ in range(LOOKS):
            told = arms.update(drawn.beta(8, 2, STEP).round(2), drawn.beta(6, 4, STEP).round(2))
            seen = seen and told.lower <= 0.2 <= told.upper
        missed += not seen
    assert missed / (RUNS // 5) <= 0.1  # each end errs in one of twenty at most


def settled(candidate: float, legacy: float, units: int) -> TwoMeansVerdict:
    drawn = np.random.default_rng(3)
    return TwoMeans(0.05).update(drawn.random(units) < candidate, drawn.random(units) < legacy)


def test_it_passes_what_is_as_good_and_fails_what_is_worse() -> None:
    assert settled(0.8, 0.8, 8000).outcome == "PASS"
    assert settled(0.7, 0.8, 8000).outcome == "FAIL"
    assert settled(0.8, 0.8, 100).outcome == "INCONCLUSIVE"


def test_it_is_narrower_than_what_two_intervals_leave() -> None:
    told = settled(0.8, 0.8, 4000)
    assert told.upper - told.lower < (told.candidate.upper - told.legacy.lower) - (
        told.candidate.lower - told.legacy.upper
    )


def test_one_arms_mean_is_told_as_a_bounded_one_is() -> None:
    values = np.random.default_rng(5).random(300)
    mean, alone = TwoMeans().update(values).candidate, bounded(0, 1, margin=None).update(values)
    assert (mean.units, mean.lower, mean.upper) == (300, alone.lower, alone.upper)
    assert mean.estimate == pytest.approx(alone.estimate)


def test_without_units_nothing_is_known_and_without_a_margin_nothing_passes() -> None:
    nothing = TwoMeans(0.1).update()
    assert (nothing.outcome, nothing.lower, nothing.upper) == ("INCONCLUSIVE", -1.0, 1.0)
    assert math.isnan(nothing.estimate)
    assert TwoMeans().update(np.ones(5000), np.zeros(5000)).outcome == "INCONCLUSIVE"
    told = TwoMeans(0.1).add_counted({1.0: 500, 0.0: 0}, {1.0: 500, 0.0: 0})
    assert (told.outcome, told.estimate) == ("PASS", 0.0)


@pytest.mark.parametrize("value", [-0.1, 1.1, math.nan])
def test_what_is_no_value_is_refused(value: float) -> None:
    with pytest.raises(VerdictError, match=r"is not in \[0, 1\]"):
        TwoMeans().update([value])


def test_a_margin_that_cannot_be_is_refused() -> None:
    with pytest.raises(VerdictError, match="A margin of"):
        TwoMeans(1.0)
