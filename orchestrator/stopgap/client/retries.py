"""Asking again: only what is safe to ask twice, only when nobody was there, and only for a while.

A request that cost its worker's life has been asked again by the front already; to go on would cost others theirs.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, TypeVar

from stopgap.client.status import UNAVAILABLE, WORKER_DIED
from stopgap.errors import PredictionError

__all__ = ["Ask", "ask_until_there"]

# A front or a sandbox that was killed is back within one; what is gone for longer is told of.
_PATIENCE_S: Final = 2.0
_FIRST_PAUSE_S: Final = 0.05

_T = TypeVar("_T")
Ask = Callable[["float | None"], _T]


def ask_until_there(ask: Ask[_T], timeout_s: float | None, *, repeatable: bool) -> _T:
    """What `ask` gives; asked again, with what is left of the time, while nobody is there to answer.

    Args:
        ask: Takes the seconds that it may still wait, or None.
        repeatable: Whether being answered twice does no harm. If not, it is asked once.

    Raises:
        PredictionError: As `ask` does.
    """
    if not repeatable:
        return ask(timeout_s)
    started = time.monotonic()
    patience_s = _PATIENCE_S if timeout_s is None else min(_PATIENCE_S, timeout_s)
    pause_s = _FIRST_PAUSE_S
    while True:
        waited_s = time.monotonic() - started
        try:
            return ask(None if timeout_s is None else max(0.0, timeout_s - waited_s))
        except PredictionError as error:
            nobody_was_there = error.code == UNAVAILABLE and WORKER_DIED not in error.problem
            if not nobody_was_there or time.monotonic() - started + pause_s > patience_s:
                raise
        time.sleep(pause_s)
        pause_s *= 2
