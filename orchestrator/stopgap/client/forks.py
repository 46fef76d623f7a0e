"""Forks and gRPC's calls, kept apart: gRPC hangs or dies where a process is forked while a call of its is under way."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

__all__ = ["call_under_way"]

_PATIENCE_S: Final = 10.0  # a fork waits for calls so long; whoever asks for longer takes the risk


class _Gate:
    """Calls pass it; a fork waits until all have come back, and lets none begin meanwhile."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._under_way = 0
        self._forks = 0

    def enter(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: not self._forks)
            self._under_way += 1

    def leave(self) -> None:
        with self._changed:
            self._under_way -= 1
            self._changed.notify_all()

    def before_fork(self) -> None:
        with self._changed:
            self._forks += 1
            self._changed.wait_for(lambda: not self._under_way, _PATIENCE_S)

    def after_fork_in_parent(self) -> None:
        with self._changed:
            self._forks -= 1
            self._changed.notify_all()


_gate = _Gate()


@contextmanager
def call_under_way() -> Iterator[None]:
    """Around each call; waits while this process is being forked."""
    gate = _gate
    gate.enter()
    try:
        yield
    finally:
        gate.leave()


def _before_fork() -> None:
    _gate.before_fork()


def _after_fork_in_parent() -> None:
    _gate.after_fork_in_parent()


def _after_fork_in_child() -> None:
    global _gate  # noqa: PLW0603 - the other threads, whose state it holds, are not here
    _gate = _Gate()


os.register_at_fork(
    before=_before_fork,
    after_in_parent=_after_fork_in_parent,
    after_in_child=_after_fork_in_child,
)
