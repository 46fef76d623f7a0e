"""Replaying: when requests are asked, of whom first, and what becomes of those that cannot be."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
from stopgap.errors import JournalError
from stopgap.journal.replay import AtRate, Replayed, WithTiming, replay


def test_each_side_answers_each_request_and_a_failure_is_an_answer() -> None:
    found: list[Replayed[int]] = []

    def legacy(request: int, timeout_s: float) -> int:
        assert timeout_s == 2
        return request * 2

    def candidate(request: int, timeout_s: float) -> int:  # noqa: ARG001
        if request == 7:
            raise RuntimeError("seven")
        return request * 3

    report = replay(
        [(0.0, number) for number in range(50)],
        {"legacy": legacy, "candidate": candidate},
        AtRate(1000),
        timeout_s=2,
        most_in_flight=50,
        on_answer=found.append,
    )
    assert (report.answered, report.requests, report.failed, report.dropped) == (50, 50, 1, 0)
    by_number = {replayed.number: replayed for replayed in found}
    assert by_number.keys() == set(range(50))
    assert all(replayed.sides["legacy"].answer == replayed.request * 2 for replayed in found)
    assert str(by_number[7].sides["candidate"].error) == "seven"
    first = sum(next(iter(replayed.sides)) == "legacy" for replayed in found)
    assert 12 < first < 38


def test_the_order_of_the_sides_is_drawn_and_the_same_seed_draws_the_same() -> None:
    def orders(seed: int) -> dict[int, tuple[str, ...]]:
        found: dict[int, tuple[str, ...]] = {}

        def keep(replayed: Replayed[int]) -> None:
            found[replayed.number] = tuple(replayed.sides)

        requests = [(0.0, number) for number in range(30)]
        sides = {"a": lambda *_: 1, "b": lambda *_: 2}
        replay(requests, sides, AtRate(10_000), timeout_s=1, most_in_flight=30, seed=seed, on_answer=keep)
        return found

    assert orders(1) == orders(1) != orders(2)


def test_a_slow_side_does_not_slow_the_asking_down_and_what_is_too_much_is_dropped_and_counted() -> None:
    release = threading.Event()
    requests = [(0.0, number) for number in range(100)]
    threading.Timer(0.5, release.set).start()
    began = time.monotonic()
    report = replay(requests, {"a": lambda *_: release.wait(5)}, AtRate(500), timeout_s=5, most_in_flight=10)
    assert 0.4 < time.monotonic() - began < 2
    assert (report.answered, report.dropped, report.requests) == (10, 90, 100)


def test_a_side_that_never_returns_keeps_nobody_and_is_counted() -> None:
    forever = threading.Event()
    report = replay(
        [(0.0, number) for number in range(4)],
        {"a": lambda number, _: forever.wait() if number == 1 else number},
        AtRate(1000),
        timeout_s=0.1,
        most_in_flight=4,
    )
    forever.set()
    assert (report.answered, report.unanswered, report.requests) == (3, 1, 4)
    assert report.duration_s < 2


def test_who_takes_longer_than_the_deadline_is_overdue() -> None:
    report = replay([(0.0, 1)], {"a": lambda *_: time.sleep(0.15)}, AtRate(10), timeout_s=0.1)
    assert (report.answered, report.overdue) == (1, 1)


def test_requests_that_come_too_late_to_be_on_time_are_asked_and_counted() -> None:
    def requests() -> Iterator[tuple[float, int]]:
        for number in range(3):
            time.sleep(0.05)
            yield 0.0, number

    found: list[Replayed[int]] = []
    report = replay(requests(), {"a": lambda *_: 1}, AtRate(1000), timeout_s=1, on_answer=found.append)
    assert (report.answered, report.late) == (3, 3)
    assert all(replayed.late_s > 0.01 for replayed in found)


@pytest.mark.parametrize(("speed", "shortest", "longest"), [(1.0, 0.28, 1.0), (3.0, 0.09, 0.28)])
def test_the_original_timing_is_kept_or_a_multiple_of_it(speed: float, shortest: float, longest: float) -> None:
    asked: list[float] = []
    requests = [(5000.0, 0), (5000.1, 1), (4999.0, 2), (5000.3, 3)]
    report = replay(requests, {"a": lambda *_: asked.append(time.monotonic())}, WithTiming(speed), timeout_s=1)
    assert report.answered == 4
    assert shortest <= max(asked) - min(asked) <= longest


def test_a_rate_is_even_and_met() -> None:
    asked: list[float] = []
    requests = [(0.0, number) for number in range(100)]
    replay(requests, {"a": lambda *_: asked.append(time.monotonic())}, AtRate(200), timeout_s=1)
    assert 0.45 < max(asked) - min(asked) < 0.75


def test_what_the_listener_raises_ends_the_replay() -> None:
    def broken(_: object) -> None:
        raise ZeroDivisionError

    asked: list[int] = []
    requests = [(0.0, number) for number in range(1000)]
    with pytest.raises(ZeroDivisionError):
        replay(requests, {"a": lambda number, _: asked.append(number)}, AtRate(500), timeout_s=1, on_answer=broken)
    assert len(asked) < 500


def test_what_cannot_be_replayed_is_refused() -> None:
    with pytest.raises(JournalError, match="0 requests a second"):
        AtRate(0)
    with pytest.raises(JournalError, match="-1 times the speed"):
        WithTiming(-1)
    with pytest.raises(JournalError, match="at least one side"):
        replay([], {}, AtRate(1), timeout_s=1)
    assert replay([], {"a": lambda *_: 1}, AtRate(1), timeout_s=1).requests == 0
