"""What stands before a front desk: who is turned away, what is noted before it runs, and by when it must end."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from .faults import Code, Fault
from .front_desk import HEALTH, refusal
from .http11 import Request, Response
from .keepsake import Keepsake
from .quarantine import Fingerprint, Quarantine
from .scoreboard import Scoreboard

__all__ = ["Desk", "closed", "noted", "screened", "watched", "written_down"]

Desk = Callable[[Request], Response]


def screened(answer: Desk, name: str, quarantine: Quarantine) -> Desk:
    """Turns away what has ended a worker already, without running it."""

    def answer_unless_known(request: Request) -> Response:
        incident = quarantine.incident_of(request)
        return answer(request) if incident is None else refusal(request, _in_quarantine(name, incident))

    return answer_unless_known


def written_down(answer: Desk, scoreboard: Scoreboard, keepsake: Keepsake | None) -> Desk:
    """In the retry lane: should the worker end, it is known by which request.

    Args:
        keepsake: Where the request itself is kept, if it may be.
    """

    def answer_alone(request: Request) -> Response:
        if keepsake is not None:
            keepsake.put(request)
        with scoreboard.run_alone(Fingerprint.of(request)):
            return answer(request)

    return answer_alone


def noted(answer: Desk, scoreboard: Scoreboard) -> Desk:
    """Where a process is there only while it is needed: the parent sees when it was."""

    def answer_and_note(request: Request) -> Response:
        scoreboard.note_asked()
        return answer(request)

    return answer_and_note


def watched(answer: Desk, scoreboard: Scoreboard, limit_s: float) -> Desk:
    """Whatever its answer is stuck in, the parent sees that it is."""

    def answer_in_time(request: Request) -> Response:
        with scoreboard.busy_until(time.monotonic() + limit_s):
            return answer(request)

    return answer_in_time


def closed(name: str, why: str, until: float, *, others: bool = False) -> Desk:
    """In place of a model that is not run for a while: an answer at once, rather than a queue.

    Args:
        why: As a sentence's second half.
        until: How long that lasts, by `time.monotonic()`.
        others: Whether the front is to look for other workers.
    """

    def answer(request: Request) -> Response:
        if request.path == HEALTH:
            return Response(503 if others else 200, {"content-type": "text/plain"}, (b"closed\n",))
        seconds = math.ceil(until - time.monotonic())
        refused = refusal(request, Fault(Code.UNAVAILABLE, f"{name} is not run for {seconds} s: {why}"))
        return refused._replace(headers={**refused.headers, "retry-after": str(max(1, seconds))})

    return answer


def _in_quarantine(name: str, incident: str) -> Fault:
    return Fault(
        Code.INVALID_ARGUMENT,
        f"this request is in quarantine: alone, it ended a worker of the model (incident {incident}); "
        f"`stopgap incidents {name}` says how, `stopgap incidents {name} --release` lets it in again",
    )
