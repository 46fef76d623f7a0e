"""What to take back when a step in the middle fails: the last thing done first."""

from __future__ import annotations

import contextlib
import logging
from types import TracebackType
from typing import Callable

from stopgap.errors import StopgapError
from stopgap.printable import printable

__all__ = ["Undo"]

log = logging.getLogger(__name__)


class Undo:
    """Runs what was put into it if its block is left by an exception, an interrupt included; else forgets it.

    One clean-up that fails is logged and does not stop the rest.
    """

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()

    def put(self, what: str, action: Callable[[], object]) -> None:
        """Args:
        what: What `action` does, for the log: "removing the container x".
        """
        self._stack.callback(self._attempt, what, action)

    @staticmethod
    def _attempt(what: str, action: Callable[[], object]) -> None:
        try:
            action()
        except (StopgapError, OSError) as error:
            log.warning("%s failed: %s", what, printable(" ".join(str(error).split())))

    def __enter__(self) -> Undo:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._stack.pop_all()
        else:
            self._stack.close()
