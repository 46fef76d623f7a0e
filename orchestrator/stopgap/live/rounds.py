"""Many asked at once, each at its own pace: who does not answer in time keeps nobody else waiting."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any

from stopgap.errors import StopgapError

__all__ = ["Answer", "Rounds"]

LOST = "It could not be looked at."


@dataclass(frozen=True)
class Answer:
    """What is known of one question.

    Attributes:
        value: The last that was said; None where there is nothing, or nothing that is new enough.
        problem: Why there is none; empty where there is, or where nobody has answered yet.
        late_s: How long a question has been open that should have been answered; 0 where none is.
    """

    value: Any = None
    problem: str = ""
    late_s: float = 0.0


@dataclass
class Asked:
    """A question that is being answered, in a thread of its own: what hangs in there hangs alone."""

    question: Callable[[], Any]
    began: float = field(default_factory=time.monotonic)
    answer: Answer = field(default_factory=lambda: Answer(problem=LOST))
    done: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        try:
            self.answer = Answer(self.question())
        except StopgapError as error:
            self.answer = Answer(problem=error.problem)
        finally:
            self.done.set()


class Rounds:
    """Asks again and again, and each only once it has answered. For one thread alone.

    Args:
        deadline_s: How long a round lasts at most.
        stale_s: How long an answer is worth telling while the next one is open.
    """

    def __init__(self, deadline_s: float, stale_s: float) -> None:
        self._deadline_s, self._stale_s = deadline_s, stale_s
        self._open: dict[Hashable, Asked] = {}
        self._last: dict[Hashable, Answer] = {}

    def ask(self, questions: Mapping[Any, Callable[[], Any]]) -> dict[Any, Answer]:
        """What is known of each once all have answered, or time is up."""
        self._take()
        for key, question in questions.items():
            if key not in self._open:
                self._open[key] = asked = Asked(question)
                threading.Thread(target=asked.run, name="stopgap-live-asks", daemon=True).start()
        until = time.monotonic() + self._deadline_s
        for key in questions:
            self._open[key].done.wait(max(0.0, until - time.monotonic()))
        self._take()
        self._last = {key: self._last[key] for key in questions if key in self._last}
        return {key: self._known(key) for key in questions}

    def _take(self) -> None:
        for key, asked in list(self._open.items()):
            if asked.done.is_set():
                self._last[key] = asked.answer
                del self._open[key]

    def _known(self, key: Hashable) -> Answer:
        last, asked = self._last.get(key, Answer()), self._open.get(key)
        late_s = 0.0 if asked is None else time.monotonic() - asked.began
        return Answer(None if late_s > self._stale_s else last.value, last.problem, late_s)
