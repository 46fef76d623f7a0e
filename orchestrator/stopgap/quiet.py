"""Since when nobody has asked a legacy model that has a successor: from counters that begin anew with each front. Pure.

Nothing watches all the time. Between two looks at the same front a counter tells everything; what a front had counted
after the last look at it, and before it ended, nobody knows.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any

__all__ = ["LegacyTraffic", "begun", "looked", "read", "written"]

SAME_START_S = 5.0  # a front tells its age in whole seconds
PASSED_OVER_S = 300.0  # so long may nobody have looked before a front began anew: not longer, or quiet begins with it


@dataclass(frozen=True)
class LegacyTraffic:
    """What is known.

    Attributes:
        front_began: When the front that was looked at last was started.
        counted: By that front.
        asked: By all fronts since the promotion.
        looked: The last look.
        quiet_since: No request is known of since then.
        unwatched_s: How long in all, up to the start of another front, nobody was looking.
    """

    front_began: datetime
    counted: int
    asked: int
    looked: datetime
    quiet_since: datetime
    unwatched_s: float = 0.0


def begun(*, counted: int, front_began: datetime, now: datetime) -> LegacyTraffic:
    """With the promotion."""
    return LegacyTraffic(front_began, counted, 0, now, now)


def looked(before: LegacyTraffic, *, counted: int, front_began: datetime, now: datetime) -> LegacyTraffic:
    """After another look.

    Args:
        counted: By the front that there is.
        front_began: When that was started.
    """
    same = abs((front_began - before.front_began).total_seconds()) < SAME_START_S and counted >= before.counted
    fresh = counted - before.counted if same else counted
    unwatched_s = 0.0 if same else max(0.0, (front_began - before.looked).total_seconds())
    quiet_since = before.quiet_since
    if fresh:
        quiet_since = now
    elif unwatched_s > PASSED_OVER_S:
        quiet_since = max(quiet_since, front_began)
    return replace(
        before,
        front_began=before.front_began if same else front_began,
        counted=counted,
        asked=before.asked + fresh,
        looked=now,
        quiet_since=quiet_since,
        unwatched_s=before.unwatched_s + unwatched_s,
    )


def quiet_for(noted: LegacyTraffic, now: datetime) -> timedelta:
    return now - noted.quiet_since


def written(noted: LegacyTraffic) -> dict[str, Any]:
    """As JSON can hold it."""
    moments = {name: getattr(noted, name).isoformat() for name in ("front_began", "looked", "quiet_since")}
    return {**asdict(noted), **moments}


def read(fields: dict[str, Any]) -> LegacyTraffic:
    """The reverse of `written`; raises what a damaged file makes it raise."""
    moments = {name: datetime.fromisoformat(fields[name]) for name in ("front_began", "looked", "quiet_since")}
    return LegacyTraffic(**{**fields, **moments})
