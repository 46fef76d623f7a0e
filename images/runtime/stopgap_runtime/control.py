"""The parent's own socket, for the orchestrator alone: one byte in, JSON out.

A worker cannot get here, since its filter has no `connect`; the front is told no route to it.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from .listener import Listener

__all__ = ["Control"]

_PATIENCE_S: Final = 1.0
_ANSWER_PATIENCE_S: Final = 5.0  # so long the orchestrator waits for all of an answer
_MOST_AT_ONCE: Final = 8

Answer = Callable[[], Mapping[str, Any]]
Taker = Callable[[socket.socket], None]


class _Asker:
    """Somebody who is connected: has yet to ask, and then to take what is left of the answer."""

    def __init__(self, stream: socket.socket) -> None:
        stream.setblocking(False)
        self.stream = stream
        self.left = memoryview(b"")
        self._until = time.monotonic() + _PATIENCE_S

    @property
    def is_late(self) -> bool:
        return time.monotonic() > self._until

    def answer_with(self, answer: Mapping[str, Any]) -> None:
        """Has something to take from now on."""
        text = json.dumps(answer, ensure_ascii=False)  # which would make six bytes of two
        self.left = memoryview(text.encode("utf-8", "replace"))
        self._until = time.monotonic() + _ANSWER_PATIENCE_S

    def take(self) -> None:
        """As much as there is room for.

        Raises:
            OSError: There is none, or nobody is there any more.
        """
        self.left = self.left[self.stream.send(self.left) :]


class Control:
    """Answers one-letter questions, without ever waiting for who asks.

    What does not fit into a socket's buffer goes on its way bit by bit, as its reader makes room for it.

    Args:
        answers: What each letter gives.
        takers: Whom a letter's connection is handed to, who answers in another process.
    """

    def __init__(self, listener: Listener, answers: Mapping[bytes, Answer], takers: Mapping[bytes, Taker]) -> None:
        self._listener = listener
        self._answers = answers
        self._takers = takers
        self._askers: list[_Asker] = []
        self._not_before = 0.0
        listener.socket.setblocking(False)

    @property
    def descriptors(self) -> tuple[int, ...]:
        """What to wait for before `attend`, which is to be called every now and then in any case."""
        asking = [asker.stream.fileno() for asker in self._askers if not asker.left]
        return (self._listener.socket.fileno(), *asking) if self._accepts else tuple(asking)

    def attend(self) -> None:
        """Takes what has come, answers, and lets go who says nothing or does not take what was asked for."""
        self._accept()
        for asker in tuple(self._askers):
            if self._is_done(asker) or asker.is_late:
                self._askers.remove(asker)
                asker.stream.close()

    def close(self) -> None:
        """Gives the socket up, and who is there."""
        for asker in self._askers:
            asker.stream.close()
        self._listener.close()

    @property
    def _accepts(self) -> bool:
        return len(self._askers) < _MOST_AT_ONCE and time.monotonic() >= self._not_before

    def _accept(self) -> None:
        try:
            while self._accepts:
                stream, _ = self._listener.socket.accept()
                self._askers.append(_Asker(stream))
        except BlockingIOError:
            pass
        except OSError:  # no descriptor is left for who is there
            self._not_before = time.monotonic() + _PATIENCE_S

    def _is_done(self, asker: _Asker) -> bool:
        try:
            if not asker.left:
                self._hear(asker)
            if asker.left:
                asker.take()
        except BlockingIOError:
            return False
        except OSError:
            return True
        return not asker.left

    def _hear(self, asker: _Asker) -> None:
        """
        Raises:
            OSError: Nothing has been asked yet, or nobody is there any more.
        """
        asked = asker.stream.recv(1)
        if asked in self._takers:
            self._takers[asked](asker.stream)
        if asked in self._answers:
            asker.answer_with(self._answers[asked]())
