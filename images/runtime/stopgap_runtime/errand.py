"""A process that the parent forks for somebody who asks: one at a time, and never for long."""

from __future__ import annotations

import math
import os
import signal
import socket
import time
from collections.abc import Callable
from typing import Final

from .birth import cut_off, forked

__all__ = ["Errand"]

_LOWEST_PRIORITY: Final = 19  # whoever is served goes first
_LISTENER_TIMEOUT_S: Final = 5.0


class Errand:
    """The parent's view of it.

    Args:
        limit_s: So long it may take.
    """

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._pid = 0
        self._until = math.inf

    @property
    def alive(self) -> bool:
        """Whether there is one."""
        return self._pid != 0

    def start(self, run: Callable[[socket.socket], None], listener: socket.socket, *kept: int) -> None:
        """Makes a process that tells `listener` what there is to tell, and has the descriptors that are named.

        Raises:
            OSError: No process can be made.
        """
        self._pid = forked(lambda: _run(run, listener, kept))
        self._until = time.monotonic() + self._limit_s

    def kill_if_late(self) -> None:
        """Its children end with it."""
        if self.alive and time.monotonic() > self._until:
            os.kill(self._pid, signal.SIGKILL)

    def reap(self) -> None:
        """Buries it once it has ended."""
        if self.alive and os.waitpid(self._pid, os.WNOHANG)[0]:
            self._pid = 0


def _run(run: Callable[[socket.socket], None], listener: socket.socket, kept: tuple[int, ...]) -> None:
    cut_off(os.open(os.devnull, os.O_WRONLY), listener.fileno(), *kept)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    os.nice(_LOWEST_PRIORITY)
    listener.settimeout(_LISTENER_TIMEOUT_S)
    run(listener)
