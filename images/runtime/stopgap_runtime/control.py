"""The parent's own socket, for the orchestrator alone: one byte in, JSON out.

A worker cannot get here, since its filter has no `connect`; the front is told no route to it.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final

from .listener import Listener

__all__ = ["Control"]

_PATIENCE_S: Final = 1.0
_MOST_AT_ONCE: Final = 8
_ROOM_BYTES: Final = 1 << 20

Answer = Callable[[], Mapping[str, Any]]
Taker = Callable[[socket.socket], None]


class Control:
    """Answers one-letter questions, without ever waiting for who asks.

    Args:
        answers: What each letter gives.
        takers: Whom a letter's connection is handed to, who answers in another process.
    """

    def __init__(self, listener: Listener, answers: Mapping[bytes, Answer], takers: Mapping[bytes, Taker]) -> None:
        self._listener = listener
        self._answers = answers
        self._takers = takers
        self._waiting: dict[socket.socket, float] = {}
        self._not_before = 0.0
        listener.socket.setblocking(False)

    @property
    def descriptors(self) -> tuple[int, ...]:
        """What to wait for before `attend`."""
        asked = [stream.fileno() for stream in self._waiting]
        return (self._listener.socket.fileno(), *asked) if self._accepts else tuple(asked)

    def attend(self) -> None:
        """Takes what has come, answers, and lets go who says nothing."""
        self._accept()
        for stream, until in tuple(self._waiting.items()):
            if self._is_done(stream) or time.monotonic() > until:
                del self._waiting[stream]
                stream.close()

    def close(self) -> None:
        """Gives the socket up."""
        self._listener.close()

    @property
    def _accepts(self) -> bool:
        return len(self._waiting) < _MOST_AT_ONCE and time.monotonic() >= self._not_before

    def _accept(self) -> None:
        try:
            while self._accepts:
                stream, _ = self._listener.socket.accept()
                stream.setblocking(False)
                self._waiting[stream] = time.monotonic() + _PATIENCE_S
        except BlockingIOError:
            pass
        except OSError:  # no descriptor is left for who is there
            self._not_before = time.monotonic() + _PATIENCE_S

    def _is_done(self, stream: socket.socket) -> bool:
        try:
            asked = stream.recv(1)
        except BlockingIOError:
            return False
        except OSError:
            return True
        if asked in self._takers:
            self._takers[asked](stream)
        if asked in self._answers:
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _ROOM_BYTES)
            with suppress(OSError):  # who does not take it at once does not get it
                stream.sendall(json.dumps(self._answers[asked]()).encode())
        return True
