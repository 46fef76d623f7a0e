"""Asking again: only what is safe to ask twice, and only while nobody is there."""

from __future__ import annotations

import pytest
from stopgap.client.retries import ask_until_there
from stopgap.client.status import INVALID_ARGUMENT, UNAVAILABLE
from stopgap.errors import PredictionError


class Server:
    """Refuses a few times, then answers; remembers how long it was given."""

    def __init__(self, refusals: int, code: int = UNAVAILABLE) -> None:
        self.refusals = refusals
        self.code = code
        self.given: list[float | None] = []

    def __call__(self, timeout_s: float | None) -> str:
        self.given.append(timeout_s)
        if len(self.given) <= self.refusals:
            raise PredictionError("refused", self.code)
        return "answer"


def test_what_is_repeatable_is_asked_until_somebody_is_there() -> None:
    server = Server(refusals=3)
    assert ask_until_there(server, 30, repeatable=True) == "answer"
    assert len(server.given) == 4
    times = [given for given in server.given if given is not None]
    assert times == sorted(times, reverse=True)
    assert 29 < times[-1] < times[0] <= 30


def test_without_a_deadline_each_attempt_has_none() -> None:
    server = Server(refusals=1)
    assert ask_until_there(server, None, repeatable=True) == "answer"
    assert server.given == [None, None]


@pytest.mark.parametrize(("repeatable", "code"), [(False, UNAVAILABLE), (True, INVALID_ARGUMENT)])
def test_all_else_is_asked_once(repeatable: bool, code: int) -> None:
    server = Server(refusals=1, code=code)
    with pytest.raises(PredictionError):
        ask_until_there(server, 30, repeatable=repeatable)
    assert len(server.given) == 1


def test_nobody_is_asked_beyond_the_deadline() -> None:
    server = Server(refusals=100)
    with pytest.raises(PredictionError):
        ask_until_there(server, 0.2, repeatable=True)
    assert all(given is not None and 0 <= given <= 0.2 for given in server.given)
