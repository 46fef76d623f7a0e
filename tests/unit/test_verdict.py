"""Verdicts: what they say and what they refuse. How often they err is looked into by `test_verdict_statistics.py`."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from stopgap.errors import VerdictError
from stopgap.verdict import Agreement, Bounded, Verdict, agreement, bounded, paired_loss, whole_file

LOOK_EVERY = 100


def test_the_interval_holds_the_truth_at_every_look() -> None:
    missed = 0
    for seed in range(200):
        drawn, judge = np.random.default_rng(seed), agreement(margin=0.9)
        verdict = judge.verdict
        for _ in range(20):
            verdict = judge.update(drawn.random(LOOK_EVERY) < 0.93)
        missed += not verdict.lower <= 0.93 <= verdict.upper
    assert missed <= 0.1 * 200


def test_a_mean_is_told_in_the_units_of_its_range() -> None:
    drawn = np.random.default_rng(3)
    verdict = bounded(-10, 30, margin=5).update(drawn.uniform(-2, 2, 2000))
    assert verdict.outcome == "PASS"
    assert verdict.lower < 0 < verdict.upper < 5
    assert abs(verdict.estimate) < 0.1
    assert bounded(-10, 30, margin=-5).update(drawn.uniform(-2, 2, 2000)).outcome == "FAIL"


def test_losses_are_compared_in_pairs() -> None:
    drawn = np.random.default_rng(4)
    legacy = drawn.random(4000) < 0.1
    candidate = legacy ^ (drawn.random(4000) < 0.02)
    verdict = paired_loss(margin=0.05).update(candidate.astype(float) - legacy)
    assert verdict.outcome == "PASS"
    assert verdict.units == 4000


def test_in_pieces_or_at_once_the_units_count_the_same() -> None:
    agreeing = np.random.default_rng(5).random(700) < 0.97
    whole, pieces = bounded(0, 1, margin=0.1), bounded(0, 1, margin=0.1)
    for start in range(0, 700, 7):
        pieces.update(1.0 - agreeing[start : start + 7])
    assert whole.update(1.0 - agreeing).estimate == pytest.approx(pieces.verdict.estimate)
    assert agreement(margin=0.9).update(agreeing).units == 700


@pytest.mark.parametrize(
    ("method", "unit"),
    [
        (agreement(margin=0.9), True),
        (agreement(margin=0.1), False),
        (bounded(0, 1, margin=0.1), 0.01),
        (bounded(0, 1, margin=0.9), 0.99),
    ],
    ids=["a share that passes", "one that fails", "a mean that passes", "one that fails"],
)
def test_how_many_more_it_takes_is_known_also_where_many_were_dropped(method: Agreement | Bounded, unit: float) -> None:
    verdict = method.update(np.full(64, unit), dropped=236)
    assert verdict.outcome == "INCONCLUSIVE"
    announced, took = verdict.more_units, 0
    while verdict.outcome == "INCONCLUSIVE":
        verdict, took = method.update(np.full(10, unit)), took + 10
    assert announced is not None
    assert announced <= took <= 1.1 * announced + 10


def test_what_was_dropped_counts_with_its_worst() -> None:
    agreeing = np.ones(1000, bool)
    assert agreement(margin=0.98).update(agreeing).outcome == "PASS"
    assert agreement(margin=0.98).update(agreeing, dropped=30).outcome == "INCONCLUSIVE"
    assert bounded(0, 1, margin=0.02).update(np.zeros(1000)).outcome == "PASS"
    assert bounded(0, 1, margin=0.02).update(np.zeros(1000), dropped=30).outcome == "INCONCLUSIVE"
    assert agreement(margin=0.5).update(~agreeing, dropped=2000).outcome == "INCONCLUSIVE"


def test_without_a_margin_nothing_passes() -> None:
    verdict = agreement(margin=None).update(np.ones(10_000, bool))
    assert (verdict.outcome, verdict.reason, verdict.more_units) == ("INCONCLUSIVE", "no margin was stated", None)
    assert bounded(0, 1, margin=None).update(np.zeros(500)).outcome == "INCONCLUSIVE"
    assert whole_file(100, 100, margin=None).outcome == "INCONCLUSIVE"


def test_what_was_planned_is_not_overrun() -> None:
    judge = agreement(margin=0.98, most_units=500)
    half = np.arange(400) % 40 != 0
    assert judge.update(half).reason == "more units are needed than were planned"
    assert judge.update(half).reason == "the planned number of units is reached"


def test_a_verdict_stays_and_a_share_that_moves_across_the_margin_is_none() -> None:
    judge = agreement(margin=0.9)
    assert judge.update(np.ones(2000, bool)).outcome == "PASS"
    assert judge.update(np.zeros(100, bool)).outcome == "PASS"
    assert judge.update(np.zeros(5000, bool)).outcome == "INCONCLUSIVE"


def test_before_the_first_unit_nothing_is_known() -> None:
    for judge in (agreement(margin=0.98), bounded(0, 1, margin=0.1)):
        verdict = judge.verdict
        assert (verdict.outcome, verdict.units, verdict.lower, verdict.upper) == ("INCONCLUSIVE", 0, 0.0, 1.0)
        assert math.isnan(verdict.estimate)
        assert judge.update([]).units == 0


def test_a_whole_file_has_the_exact_bounds() -> None:
    """Against Clopper and Pearson's own: 10 of 10 at 0.025 a side is above 0.6915; 95 of 100 at 0.05 above 0.8978."""
    assert whole_file(10, 10, margin=0.5, alpha=0.025).lower == pytest.approx(0.025**0.1, abs=1e-9)
    assert whole_file(95, 100, margin=0.5, alpha=0.025).lower == pytest.approx(0.8872, abs=1e-4)
    assert whole_file(95, 100, margin=0.5, alpha=0.025).upper == pytest.approx(0.9836, abs=1e-4)
    assert whole_file(0, 30, margin=0.5).outcome == "FAIL"


def test_each_candidate_on_the_same_file_takes_its_share_of_alpha() -> None:
    once, fifth = (whole_file(4937, 5000, margin=0.984, candidates=tried) for tried in (1, 5))
    assert fifth.lower < once.lower
    assert (once.outcome, fifth.outcome) == ("PASS", "INCONCLUSIVE")


@pytest.mark.parametrize(
    ("ask", "told"),
    [
        (lambda: agreement(margin=1.0), "A margin of 1.0 is not between 0.0 and 1.0, both excluded."),
        (lambda: agreement(margin=math.nan), "A margin of nan"),
        (lambda: agreement(margin=0.98, alpha=0), "alpha=0"),
        (lambda: bounded(1, 0, margin=0.5), r"\[1, 0\] is no range"),
        (lambda: bounded(0, math.inf, margin=0.5), "is no range"),
        (lambda: bounded(0, 1, margin=2), "A margin of 2"),
        (lambda: agreement(margin=0.98).update([0.5, 1.0]), "bools are needed, not float64"),
        (lambda: agreement(margin=0.98).update([True], dropped=-1), "-1 units cannot have been dropped"),
        (lambda: bounded(0, 1, margin=0.5).update([0.5, math.nan]), "nan is not in"),
        (lambda: bounded(0, 1, margin=0.5).update([1.5]), "1.5 is not in"),
        (lambda: whole_file(5, 4, margin=0.5), "5 of 4 units cannot agree"),
        (lambda: whole_file(1, 4, margin=0.5, candidates=0), "0 candidates"),
    ],
)
def test_what_cannot_be_is_told(ask: Callable[[], object], told: str) -> None:
    with pytest.raises(VerdictError, match=told):
        ask()


def test_a_refused_update_counts_nothing() -> None:
    judge = bounded(0, 1, margin=0.5)
    with pytest.raises(VerdictError):
        judge.update([0.1, 7.0])
    assert judge.verdict.units == 0
    assert isinstance(judge.verdict, Verdict)
