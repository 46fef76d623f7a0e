"""One worker as the parent sees it: a socket that outlives it, a process, two pipes, a scoreboard."""

import math
import os
import select
import signal
import socket
import sys
import time
from typing import Final

from . import kernel
from .capi import TensorFlow
from .faults import Code
from .scoreboard import Scoreboard, Stage
from .settings import ServeSettings
from .worker import LOAD_FAILED, LOADED, Inheritance, work
from .worker_log import WorkerLog, printable

__all__ = ["WorkerProcess", "described_failure"]

_QUEUE: Final = 1024
_OVERDUE_GRACE_S: Final = 0.25
_LOAD_GRACE_S: Final = 1.0
_WARM_UP_LIMIT_S: Final = 10.0
_DRAIN_GRACE_S: Final = 1.0
_SHORTEST_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 5.0
_CODE_NAMES: Final = {str(code.value): code.name for code in Code}


class WorkerProcess:
    """A worker's place. Its socket is bound once and kept: callers wait in its queue while a process is replaced."""

    def __init__(self, index: int, settings: ServeSettings, tensorflow: TensorFlow) -> None:
        self.index = index
        self.alive = False
        self.loaded = False
        self.changes_state = False
        self.load_failure = ""
        self._settings = settings
        self._tensorflow = tensorflow
        self._warm_up = True
        self._pause_s = 0.0
        self._not_before = 0.0
        self._path = settings.sockets / f"worker-{index}.sock"
        self._path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(self._path))
        self._path.chmod(0o666)  # the front has a uid of its own; the folder decides who gets here at all
        self._listener.listen(_QUEUE)

    @property
    def descriptors(self) -> tuple[int, ...]:
        """What to wait for before `listen`."""
        return *self._log.descriptors, *self._control

    @property
    def may_start(self) -> bool:
        """Whether there is no process and none must be waited for."""
        return not self.alive and time.monotonic() >= self._not_before

    def start(self) -> None:
        """Forks a process behind the socket."""
        log_reader, log_writer = os.pipe()
        control_reader, control_writer = os.pipe()
        self._scoreboard = Scoreboard(self._settings.connections)
        inheritance = Inheritance(
            self._settings,
            self._tensorflow,
            self._listener,
            self._scoreboard,
            control=control_writer,
            warm_up=self._warm_up,
        )
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            signal.set_wakeup_fd(-1)
            kernel.die_with_parent(signal.SIGKILL)
            os.dup2(log_writer, 1)
            os.dup2(log_writer, 2)
            _close_all_but(self._listener.fileno(), control_writer)
            work(inheritance)
        os.close(log_writer)
        os.close(control_writer)
        os.set_blocking(log_reader, False)
        os.set_blocking(control_reader, False)
        self._log = WorkerLog(log_reader, self._print)
        self._control: tuple[int, ...] = (control_reader,)
        self._started = time.monotonic()
        self._killed_for = ""
        self.load_failure = self._failure = ""
        self._drain_by = math.inf
        self.alive, self.loaded = True, False

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
        """Ends a process that TensorFlow does not end by itself: its load, its warm-up or a run is overdue."""
        if self.alive and not self._killed_for and (reason := self._late()):
            self._killed_for = reason
            os.kill(self.pid, signal.SIGKILL)

    def terminate(self) -> None:
        """Asks the process, once, to finish what it is doing and to end; `kill_if_late` insists when it does not."""
        if self.alive and math.isinf(self._drain_by):
            self._drain_by = time.monotonic() + self._settings.drain_timeout_s + _DRAIN_GRACE_S
            os.kill(self.pid, signal.SIGTERM if self.loaded else signal.SIGKILL)

    def buried(self, exit_code: int) -> str:
        """Cleans up after the process and says how it ended; the next `start` makes another.

        `load_failure` is set when it ended because the model could not be loaded.
        """
        stage = self._scoreboard.stage
        self.listen()
        self._log.close()
        for descriptor in self._control:
            os.close(descriptor)
        self._scoreboard.close()
        self.alive = False
        cause = self._killed_for or _cause_of_death(exit_code)
        if self.loaded:
            self._pause_s = 0.0
            return f"ended: {cause}"
        if stage is Stage.WARMING:
            self._warm_up = False
            return f"ended in its warm-up: {cause}; the next one goes without"
        self._pause_s = min(_LONGEST_PAUSE_S, max(_SHORTEST_PAUSE_S, 2 * self._pause_s))
        self._not_before = time.monotonic() + self._pause_s
        self.load_failure = (
            self._failure or f"{Code.INTERNAL.name}: the worker ended while it loaded the model: {cause}"
        )
        return f"could not load the model: {self.load_failure}"

    def close(self) -> None:
        """Gives up the socket."""
        self._listener.close()
        self._path.unlink(missing_ok=True)

    def _late(self) -> str:
        now = time.monotonic()
        if now > self._drain_by:
            return "it did not drain in time"
        age_s, stage = now - self._started, self._scoreboard.stage
        if not self.loaded:
            limit_s = self._settings.load_timeout_s + _LOAD_GRACE_S
            if stage is Stage.WARMING:
                limit_s += _WARM_UP_LIMIT_S
            return f"it had not loaded the model after {limit_s:.0f} s" if age_s > limit_s else ""
        overdue_s = self._scoreboard.overdue_s()
        return f"a run was {overdue_s:.2f} s over its deadline" if overdue_s > _OVERDUE_GRACE_S else ""

    def _understand(self, report: bytes) -> None:
        """Reads `loaded <0|1>` or `failed <code> <text>`; anything else counts as no report."""
        verb, _, rest = printable(report).partition(" ")
        if verb == LOADED:
            self.loaded, self.changes_state = True, rest != "0"
            self._pause_s = 0.0
        elif verb == LOAD_FAILED:
            self._failure = described_failure(rest)

    def _print(self, line: str) -> None:
        print(f"[worker {self.index}] {line}", file=sys.stderr)  # noqa: T201 - this is the log


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


def _close_all_but(*kept: int) -> None:
    """Closes every inherited descriptor beyond the standard ones: other workers' sockets among them."""
    first = 3
    for descriptor in sorted(kept):
        os.closerange(first, descriptor)
        first = descriptor + 1
    os.closerange(first, os.sysconf("SC_OPEN_MAX"))
