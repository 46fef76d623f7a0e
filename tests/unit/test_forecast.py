"""When a capital is expected to have reached a height; `test_verdict_statistics.py` holds it against whole verdicts."""

from __future__ import annotations

import math

import numpy as np
import pytest
from stopgap.forecast import Histogram, first_passage, log_normal_below, normal_below, units_until

ONE = np.ones(1)


def test_without_luck_it_takes_as_long_as_the_height_takes() -> None:
    assert units_until(3.0, 0.01 * ONE, 0 * ONE) == pytest.approx(300, rel=1e-5)
    assert units_until(3.0, -0.01 * ONE, ONE) == math.inf
    assert units_until(3.0, np.array([-np.inf, 0.0]), np.ones(2)) == math.inf


def test_a_bet_that_loses_costs_what_was_put_on_it() -> None:
    both = units_until(3.0, np.array([0.01, -1.0]), np.zeros(2))
    assert both == pytest.approx((3.0 + math.log(2)) / 0.01, rel=1e-5)


@pytest.mark.parametrize(("growth", "spread", "units"), [(0.02, 0.2, 200), (0.001, 0.05, 2000), (0.05, 0.1, 60)])
def test_the_probability_of_having_been_there_is_that_of_random_walks(growth: float, spread: float, units: int) -> None:
    """Of steps a hundredth of a unit long: a walk of whole units looks beyond the height less often."""
    drawn, runs, fine = np.random.default_rng(31), 4000, 16
    places, reached = np.zeros(runs), np.zeros(runs, bool)
    for _ in range(units * fine):
        places += drawn.normal(growth / fine, spread / math.sqrt(fine), runs)
        reached |= places >= 3.0
    assert first_passage(units, 3.0, growth, spread) == pytest.approx(reached.mean(), abs=0.03)


def test_far_out_the_normal_distribution_goes_on_without_a_step() -> None:
    assert log_normal_below(-30.0 + 1e-9) == pytest.approx(log_normal_below(-30.0 - 1e-9), rel=1e-6)
    assert math.exp(log_normal_below(-5.0)) == pytest.approx(normal_below(-5.0))
    assert log_normal_below(-1e6) == pytest.approx(-5e11, rel=1e-6)


def test_a_histogram_keeps_the_mean_exactly_and_the_steps_nearly() -> None:
    seen, values = Histogram(), np.random.default_rng(37).beta(0.2, 3.8, 10_000)
    assert math.isnan(seen.mean)
    seen.add(values[:10])
    seen.add(values[10:])
    assert seen.count == 10_000
    assert seen.mean == pytest.approx(values.mean())
    kept, stakes = np.array([0.5, 0.9, 0.0]), np.array([5.0, 1.0, 10.0])
    means, spreads = seen.steps(kept, stakes)
    logs = np.log(kept[:2, np.newaxis] + stakes[:2, np.newaxis] * values)
    np.testing.assert_allclose(means[:2], logs.mean(axis=1), rtol=0.02, atol=2e-3)
    np.testing.assert_allclose(spreads[:2], logs.std(axis=1), rtol=0.02)
    seen.add(np.zeros(5))
    assert seen.steps(kept, stakes)[0][2] > -np.inf  # of its bin the mean is above 0
    alone = Histogram()
    alone.add(np.zeros(5))
    assert alone.steps(kept, stakes)[0][2] == -np.inf
