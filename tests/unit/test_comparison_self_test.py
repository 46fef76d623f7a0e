"""Which damage the stated margins notice, and that what they cannot see is said."""

from __future__ import annotations

import numpy as np
import pytest
from stopgap.comparison.pairs import Answer, Pair
from stopgap.comparison.self_test import EXCLUDED, UNKNOWN, by_bets, self_test
from stopgap.comparison.sight import Evidence
from stopgap.verdict import bounded

from tests.pairs_at_hand import pair, plan


def scored(units: int) -> list[Pair]:
    drawn = np.random.default_rng(8)
    return [
        pair({"y": row[np.newaxis]}, None, number)
        for number, row in enumerate(drawn.dirichlet(np.ones(5) * 0.3, units))
    ]


def test_a_margin_on_decisions_sees_permutations_and_not_shifts() -> None:
    found = self_test(plan({"measure": "top_1", "output": "y", "margin": 0.9}), scored(800), draws=20)
    assert (found.units, found.intact.passed) == (800, 1.0)
    assert found.smallest["classes permuted in y"] == 1.0
    assert {"scores shifted in y", "scores scaled in y"} <= set(found.not_covered)
    wrong = {each.size: each for each in found.detections if each.kind == "no answer"}
    assert wrong[0.5].passed > 0.5
    assert wrong[0.5].failed == 0
    assert not wrong[1.0].detected
    assert wrong[2.0].detected
    assert found.smallest["no answer"] == 2.0


def test_a_margin_on_distances_sees_what_decisions_do_not() -> None:
    conditions = [
        {"measure": "top_1", "output": "y", "margin": 0.9},
        {"measure": "absolute_error", "output": "y", "most": 1.0, "margin": 0.05},
    ]
    found = self_test(plan(*conditions), scored(400), draws=10)
    assert found.intact.passed == 1.0
    assert found.smallest["scores shifted in y"] == 0.3
    assert not {"scores shifted in y"} & set(found.not_covered)


def test_too_few_units_leave_it_undecided() -> None:
    found = self_test(plan({"measure": "top_1", "output": "y", "margin": 0.99}), scored(60), draws=10)
    assert found.intact.passed == 0.0
    assert "scores shifted in y" in found.undecided
    assert found.not_covered == ()


def test_a_person_s_own_damage_is_tried_too() -> None:
    def stale(each: Pair, _: np.random.Generator) -> Answer:
        assert each.legacy.outputs is not None
        return Answer({"y": each.legacy.outputs["y"][:, ::-1]})

    bounds = plan({"measure": "top_1", "output": "y", "margin": 0.9}, independent=True)
    found = self_test(bounds, scored(300), draws=10, further={"stale preprocessing": stale}, whole_file=True)
    assert found.smallest["stale preprocessing"] == 1.0
    assert self_test(bounds, [], draws=2).intact.passed == 0.0


@pytest.mark.parametrize(("mean", "unknown"), [(0.02, 0), (0.02, 30), (0.2, 0), (0.2, 30), (0.09, 0)])
@pytest.mark.parametrize("higher", [False, True])
def test_the_short_way_decides_as_the_long_one(mean: float, unknown: int, higher: bool) -> None:
    values = np.random.default_rng(2).beta(mean, 1 - mean, 300)
    long = bounded(0, 1, margin=0.1).update(values, unknown).outcome
    given = 1 - values if higher else values
    evidence = Evidence("mean", higher_is_better=higher)
    excluded = np.full(40, EXCLUDED)
    draws = np.stack([np.concatenate([given, np.full(unknown, UNKNOWN), excluded])] * 2)
    assert by_bets(draws, evidence, 0.9 if higher else 0.1, 0.05) == [long, long]
