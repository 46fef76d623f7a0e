"""One worker as the parent sees it: a socket that outlives it, a process, two pipes, a scoreboard."""

from __future__ import annotations

import math
import os
import select
import signal
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Final, NamedTuple, NoReturn

from .birth import cut_off, forked
from .capi import TensorFlow
from .duty import Duty
from .executed import execute
from .faults import Code
from .keepsake import Keepsake
from .listener import Listener
from .pulse import Pulse
from .quarantine import Fingerprint, Quarantine
from .scoreboard import Scoreboard, Stage
from .settings import ServeSettings
from .worker import BESIDES_ITS_RUN_S, LOAD_FAILED, LOADED, Inheritance, turn_away, work
from .worker_log import WorkerLog, printable

__all__ = ["Death", "WorkerProcess", "described_failure"]

_OVERDUE_GRACE_S: Final = 0.25
_LOAD_GRACE_S: Final = 1.0
_WARM_UP_LIMIT_S: Final = 10.0
_DRAIN_GRACE_S: Final = 1.0
_SHORTEST_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 5.0
_DEATHS_IN_ONE_LAYOUT: Final = 8
_STOPPED: Final = "somebody stopped it"
_CODE_NAMES: Final = {str(code.value): code.name for code in Code}


class Death(NamedTuple):
    """How a process ended that was to go on.

    Attributes:
        cause: A signal, an exit code, or what it was killed for.
        from_outside: Whether it ended neither by itself nor because it was overdue: the kernel may have had no memory
            left, or a person has meddled.
        alone: The request that it answered and nothing beside it, where it is the retry lane's.
        lines: The last that it printed.
        keepsake: That request itself, if it may be kept: whoever takes note of the death has it from then on.
    """

    cause: str
    from_outside: bool
    alone: Fingerprint | None
    lines: tuple[str, ...]
    keepsake: Keepsake | None = None


class WorkerProcess:
    """A worker's place. Its socket is kept: callers wait in its queue while a process is replaced.

    Args:
        name: Its number, or what else it is called in the log.
        duty: Whom it is there for.
    """

    def __init__(
        self,
        name: str,
        settings: ServeSettings,
        tensorflow: TensorFlow,
        listener: Listener,
        quarantine: Quarantine,
        *,
        duty: Duty = Duty.USERS,
    ) -> None:
        self.name = name
        self.duty = duty
        self.alive = False
        self.loaded = False
        self.turns_away = False
        self.changes_state = False
        self.load_failure = ""
        self._settings = settings
        self._tensorflow = tensorflow
        self._listener = listener
        self._quarantine = quarantine
        self._warm_up = duty is not Duty.ALONE
        self._deaths = 0
        self._keepsake: Keepsake | None = None
        self._control: tuple[int, ...] = ()
        self._killed_for = ""
        self._pause_s = 0.0
        self._not_before = 0.0
        self._turned_away_until = 0.0
        self._busy_at = math.inf

    @property
    def descriptors(self) -> tuple[int, ...]:
        """What to wait for before `listen`; nothing without a process."""
        return (*self._log.descriptors, *self._control) if self.alive else ()

    @property
    def callers(self) -> int:
        """The descriptor that is readable while somebody waits to be accepted."""
        return self._listener.socket.fileno()

    @property
    def may_start(self) -> bool:
        """Whether there is no process and none must be waited for."""
        return not self.alive and time.monotonic() >= self._not_before

    @property
    def idle_s(self) -> float:
        """For how long a process that is there only while it is needed has answered nobody."""
        return time.monotonic() - self._busy_at

    @property
    def is_to_open(self) -> bool:
        """Whether a process turns requests away, and has done so for as long as it was to."""
        return self.alive and self.loaded and self.turns_away and time.monotonic() >= self._turned_away_until

    @property
    def busy(self) -> bool:
        """Whether a request is being answered, or was when the process ended that has not been buried yet."""
        return self.alive and self._scoreboard.busy

    def start(self, memory_bytes: int | None = None) -> None:
        """Makes a process behind the socket, which serves the model.

        Forked, until so many have died in one layout of addresses that somebody may be looking for it: then executed.

        Args:
            memory_bytes: What it may have, where that is less than any other worker.
        """
        body = execute if self._deaths >= _DEATHS_IN_ONE_LAYOUT else work
        self._try_to_fork(body, self._settings.worker_memory_bytes if memory_bytes is None else memory_bytes)
        self.turns_away = False

    def start_turning_away(self, why: str, for_s: float) -> None:
        """Makes a process behind the socket that refuses every request."""
        until = self._turned_away_until = time.monotonic() + for_s
        self._try_to_fork(lambda inheritance: turn_away(inheritance, why, until), self._settings.worker_memory_bytes)
        self.turns_away = True

    def listen(self) -> None:
        """Takes what the worker has printed and reported so far."""
        self._log.read()
        for descriptor in self._control:
            try:
                report = os.read(descriptor, select.PIPE_BUF)
            except BlockingIOError:
                return
            os.close(descriptor)
            self._control = ()
            self._understand(report)

    def kill_if_late(self) -> None:
        """Ends a process that does not end by itself: its load, warm-up or a run is overdue, or it shows no life."""
        if not self.alive:
            return
        self._pulse.look(self._scoreboard.beat)
        # A load, and a run, may take longer than an idle process is kept.
        if self.duty is not Duty.USERS:
            under_way = not self.loaded or self._scoreboard.busy
            self._busy_at = time.monotonic() if under_way else max(self._busy_at, self._scoreboard.last_asked)
        if not self._killed_for and (reason := self._late()):
            self._kill(reason)

    def kill_stopped(self) -> None:
        """Ends a process that somebody has stopped, and that would never go on."""
        self._kill(_STOPPED)

    def terminate(self) -> None:
        """Asks the process, once, to finish what it is doing and to end; `kill_if_late` insists when it does not."""
        if self.alive and not self._is_asked:
            self._drain_by = time.monotonic() + self._settings.drain_timeout_s + _DRAIN_GRACE_S
            os.kill(self.pid, signal.SIGTERM if self.loaded else signal.SIGKILL)

    def buried(self, exit_code: int) -> tuple[str, Death | None]:
        """Cleans up after the process and says how it ended; the next `start` makes another.

        `load_failure` is set when it ended because the model could not be loaded.

        Returns:
            A line for the log, and what has died, if it had served and was to go on.
        """
        stage, alone, asked = self._scoreboard.stage, self._scoreboard.alone, self._is_asked
        self.listen()
        self._log.close()
        for descriptor in self._control:
            os.close(descriptor)
        self._scoreboard.close()
        self.alive = False
        cause = self._killed_for or _cause_of_death(exit_code)
        from_outside = self._killed_for == _STOPPED or (exit_code == -signal.SIGKILL and not self._killed_for)
        if self.loaded:
            self._pause_s = 0.0
        if asked:
            return f"ended, as it was asked to: {cause}", None
        if self.loaded:
            self._deaths += 1
            keepsake = self._given_away_keepsake() if alone else None
            return f"ended: {cause}", Death(cause, from_outside, alone, tuple(self._log.last_lines), keepsake)
        if stage is Stage.WARMING:
            self._warm_up = False
            return f"ended in its warm-up: {cause}; the next one goes without", None
        self._put_off()
        self.load_failure = (
            self._failure or f"{Code.INTERNAL.name}: the worker ended while it loaded the model: {cause}"
        )
        return f"could not load the model: {self.load_failure}", None

    def close(self) -> None:
        """Gives up the socket."""
        self._listener.close()

    @property
    def _is_asked(self) -> bool:
        return not math.isinf(self._drain_by)

    def _try_to_fork(self, body: Callable[[Inheritance], NoReturn], memory_bytes: int) -> None:
        """Makes a process, or leaves it for later where the sandbox has no task, descriptor or memory left."""
        try:
            self._fork(body, memory_bytes)
        except OSError as refused:
            self._put_off()
            print(f"[parent] no process for worker {self.name}: {refused}", file=sys.stderr)  # noqa: T201 - the log

    def _fork(self, body: Callable[[Inheritance], NoReturn], memory_bytes: int) -> None:
        with ExitStack() as undo:
            log_reader, log_writer = _pipe(undo)
            control_reader, control_writer = _pipe(undo)
            scoreboard = Scoreboard(self._settings.connections)
            undo.callback(scoreboard.close)
            if self.duty is Duty.ALONE and self._settings.requests_kept and self._keepsake is None:
                self._keepsake = Keepsake()
            inheritance = Inheritance(
                f"worker {self.name}",
                self.duty,
                self._settings,
                self._tensorflow,
                self._listener.socket,
                scoreboard,
                self._quarantine,
                control=control_writer,
                warm_up=self._warm_up,
                memory_bytes=memory_bytes,
                keepsake=self._keepsake,
            )
            self.pid = forked(lambda: _live(body, inheritance, log_writer))
            undo.pop_all()
        os.close(log_writer)
        os.close(control_writer)
        os.set_blocking(log_reader, False)
        os.set_blocking(control_reader, False)
        self._scoreboard = scoreboard
        self._pulse = Pulse(self._settings.run_timeout_s + BESIDES_ITS_RUN_S)
        self._log = WorkerLog(log_reader, self._print)
        self._control = (control_reader,)
        self._started = self._busy_at = time.monotonic()
        self._killed_for = ""
        self.load_failure = self._failure = ""
        self._drain_by = self._warms_since = math.inf
        self.alive, self.loaded = True, False

    def _put_off(self) -> None:
        """Lets the next process wait, each time for longer."""
        self._pause_s = min(_LONGEST_PAUSE_S, max(_SHORTEST_PAUSE_S, 2 * self._pause_s))
        self._not_before = time.monotonic() + self._pause_s

    def _kill(self, reason: str) -> None:
        """Ends the process at once; `reason` is what it has died of then."""
        self._killed_for = reason
        os.kill(self.pid, signal.SIGKILL)

    def _given_away_keepsake(self) -> Keepsake | None:
        keepsake, self._keepsake = self._keepsake, None
        return keepsake

    def _late(self) -> str:
        now = time.monotonic()
        if now > self._drain_by:
            return "it did not drain in time"
        age_s, stage = now - self._started, self._scoreboard.stage
        if not self.loaded and stage is Stage.WARMING:
            self._warms_since = min(self._warms_since, now)
            limit_s = _WARM_UP_LIMIT_S + _LOAD_GRACE_S
            return f"it was not over after {limit_s:.0f} s" if now - self._warms_since > limit_s else ""
        if not self.loaded:
            limit_s = self._settings.load_timeout_s + _LOAD_GRACE_S
            return f"it had not loaded the model after {limit_s:.0f} s" if age_s > limit_s else ""
        if self._pulse.silent_s > self._settings.silence_timeout_s:
            return f"it had shown no sign of life for {self._pulse.silent_s:.0f} s"
        overdue_s = self._scoreboard.overdue_s() - self._pulse.paused_s
        return f"a request was {overdue_s:.2f} s over its deadline" if overdue_s > _OVERDUE_GRACE_S else ""

    def _understand(self, report: bytes) -> None:
        """Reads `loaded <0|1>` or `failed <code> <text>`; anything else counts as no report."""
        verb, _, rest = printable(report).partition(" ")
        if verb == LOADED:
            self.loaded = True
            self.changes_state = self.changes_state if self.turns_away else rest != "0"
            self._pause_s = 0.0
        elif verb == LOAD_FAILED:
            self._failure = described_failure(rest)

    def _print(self, line: str) -> None:
        print(f"[worker {self.name}] {line}", file=sys.stderr)  # noqa: T201 - this is the log


def _pipe(undo: ExitStack) -> tuple[int, int]:
    ends = os.pipe()
    for end in ends:
        undo.callback(os.close, end)
    return ends


def _live(body: Callable[[Inheritance], NoReturn], inheritance: Inheritance, prints_to: int) -> None:
    """The forked process, from its first breath on."""
    cut_off(prints_to, *inheritance.descriptors)
    body(inheritance if body is execute else inheritance.mapped())


def described_failure(report: str) -> str:
    """`<code> <text>` as `<CODE NAME>: <text>`, whatever a hostile worker has made of it."""
    number, _, text = report.partition(" ")
    return f"{_CODE_NAMES.get(number, Code.UNKNOWN.name)}: {text}"


def _cause_of_death(exit_code: int) -> str:
    if exit_code < 0:
        try:
            return signal.Signals(-exit_code).name
        except ValueError:
            return f"signal {-exit_code}"
    return f"exit code {exit_code}"
