"""When observers have a worker of their own: while one asks, as long as the memory holds the model once more."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Final

from . import kernel
from .back_off import BackOff
from .settings import ServeSettings
from .worker_process import WorkerProcess

__all__ = ["Aside"]

_NO_ROOM_S: Final = 60.0
_LOOK_EVERY_S: Final = 0.25


class Aside:
    """Starts the observers' worker, and ends it, so that users never miss what it takes.

    Where there is none, whoever stands in its place turns observers away, and the front asks the users' workers.

    Args:
        place: Where it is started.
        others: The places that it must leave enough to.
        say: Writes a line to the log.

    Attributes:
        back_off: Its own: of its deaths users notice nothing.
    """

    def __init__(
        self,
        place: WorkerProcess,
        others: Callable[[], Iterable[WorkerProcess]],
        settings: ServeSettings,
        say: Callable[[str], None],
    ) -> None:
        self.place = place
        self.back_off = BackOff(settings.most_deaths_a_minute)
        self._others = others
        self._memory_bytes = settings.worker_memory_bytes
        self._say = say
        self._look_at = 0.0

    def start(self) -> None:
        """With the memory that the others leave."""
        needed, left = max(self._taken_bytes(), default=0), self._left_bytes()
        if left is not None and left < needed:
            self._turn_away(f"observers need {needed >> 20} MiB more, and {max(left, 0) >> 20} MiB are left")
        elif self.place.load_failure:
            self._turn_away(f"it could not be loaded once more, for observers: {self.place.load_failure}")
        elif self.back_off.left_s:
            self.place.start_turning_away(self.back_off.why, self.back_off.left_s)
        else:
            self.place.start(left)

    def make_room(self) -> None:
        """Ends it where the others have grown into what it was given: the kernel might choose one of them."""
        now = time.monotonic()
        if not self.place.alive or self.place.turns_away or now < self._look_at:
            return
        self._look_at = now + _LOOK_EVERY_S
        left = self._left_bytes()
        if left is not None and kernel.private_bytes(self.place.pid) > left:
            self.place.terminate()

    def _turn_away(self, why: str) -> None:
        self._say(f"worker {self.place.name}: {why}")
        self.place.start_turning_away(why, _NO_ROOM_S)

    def _taken_bytes(self) -> list[int]:
        return [kernel.private_bytes(other.pid) for other in self._others() if other.alive]

    def _left_bytes(self) -> int | None:
        """None where nothing is limited."""
        return self._memory_bytes - sum(self._taken_bytes()) if self._memory_bytes else None
