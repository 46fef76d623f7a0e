"""The bounded queue between what is shown and what is asked: what does not fit is dropped at once, and counted."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from dataclasses import dataclass

__all__ = ["QUEUE_FULL", "TOO_LARGE", "UNREADABLE", "WAITED", "Shown", "Tap"]

QUEUE_FULL, TOO_LARGE, WAITED = "the queue was full", "too large", "waited too long"
UNREADABLE = "unreadable"


@dataclass(frozen=True)
class Shown:
    """A request as it came, without anything that came with it but its own id.

    Attributes:
        number: In the order in which they came.
        at_s: By `time.monotonic()`.
        id: Empty where it came without one.
        turn: How often the tap had been turned when it came.
    """

    number: int
    content: bytes
    at_s: float
    id: str = ""
    turn: int = 0


class Tap:
    """Any number of threads put requests in and take them out.

    Args:
        most: Requests that may wait.
        most_bytes: Of all that wait.
        largest_bytes: A larger one is dropped.
        patience_s: What has waited longer is dropped.
        number: That of the first request.
    """

    def __init__(self, most: int, most_bytes: int, largest_bytes: int, patience_s: float, number: int = 0) -> None:
        self.largest_bytes = largest_bytes
        self._most, self._most_bytes, self._patience_s = most, most_bytes, patience_s
        self._waiting: deque[Shown] = deque()
        self._bytes = 0
        self._number = number
        self._seen = 0
        self._turn = 0
        self._dropped = Counter[str]()
        self._changed = threading.Condition()
        self._closed = False

    def offer(self, content: bytes, request_id: str = "") -> None:
        """Takes it, or drops it; never waits for whoever asks."""
        with self._changed:
            self._seen += 1
            if len(content) > self.largest_bytes:
                self._dropped[TOO_LARGE] += 1
            elif len(self._waiting) >= self._most or self._bytes + len(content) > self._most_bytes or self._closed:
                self._dropped[QUEUE_FULL] += 1
            else:
                self._waiting.append(Shown(self._number, content, time.monotonic(), request_id, self._turn))
                self._number += 1
                self._bytes += len(content)
                self._changed.notify()

    def refuse_large(self) -> None:
        """Counts one that came, and was not even held."""
        self._refuse(TOO_LARGE)

    def refuse_unreadable(self) -> None:
        """Counts one that came, and is no message."""
        self._refuse(UNREADABLE)

    def _refuse(self, reason: str) -> None:
        with self._changed:
            self._seen += 1
            self._dropped[reason] += 1

    def take(self) -> Shown | None:
        """The oldest one that has not waited too long; waits for one. None once it is closed."""
        with self._changed:
            while True:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if self._closed:
                    return None
                shown = self._waiting.popleft()
                self._bytes -= len(shown.content)
                if time.monotonic() - shown.at_s <= self._patience_s:
                    return shown
                self._dropped[WAITED] += 1

    def drop(self, shown: Shown, reason: str) -> None:
        """One that was taken, and that nobody can be asked about; of an account that is closed by now it is no part."""
        with self._changed:
            if shown.turn == self._turn:
                self._dropped[reason] += 1

    def turn(self) -> tuple[int, dict[str, int]]:
        """Another account begins, after these counts: what waits is let go, since it was counted in the last one."""
        with self._changed:
            self._turn += 1
            self._waiting.clear()
            self._bytes = 0
            return self._seen, dict(self._dropped)

    def counts(self) -> tuple[int, dict[str, int]]:
        """How many were offered since it was made, and how many dropped, by reason."""
        with self._changed:
            return self._seen, dict(self._dropped)

    @property
    def closed(self) -> bool:
        """Whether nothing is taken any more."""
        return self._closed

    def close(self) -> None:
        """Lets go whoever waits; what waits here is never taken."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
