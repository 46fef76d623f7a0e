"""Asking recorded requests again, at a pace of its own: who is slow to answer does not slow the asking down.

Knows no channel and no protocol: it is given what asks.
"""

from __future__ import annotations

import queue
import random
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Optional, Protocol, TypeVar

from stopgap.errors import JournalError

__all__ = ["Answered", "AtRate", "Pace", "ReplayReport", "Replayed", "WithTiming", "replay"]

LATE_AFTER_S = 0.01
GRACE_S = 0.25  # for a side to come back from a deadline that it keeps itself

Request = TypeVar("Request")
Ask = Callable[[Any, float], Any]


class Pace(Protocol):
    """When requests are due."""

    def due_s(self, number: int, arrived_s: float) -> float:
        """Seconds after the first, of the request with that number, from 0, which arrived then originally."""


@dataclass(frozen=True)
class AtRate:
    """So many requests a second, evenly."""

    per_s: float

    def __post_init__(self) -> None:
        if not self.per_s > 0:
            raise JournalError(f"Nothing can be asked at {self.per_s} requests a second.")

    def due_s(self, number: int, arrived_s: float) -> float:  # noqa: ARG002 - a Pace's
        return number / self.per_s


class WithTiming:
    """As they arrived, or faster or slower by a factor; one that arrived before the first is due with it."""

    def __init__(self, speed: float = 1.0) -> None:
        """
        Args:
            speed: 2 takes half the time.
        """
        if not speed > 0:
            raise JournalError(f"Nothing can be asked at {speed} times the speed.")
        self._speed = speed
        self._first_s: float | None = None

    def due_s(self, number: int, arrived_s: float) -> float:  # noqa: ARG002 - a Pace's
        if self._first_s is None:
            self._first_s = arrived_s
        return max(0.0, arrived_s - self._first_s) / self._speed


@dataclass(frozen=True)
class Answered:
    """What one side said.

    Attributes:
        answer: What the callable returned; None where it raised.
        error: What it raised.
        latency_s: Of the call.
    """

    answer: Any
    error: Optional[Exception]  # noqa: UP045 - dataclasses are looked into at run time, by Python 3.9 too
    latency_s: float


@dataclass(frozen=True)
class Replayed(Generic[Request]):
    """One request, and what each side said.

    Attributes:
        number: Its place among the requests, from 0.
        sides: By name, in the order in which they were asked.
        late_s: How long after it was due it was first asked.
    """

    number: int
    request: Request
    sides: Mapping[str, Answered]
    late_s: float


@dataclass
class ReplayReport:
    """What became of the requests: each is answered, dropped or unanswered.

    Attributes:
        answered: All sides came back, with an answer or an error.
        late: Of the answered: asked more than `late_after_s` after they were due.
        overdue: Of the answered: a side took longer than its deadline.
        failed: Of the answered: a side raised.
        dropped: Not asked, since as many as are allowed were in flight when they were due.
        unanswered: Asked, and a side had not come back when the time for it was over.
        duration_s: From the first being due to the end.
    """

    answered: int = 0
    late: int = 0
    overdue: int = 0
    failed: int = 0
    dropped: int = 0
    unanswered: int = 0
    duration_s: float = 0.0

    @property
    def requests(self) -> int:
        return self.answered + self.dropped + self.unanswered


@dataclass(frozen=True)
class _Job:
    number: int
    request: Any
    order: tuple[str, ...]
    due_s: float


def replay(
    requests: Iterable[tuple[float, Request]],
    sides: Mapping[str, Ask],
    pace: Pace,
    *,
    timeout_s: float,
    most_in_flight: int = 32,
    late_after_s: float = LATE_AFTER_S,
    seed: int = 0,
    on_answer: Callable[[Replayed[Request]], None] = lambda replayed: None,  # noqa: ARG005
    on_drop: Callable[[int, Request], None] = lambda number, request: None,  # noqa: ARG005
) -> ReplayReport:
    """Asks each request of all sides, one side after the other in an order that is drawn for each.

    So neither side always finds what the other has warmed, and neither is measured while the other is busy.

    Args:
        requests: When each arrived originally, in seconds, and what is to be asked. Read no faster than it is asked.
        sides: By name what asks: it is given a request and the seconds it has. It has to keep them itself; one that
            does not holds its place in flight until it returns.
        pace: When each is due, whatever has been answered by then.
        timeout_s: For each side.
        most_in_flight: Of requests; whatever is due beyond is dropped.
        late_after_s: From when on one counts as late.
        seed: Of the order of the sides.
        on_answer: Called in the caller's own thread between two requests, for each that all sides have come back from,
            in no order. While it works nothing is asked: what it makes late is counted so.
        on_drop: Called there too, with the number of each that is dropped.

    Raises:
        JournalError: There is no side, or a number cannot be.
    """
    if not sides or most_in_flight < 1 or not timeout_s > 0:
        raise JournalError("A replay takes at least one side, one request in flight, and a deadline above 0.")
    asking = _Replay(sides, timeout_s, most_in_flight, late_after_s, _Listener(on_answer, on_drop))
    return asking.run(requests, pace, random.Random(seed))  # noqa: S311 - an order, and no secret


@dataclass(frozen=True)
class _Listener:
    on_answer: Callable[[Replayed[Any]], None]
    on_drop: Callable[[int, Any], None]


class _Replay:
    def __init__(
        self,
        sides: Mapping[str, Ask],
        timeout_s: float,
        most_in_flight: int,
        late_after_s: float,
        listener: _Listener,
    ) -> None:
        self._sides, self._timeout_s, self._late_after_s, self._listener = sides, timeout_s, late_after_s, listener
        self._most_in_flight = most_in_flight
        self._free = threading.Semaphore(most_in_flight)
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[Replayed[Any]] = queue.SimpleQueue()
        self._report = ReplayReport()

    def run(self, requests: Iterable[tuple[float, Any]], pace: Pace, chance: random.Random) -> ReplayReport:
        # Daemons, so that a side that never returns does not keep the process.
        for _ in range(self._most_in_flight):
            threading.Thread(target=self._work, daemon=True).start()
        self._began = time.monotonic()
        try:
            asked = self._ask(requests, pace, chance)
            deadline_s = self._now_s() + self._timeout_s * len(self._sides) + GRACE_S
            while self._report.answered < asked and self._listen_until(deadline_s):
                pass
        finally:
            for _ in range(self._most_in_flight):
                self._jobs.put(None)
        self._report.unanswered = asked - self._report.answered
        self._report.duration_s = self._now_s()
        return self._report

    def _ask(self, requests: Iterable[tuple[float, Any]], pace: Pace, chance: random.Random) -> int:
        """How many were asked."""
        asked = 0
        for number, (arrived_s, request) in enumerate(requests):
            due_s = pace.due_s(number, arrived_s)
            while self._listen_until(due_s):
                pass
            order = tuple(chance.sample(sorted(self._sides), len(self._sides)))
            if self._free.acquire(blocking=False):
                self._jobs.put(_Job(number, request, order, due_s))
                asked += 1
            else:
                self._report.dropped += 1
                self._listener.on_drop(number, request)
        return asked

    def _listen_until(self, time_s: float) -> bool:
        """Takes in one answer, if there is one before that; once at least also where the time is over."""
        left_s = time_s - self._now_s()
        try:
            self._take_in(self._answers.get(timeout=left_s) if left_s > 0 else self._answers.get_nowait())
        except queue.Empty:
            return False
        return self._now_s() < time_s

    def _take_in(self, replayed: Replayed[Any]) -> None:
        sides = replayed.sides.values()
        self._report.answered += 1
        self._report.late += replayed.late_s > self._late_after_s
        self._report.overdue += any(side.latency_s > self._timeout_s for side in sides)
        self._report.failed += any(side.error is not None for side in sides)
        self._listener.on_answer(replayed)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            late_s = max(0.0, self._now_s() - job.due_s)
            sides = {side: self._asked(side, job.request) for side in job.order}
            self._free.release()
            self._answers.put(Replayed(job.number, job.request, sides, late_s))

    def _asked(self, side: str, request: Any) -> Answered:
        began = time.monotonic()
        try:
            answer, error = self._sides[side](request, self._timeout_s), None
        except Exception as raised:  # noqa: BLE001 - whatever a side raises is its answer
            answer, error = None, raised
        return Answered(answer, error, time.monotonic() - began)

    def _now_s(self) -> float:
        return time.monotonic() - self._began
