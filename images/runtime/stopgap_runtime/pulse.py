"""What the parent makes of a worker's signs of life, and of its own: it may have been paused with the whole sandbox."""

from __future__ import annotations

import time
from typing import Final

__all__ = ["Pulse"]

_LONGEST_LOOK_S: Final = 1.0


class Pulse:
    """Looks at a number that changes as long as a worker lives, which is to be done several times a second.

    Args:
        remembers_s: How long after a pause something may still be under way that has begun before it.

    Attributes:
        silent_s: For how many seconds the number has been the same, in time in which whoever looks was awake.
    """

    def __init__(self, remembers_s: float) -> None:
        self.silent_s = 0.0
        self._remembers_s = remembers_s
        self._last: int | None = None
        self._looked_at = time.monotonic()
        self._paused_s = 0.0
        self._paused_until = 0.0

    def look(self, beat: int) -> None:
        """Takes note of the number."""
        now = time.monotonic()
        since_s = now - self._looked_at
        self._looked_at = now
        if since_s > _LONGEST_LOOK_S:
            self._paused_s = self.paused_s + since_s
            self._paused_until = now + self._remembers_s
        self.silent_s += min(since_s, _LONGEST_LOOK_S)
        if beat != self._last:
            self._last, self.silent_s = beat, 0.0

    @property
    def paused_s(self) -> float:
        """How long whoever looks has been paused of late."""
        return self._paused_s if time.monotonic() < self._paused_until else 0.0
