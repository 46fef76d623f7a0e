"""An audit's probe: forked as a worker is, by the parent, tries what must not work, says how it went, and ends.

Everything is tried twice. First with a worker's rights: that is what a model meets. Then without a worker's filter,
as nobody in a sandbox ever runs a model: that is what the sandbox's own walls hold where the filter was escaped.

Each run is a child's, one for all attempts as long as they are refused: what has worked may have changed the child, so
another one goes on with the next.
"""

from __future__ import annotations

import json
import os
import secrets
import select
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from . import kernel
from .attempts import BREAK_OUTS, EXHAUSTION
from .attempts.attempt import Attempt, Outcome, Scene, outcome_of
from .settings import ServeSettings
from .worker import lay_down_rights

__all__ = ["Task", "break_outs", "exhaustion"]

_ATTEMPT_TIMEOUT_S: Final = 3.0
_EXHAUSTION_TIMEOUT_S: Final = 30.0
_CHUNK: Final = 64 << 10

Report = Callable[[Attempt, Outcome, bool], None]
Task = Callable[[socket.socket], None]


def break_outs(settings: ServeSettings) -> Task:
    """What must be refused, with a worker's rights and without its filter."""
    parent = os.getpid()

    def task(listener: socket.socket) -> None:
        scene = _scene(settings, parent)
        for confined in (True, False):
            _run(BREAK_OUTS, scene, _report_on(listener), confined=confined, timeout_s=_ATTEMPT_TIMEOUT_S)

    return task


def exhaustion(settings: ServeSettings) -> Task:
    """What must meet its limit, without a worker's filter, which would refuse most of it."""
    parent = os.getpid()
    attempts = [attempt for attempt in EXHAUSTION if attempt.name in settings.exhaust]

    def task(listener: socket.socket) -> None:
        scene = _scene(settings, parent)
        _run(attempts, scene, _report_on(listener), confined=False, timeout_s=_EXHAUSTION_TIMEOUT_S)

    return task


def _scene(settings: ServeSettings, parent: int) -> Scene:
    return Scene(
        parent,
        settings.model,
        settings.sockets,
        unused=f".probe-{secrets.token_hex(8)}",
        memory_bytes=settings.memory_bytes,
        tmp_bytes=settings.tmp_bytes,
        tasks=settings.tasks,
        open_files=settings.open_files,
    )


def _report_on(listener: socket.socket) -> Report:
    def report(attempt: Attempt, outcome: Outcome, confined: bool) -> None:
        said = {"attempt": attempt.name, "confined": confined, "refused": outcome.refused, "said": outcome.said}
        listener.sendall(json.dumps(said).encode() + b"\n")

    return report


def _run(attempts: Sequence[Attempt], scene: Scene, report: Report, *, confined: bool, timeout_s: float) -> None:
    left = list(attempts)
    while left:
        child = _Child(left, scene, confined=confined)
        for outcome in child.outcomes(timeout_s):
            report(left.pop(0), outcome, confined)


class _Child:
    """One process that makes attempts up to the first that works, and tells how each went."""

    def __init__(self, attempts: Sequence[Attempt], scene: Scene, *, confined: bool) -> None:
        self._told, tells = os.pipe()
        self._attempts = attempts
        self._pid = os.fork()
        if self._pid == 0:
            try:
                kernel.die_with_parent(signal.SIGKILL)
                if confined:
                    lay_down_rights()
                _try_in_turn(attempts, scene, tells)
            finally:
                os._exit(0)
        os.close(tells)

    def outcomes(self, timeout_s: float) -> Iterator[Outcome]:
        """As they come; of an attempt during which it ended or hung, what became of it."""
        told = 0
        last_refused = True
        for line in self._lines(timeout_s):
            outcome = Outcome(**json.loads(line))
            told, last_refused = told + 1, outcome.refused
            yield outcome
        code = os.waitstatus_to_exitcode(self._buried())
        if told < len(self._attempts) and last_refused:
            yield _ended_by(code, self._attempts[told], hung=self._hung)

    def _lines(self, timeout_s: float) -> Iterator[bytes]:
        """Each within its time, or the child is ended."""
        self._hung = False
        rest = b""
        while select.select([self._told], [], [], timeout_s)[0]:
            piece = os.read(self._told, _CHUNK)
            if not piece:
                return
            *lines, rest = (rest + piece).split(b"\n")
            yield from lines
        self._hung = True
        os.kill(self._pid, signal.SIGKILL)

    def _buried(self) -> int:
        os.close(self._told)
        while True:
            _, status = os.waitpid(self._pid, 0)
            if not os.WIFSTOPPED(status):
                return status
            os.kill(self._pid, signal.SIGKILL)  # it is being traced


def _try_in_turn(attempts: Sequence[Attempt], scene: Scene, tells: int) -> None:
    for attempt in attempts:
        outcome = outcome_of(attempt, scene)
        os.write(tells, json.dumps({"refused": outcome.refused, "said": outcome.said}).encode() + b"\n")
        if not outcome.refused:
            return


def _ended_by(code: int, attempt: Attempt, *, hung: bool) -> Outcome:
    """What an attempt came to that its process did not come back from."""
    if hung:
        return Outcome(False, "it neither worked nor was refused in time")
    if code < 0:
        number = signal.Signals(-code)
        killed = number is signal.SIGKILL and attempt.deadly
        return Outcome(killed or number is signal.SIGSYS, number.name)
    return Outcome(False, f"the process became another, which ended with exit code {code}")
