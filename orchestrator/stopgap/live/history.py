"""What a model was asked while somebody looked: from a front's counters to rates, shares and times. Pure, and bounded.

A front counts on and on, and anew when it is started again; between two readings is what has come meanwhile.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Optional

from stopgap.front.traffic import Traffic
from stopgap.handover.guard import outcomes

__all__ = ["BINS", "BIN_S", "Flow", "History"]

BIN_S: Final = 5.0  # as often as a front adds up its times
BINS: Final = 60
WINDOW_S: Final = 30.0
HALF, NEARLY_ALL = 0.5, 0.99


@dataclass(frozen=True)
class Grown:
    """What has come between two readings of a front's counters.

    Attributes:
        until_s: When it was read, by a clock that only goes on.
        lasted_s: How long after the reading before.
        times: How many answers' times were added up.
        took_s: Of them together.
        up_to_s: How many of them took at most that many seconds.
    """

    until_s: float
    lasted_s: float
    answered: int = 0
    failed: int = 0
    times: int = 0
    took_s: float = 0.0
    up_to_s: Mapping[float, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Flow:
    """What a model is asked now.

    Attributes:
        rate: Answers in a second, of the last half minute; None before there are two readings.
        failed: The share of errors among them; None where nothing was answered.
        mean_s: Of the times that were added up meanwhile; None where none were.
        half_s: A bound that half of them kept; infinite where they were longer than any.
        nearly_all_s: Likewise of 99 %.
        rates: In each of the last `BINS` spans of `BIN_S`, the newest last; NaN where nobody looked.
        failures: Errors in a second, likewise.
        means: Of the times in it and in the one before, in seconds; NaN also where nothing was asked.
    """

    rate: Optional[float] = None  # noqa: UP045 - read by Python 3.9 too
    failed: Optional[float] = None  # noqa: UP045
    mean_s: Optional[float] = None  # noqa: UP045
    half_s: Optional[float] = None  # noqa: UP045
    nearly_all_s: Optional[float] = None  # noqa: UP045
    rates: tuple[float, ...] = ()
    failures: tuple[float, ...] = ()
    means: tuple[float, ...] = ()


class History:
    """Of one model. It forgets what is older than it can show."""

    def __init__(self) -> None:
        self._before: tuple[float, Traffic] | None = None
        self._grown: deque[Grown] = deque()

    def add(self, now_s: float, counted: Traffic | None) -> None:
        """A reading; None where the front did not answer: what comes until it does is not known.

        One of the same moment as the last says nothing.
        """
        if self._before is not None and now_s <= self._before[0]:
            return
        if counted is not None and self._before is not None:
            self._grown.append(grown(self._before, (now_s, counted)))
        self._before = None if counted is None else (now_s, counted)
        while self._grown and self._grown[0].until_s < now_s - (BINS + 1) * BIN_S:
            self._grown.popleft()

    def flow(self, now_s: float) -> Flow:
        """As it is seen at that moment."""
        recent = together(each for each in self._grown if each.until_s > now_s - WINDOW_S)
        if not recent.lasted_s:
            return Flow()
        end = math.floor(now_s / BIN_S)  # only spans that are over, so that a picture is the same for as long as one
        spans: list[list[Grown]] = [[] for _ in range(BINS)]
        for each in self._grown:
            place = math.floor(each.until_s / BIN_S) - end + BINS
            if 0 <= place < BINS:
                spans[place].append(each)
        binned = [together(span) for span in spans]
        # A front adds its times up when it likes, so that one span may have those of two.
        timed = [together((*before, *span)) for before, span in zip([[], *spans], spans)]
        return Flow(
            rate=recent.answered / recent.lasted_s,
            failed=recent.failed / recent.answered if recent.answered else None,
            mean_s=recent.took_s / recent.times if recent.times else None,
            half_s=bound_of(recent, HALF),
            nearly_all_s=bound_of(recent, NEARLY_ALL),
            rates=tuple(divided(each.answered, each.lasted_s) for each in binned),
            failures=tuple(divided(each.failed, each.lasted_s) for each in binned),
            means=tuple(divided(each.took_s, each.times) if each.answered else math.nan for each in timed),
        )


def grown(before: tuple[float, Traffic], after: tuple[float, Traffic]) -> Grown:
    """Where anything has become less, the front has begun anew, and all that it says is new."""
    (began_s, was), (until_s, now) = before, after
    old, new = totals(was), totals(now)
    if any(new[name] < old[name] for name in old):
        old, was = dict.fromkeys(old, 0), Traffic()
    fresh = {name: new[name] - old[name] for name in new}
    up_to_s = {bound: count - was.durations.up_to_s.get(bound, 0) for bound, count in now.durations.up_to_s.items()}
    took_s = max(0.0, now.durations.sum_s - was.durations.sum_s)
    return Grown(until_s, until_s - began_s, fresh["answered"], fresh["failed"], fresh["times"], took_s, up_to_s)


def totals(counted: Traffic) -> dict[str, int]:
    answered, failed = outcomes(counted)
    return {"answered": answered, "failed": failed, "times": counted.durations.count}


def together(spans: Iterable[Grown]) -> Grown:
    """As if they were one."""
    found = list(spans)
    up_to_s: dict[float, int] = {}
    for each in found:
        for bound, count in each.up_to_s.items():
            up_to_s[bound] = up_to_s.get(bound, 0) + count
    return Grown(
        max((each.until_s for each in found), default=0.0),
        sum(each.lasted_s for each in found),
        sum(each.answered for each in found),
        sum(each.failed for each in found),
        sum(each.times for each in found),
        sum(each.took_s for each in found),
        up_to_s,
    )


def bound_of(grown: Grown, share: float) -> float | None:
    """The least of the bounds that so many kept."""
    if not grown.times:
        return None
    return next((bound for bound, kept in sorted(grown.up_to_s.items()) if kept >= share * grown.times), math.inf)


def divided(value: float, by: float) -> float:
    return value / by if by else math.nan
