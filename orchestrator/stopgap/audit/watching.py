"""Looking for some seconds: a process that is being born has no walls yet, one that has ended is still listed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import replace

from stopgap.audit.lines import Line, Status, Wall
from stopgap.audit.outside import Setting, View, judged

__all__ = ["WATCH_S", "watched"]

WATCH_S = 5.0  # so long no worker takes to give up its rights, whatever else the machine does
LOOK_EVERY_S = 0.2


def watched(
    look: Callable[[], View],
    settings: Iterable[Setting],
    changing: Iterable[Setting],
    wall: Wall,
    *,
    watch_s: float = WATCH_S,
) -> list[Line]:
    """A line for each of the settings, at the first look at which nothing has to be said against those that change.

    Where there is none, at the last one, of the processes that were there at all of them.

    Args:
        look: What there is to look at now.
        changing: Those that a process has which is not wholly there yet, or not any more.
    """
    deadline = time.monotonic() + watch_s
    settings, names = tuple(settings), {each.name for each in changing}
    while True:
        view = look()
        lines = [*judged(settings, view, wall)]
        if not any(line.name in names and line.status in {Status.BROKEN, Status.UNKNOWN} for line in lines):
            return lines
        if time.monotonic() > deadline:
            return [*judged(settings, settled(view, watch_s), wall)]
        time.sleep(LOOK_EVERY_S)


def settled(view: View, watch_s: float) -> View:
    """Without who was not there all the time."""
    family = view.family.without_younger(watch_s) if view.family else None
    return replace(view, family=family)
