"""A result that looks as if only names or an order differed says so, and one that is simply bad does not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from stopgap.comparison.hints import hints
from stopgap.comparison.pairs import Pair

from tests.pairs_at_hand import answer, judged, pair, plan

UNITS = 60
SCORES = np.random.default_rng(4).dirichlet(np.ones(4) * 0.3, (UNITS, 1))
TOP_1, CLOSE = {"measure": "top_1", "output": "y", "margin": 0.9}, {"measure": "close", "margin": 0.9}


def half_wrong() -> Any:
    """What no order of classes mends: every row is turned, each by another number of places."""
    return [np.roll(row, number % 4, axis=1) for number, row in enumerate(SCORES)]


@pytest.mark.parametrize(
    ("condition", "name", "answers", "hint"),
    [
        (TOP_1, "y", SCORES, ""),
        (TOP_1, "y", half_wrong(), ""),
        (TOP_1, "y", SCORES[..., [1, 2, 3, 0]], "perhaps their order differs"),
        (TOP_1, "z", SCORES, "perhaps the candidate's output is called differently"),
        (TOP_1, "y", SCORES[:, 0], "the outputs have other shapes"),
        (CLOSE, "y", SCORES, ""),
        (CLOSE, "z", SCORES, "perhaps the candidate's output is called differently"),
        (CLOSE, "y", SCORES[..., [1, 2, 3, 0]], "hardly any request is close"),
    ],
)
def test_what_is_hinted_at(condition: dict[str, Any], name: str, answers: Any, hint: str) -> None:
    pairs = [pair({"y": SCORES[n]}, {name: answers[n]}, n) for n in range(UNITS)]
    stated = plan(condition, mode="conversion" if condition is CLOSE else "retrained")
    found = hints(judged(stated, pairs, whole_file=True).result())
    assert (len(found) == 1 and hint in found[0]) if hint else found == ()


def test_a_candidate_that_refuses_is_perhaps_asked_by_other_names_and_one_that_breaks_is_not() -> None:
    refused = judged(plan(TOP_1), [pair({"y": SCORES[n]}, None, n) for n in range(UNITS)], whole_file=True)
    assert hints(refused.result()) == ()  # INTERNAL


@pytest.mark.parametrize(
    ("legacy", "candidate", "hint"),
    [
        (None, None, "The legacy model refuses what it is asked"),
        ({"y": SCORES[0]}, None, "The candidate refuses what it is asked"),
    ],
)
def test_who_refuses_most_requests_is_named(legacy: Any, candidate: Any, hint: str) -> None:
    code = "INVALID_ARGUMENT"
    pairs = [Pair(pair(None, None, n).case, answer(legacy, code), answer(candidate, code)) for n in range(UNITS)]
    (found,) = hints(judged(plan(TOP_1), pairs, whole_file=True).result())
    assert hint in found
