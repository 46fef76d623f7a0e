"""Tells a program, once, that the days of the model that it calls are numbered, or over."""

from __future__ import annotations

import inspect
import time
import warnings
from collections.abc import Callable
from datetime import datetime

from stopgap.errors import PredictionError
from stopgap.printable import printable
from stopgap.sunset import utc_now, warning

__all__ = ["SunsetNotice", "SunsetWarning"]

LOOK_EVERY_S = 24 * 3600


class SunsetWarning(UserWarning):
    """A loaded model must be gone within two weeks, or should have been."""


class SunsetNotice:
    """Asks when a model must be gone: when it is opened, and once a day while it is called, since dates are moved.

    Args:
        name: What the program calls the model: a folder, a deployment's name, an address.
        ask: Gives its last moment as its server says it, if it does.
        now: The time.
    """

    def __init__(self, name: str, ask: Callable[[], datetime | None], now: Callable[[], datetime] = utc_now) -> None:
        self._name = name
        self._ask = ask
        self._now = now
        self._said: set[bool] = set()
        self._next_look = 0.0

    def look(self) -> None:
        """A glance at the clock, mostly. Warns once that the day is near, and once that it has passed."""
        if time.monotonic() < self._next_look:
            return
        self._next_look = time.monotonic() + LOOK_EVERY_S  # before asking: other threads go on
        try:
            sunset = self._ask()
        except PredictionError:  # whoever calls the model is told of that by the call itself
            return
        if sunset is None:
            return
        text = warning(printable(self._name), sunset.date(), self._now().date())
        has_passed = self._now() > sunset
        if text and has_passed not in self._said:
            self._said.add(has_passed)
            warnings.warn(text, SunsetWarning, stacklevel=level_of_the_program())


def level_of_the_program() -> int:
    """How many frames above who asks this the line is that is not stopgap's own."""
    frame, level = inspect.currentframe(), 0
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "stopgap":
        frame, level = frame.f_back, level + 1
    return level
