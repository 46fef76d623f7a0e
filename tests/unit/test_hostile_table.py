"""The table of what is expected of hostile cases: complete, of one form, and no more than that."""

from __future__ import annotations

import grpc
import pytest

from tests.hostile import CORE, NAMES, attack
from tests.hostile.expectations import EXCEPTIONS, Outcome, expected, read


def test_every_case_is_expected_to_end_somehow() -> None:
    assert sorted(read()) == list(NAMES)
    assert set(CORE) < set(NAMES)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("circumstance", EXCEPTIONS)
def test_what_is_expected_can_be_checked(name: str, circumstance: str) -> None:
    expectation = expected(name, circumstance)
    assert expectation.why
    assert expectation.at in ("load", "request")
    outcome = expectation.outcome
    assert bool(expectation.cause) is (outcome is Outcome.DEATH)
    if outcome is Outcome.STATUS:
        assert expectation.code in grpc.StatusCode.__members__
    elif outcome is Outcome.REFUSED:
        assert bool(expectation.code) is not bool(expectation.says)
    else:
        assert not expectation.code
    assert not expectation.gives or outcome is Outcome.ANSWER
    assert expectation.at == "request" or outcome in (Outcome.DEATH, Outcome.DEADLINE)
    assert not (expectation.good and expectation.hopeless)
    assert expectation.good or expectation.hopeless or not expectation.costs_a_worker
    assert attack(name).request.model_spec.name == name
