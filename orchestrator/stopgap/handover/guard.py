"""What is looked at after a promotion: the candidate's errors and times against the legacy model's own before it, and
whether it still agrees, where a shadow goes on.

Errors and times are counted by the front, of all callers. All three are looked at again and again, so by verdicts that
may be: each rolls back wrongly with a probability of at most `alarm.ALPHA`, however long it is watched.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace

from stopgap.errors import FrontError
from stopgap.front.admin import Admin
from stopgap.front.traffic import Traffic, traffic
from stopgap.handover.agreeing import Agreeing
from stopgap.handover.alarm import Alarm
from stopgap.progress import Progress

__all__ = ["Baseline", "Guard", "Watched", "baseline_of", "outcomes", "watch"]

MORE_ERRORS = 0.01  # of all requests, beyond what the legacy model had
MORE_SLOW = 0.05  # likewise, beyond what the legacy model took
USUAL = 0.99  # of the legacy model's answers are within the time that is taken for usual
MUCH_LONGER = 2  # times that is no longer usual
NEVER_LONG_S = 0.01  # whatever the legacy model took
LOOK_EVERY_S = 0.5
DOWN_FOR_LOOKS = 4
WELL_GRPC = {"0", "1"}  # answered, or the caller had gone


@dataclass(frozen=True)
class Baseline:
    """The legacy model before the swap.

    Attributes:
        answered: How many answers it is made of.
        failed: Its share of errors.
        usual_s: A time that few of its answers came near, and `within` the share that kept it; None where none were
            counted.
    """

    answered: int
    failed: float
    usual_s: float | None
    within: float


@dataclass(frozen=True)
class Watched:
    """What was seen.

    Attributes:
        trouble: Why it is to be rolled back; empty where it is not.
        answered: How many answers of the candidate's.
        compared: How many units were asked of both, by a shadow.
    """

    trouble: str
    answered: int
    failed: int
    slow: int
    compared: int = 0


def baseline_of(counted: Traffic) -> Baseline:
    """From all that the front has counted of a model."""
    answered, failed = outcomes(counted)
    times = counted.durations
    bounds = sorted(times.up_to_s.items())
    usual = next((bound for bound, kept in bounds if times.count and kept >= USUAL * times.count), None)
    longest = [bound for bound, _ in bounds if usual is not None and bound >= max(MUCH_LONGER * usual, NEVER_LONG_S)]
    share = failed / answered if answered else 0.0
    if not longest:
        return Baseline(answered, share, None, 1.0)
    return Baseline(answered, share, longest[0], min(1.0, times.up_to_s[longest[0]] / times.count))


def outcomes(counted: Traffic) -> tuple[int, int]:
    """How many predictions were answered, and how many of them with an error.

    Whosever fault it was: what a caller does wrong it did wrong with the legacy model too, unless the candidate is the
    one that does not understand.
    """
    answered = failed = 0
    for each in counted.answered:
        if each.protocol == "grpc" and each.method == "Predict":
            answered += each.times
            failed += 0 if each.code in WELL_GRPC else each.times
        elif each.protocol == "rest":
            answered += each.times
            failed += 0 if int(each.code) < 400 else each.times
    return answered, failed


@dataclass
class Guard:
    """Takes in what was counted since, and says when it is enough.

    Args:
        baseline: Of the legacy model.
        before: What had been counted of the candidate at the last look; first, when the watch began.
        agreeing: What a shadow has to say.
    """

    baseline: Baseline
    before: Traffic
    agreeing: Agreeing
    seen: Watched = Watched("", 0, 0, 0)
    _timed: int = 0
    _errors: Alarm = field(init=False)
    _times: Alarm | None = field(init=False)

    def __post_init__(self) -> None:
        self._errors = Alarm(1 - self.baseline.failed - MORE_ERRORS)
        self._times = None
        if self.baseline.usual_s is not None:
            self._times = Alarm(self.baseline.within - MORE_SLOW)

    def look(self, now: Traffic) -> Watched:
        """With all that is counted of the candidate by now; a front that has started anew counts from nothing."""
        new, new_failed = grown(outcomes(now), outcomes(self.before))
        new_timed, new_slow = self._slow(now)
        self.before = now
        answered, failed = self.seen.answered + new, self.seen.failed + new_failed
        slow, self._timed = self.seen.slow + new_slow, self._timed + new_timed
        trouble = ""
        if self._errors.goes_off(new, new_failed):
            trouble = (
                f"{failed} of {answered} requests failed, {failed / answered:.1%}; of the legacy model's "
                f"{self.baseline.answered} it was {self.baseline.failed:.1%}"
            )
        if self._times is not None and self._times.goes_off(new_timed, new_slow) and not trouble:
            trouble = (
                f"{slow} of {self._timed} answers took longer than {self.baseline.usual_s:g} s, "
                f"{slow / self._timed:.1%}; of the legacy model's it was {1 - self.baseline.within:.1%}"
            )
        self.seen = Watched(trouble or self.agreeing.trouble(), answered, failed, slow, self.agreeing.units)
        return self.seen

    def _slow(self, now: Traffic) -> tuple[int, int]:
        """How many more there are, and how many of them took longer than is usual."""
        if self.baseline.usual_s is None:
            return 0, 0
        usual_s = self.baseline.usual_s
        counts = [(each.durations.count, each.durations.up_to_s.get(usual_s, 0)) for each in (now, self.before)]
        timed, kept = grown(*counts)
        return timed, timed - kept


def grown(now: tuple[int, int], before: tuple[int, int]) -> tuple[int, int]:
    """What has been counted since: all there is, where counting has begun anew."""
    if now[0] < before[0] or now[1] < before[1]:
        return now
    return now[0] - before[0], now[1] - before[1]


def watch(admin: Admin, name: str, guard: Guard, seconds: float, progress: Progress) -> Watched:
    """Looks until the time is over, or something is wrong.

    Args:
        admin: The front's.
        name: The candidate's.
    """
    began = time.monotonic()
    down = 0
    while True:
        elapsed_s = time.monotonic() - began
        try:
            health = admin.cluster_health(name)
            seen = guard.look(traffic(admin, [name])[name])
        except FrontError:  # a front that is being started again says nothing of the candidate
            seen = guard.seen
        else:
            down = 0 if health.healthy else down + 1
            if down >= DOWN_FOR_LOOKS:
                return replace(seen, trouble=f"no worker of {name} is healthy")
        if seen.trouble or elapsed_s >= seconds:
            return seen
        progress(f"watching {name}: {seen.answered} answers", min(1.0, elapsed_s / seconds))
        time.sleep(min(LOOK_EVERY_S, max(0.0, seconds - elapsed_s)))
