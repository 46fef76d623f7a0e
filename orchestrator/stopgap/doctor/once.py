"""Questions that several checks ask at the same time, each asked of the machine once."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import Callable, Generic, TypeVar

from stopgap.doctor.finding import Untold
from stopgap.errors import StopgapError

__all__ = ["Once", "given"]

Answer = TypeVar("Answer")


class Once(Generic[Answer]):
    """A question that is asked once, however many threads want the answer; who comes second waits for it.

    Args:
        unanswered: What those are told who build upon the answer, where there is none.
    """

    def __init__(self, ask: Callable[[], Answer], unanswered: str) -> None:
        self.unanswered = unanswered
        self._ask = ask
        self._asking = threading.Lock()
        self._answer: Future[Answer] = Future()

    def __call__(self) -> Answer:
        """
        Raises:
            StopgapError: What asking raised.
        """
        with self._asking:
            if not self._answer.done():
                try:
                    self._answer.set_result(self._ask())
                except StopgapError as error:
                    self._answer.set_exception(error)
        return self._answer.result()


def given(question: Once[Answer]) -> Answer:
    """The answer, for a check that builds upon it.

    Raises:
        Untold: There is none. Another check tells why, and what to do.
    """
    try:
        return question()
    except Untold:
        raise
    except StopgapError as error:
        raise Untold(f"not looked at: {question.unanswered}") from error
