"""How long a worker has shown no sign of life: it may hang where nothing has a deadline."""

from __future__ import annotations

import time
from typing import Final

__all__ = ["Pulse"]

_LONGEST_LOOK_S: Final = 1.0


class Pulse:
    """Looks at a number that changes as long as somebody lives.

    Time counts in which whoever looks was awake: a whole sandbox that was paused has not been silent.
    """

    def __init__(self) -> None:
        self._last: int | None = None
        self._silent_s = 0.0
        self._looked_at = time.monotonic()

    def silent_s(self, beat: int) -> float:
        """For how many seconds `beat` has been the same."""
        now = time.monotonic()
        self._silent_s += min(now - self._looked_at, _LONGEST_LOOK_S)
        self._looked_at = now
        if beat != self._last:
            self._last, self._silent_s = beat, 0.0
        return self._silent_s
