"""When a model's workers die too often it is not run at all for a while, and its callers are told so at once."""

from __future__ import annotations

import time
from collections import deque
from typing import Final

__all__ = ["BackOff"]

_MINUTE_S: Final = 60.0
_SHORTEST_PAUSE_S: Final = 5.0
_LONGEST_PAUSE_S: Final = 60.0


class BackOff:
    """Counts deaths and says until when to pause.

    A pause follows when there were too many within a minute, and after each further death within a minute of one, then
    twice as long.

    Args:
        most_deaths: So many within a minute are too many.

    Attributes:
        why: What callers are told in a pause.
    """

    def __init__(self, most_deaths: int) -> None:
        self.why = f"{most_deaths} of its workers have died within a minute"
        self._deaths: deque[float] = deque(maxlen=most_deaths)
        self._pause_s = 0.0
        self._until = 0.0

    def note_death(self) -> bool:
        """Whether a pause begins with it."""
        now = time.monotonic()
        if now < self._until:
            return False
        if now > self._until + _MINUTE_S:
            self._pause_s = 0.0
        self._deaths.append(now)
        too_many = len(self._deaths) == self._deaths.maxlen and now - self._deaths[0] <= _MINUTE_S
        if not (too_many or self._pause_s):
            return False
        self._pause_s = min(_LONGEST_PAUSE_S, max(_SHORTEST_PAUSE_S, 2 * self._pause_s))
        self._until = now + self._pause_s
        return True

    @property
    def left_s(self) -> float:
        """How long the pause still lasts; zero while there is none."""
        return max(0.0, self._until - time.monotonic())
