"""Keeps one container: starts it, says how it is, brings it back, ends it. Only signals and descriptors wake it."""

from __future__ import annotations

import contextlib
import math
import os
import select
import signal
import socket
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from stopgap.engines.mechanisms import mechanism
from stopgap.engines.monitor.life import STARTED_BY_MONITORS, Life
from stopgap.engines.monitor.listeners import listening
from stopgap.engines.monitor.output import CappedLog
from stopgap.engines.monitor.records import KEEP, Status, read_container, replace, write_status
from stopgap.engines.processes import boot_id, end_session, process

__all__ = ["ANNOUNCEMENT", "AT_ONCE", "Keeper", "pause_after"]

AT_ONCE = signal.SIGUSR1  # ends the container without asking it first, as SIGTERM does
ANNOUNCEMENT = "ready.json"
NOT_STARTED = 127

SHORTEST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 30.0
GOOD_WHILE_S = 10.0
INSIST_EVERY_S = 0.1
TRY_EVERY_S = 1.0


def pause_after(life_s: float, last_pause_s: float) -> float:
    """How long to wait before the next start: not at all after a good while, else twice as long as the last time."""
    if life_s >= GOOD_WHILE_S:
        return 0.0
    return min(LONGEST_PAUSE_S, max(SHORTEST_PAUSE_S, 2 * last_pause_s))


class Keeper:
    """The keeper of the container in `folder`.

    Args:
        limits_by: The mechanism's name.
        begun: Called once, when the container's walls stand for the first time or are known not to.
        filter_at: The descriptor that has the container's filter of system calls, where it has one.
    """

    def __init__(self, folder: Path, limits_by: str, begun: Callable[[], None], filter_at: int | None = None) -> None:
        self._folder = folder
        self._container = read_container(folder)
        self._mechanism = mechanism(limits_by, self._container.group)
        self._status = Status(state="created", boot=boot_id(), mechanism=limits_by)
        self._begun = begun
        self._filter_at = filter_at
        self._log = CappedLog(folder)
        self._is_saved = True
        self._is_announced = False
        self._asked_at = math.inf
        self._asks_next_at = -math.inf
        self._grace_s = self._container.grace_s

    def run(self) -> None:
        """Until the container has ended and is not to be brought back; nothing of it is left then but its folder."""
        self._listen_to_signals()
        self._set()
        try:
            self._mechanism.prepare(self._container.limits)
            with listening(self._container.sockets, self._container.listeners) as listeners:
                self._keep(listeners)
        except OSError as error:
            self._log.note(f"it cannot be started: {error}")
            self._set(state="exited", detail=str(error))
        finally:
            end_session(os.getpid(), STARTED_BY_MONITORS)
            if not self._mechanism.remove():
                self._log.note("something of it does not end")
            self._begun()

    def _keep(self, listeners: Sequence[socket.socket]) -> None:
        pause_s = 0.0
        while not self._is_asked:
            life_s = self._live(listeners)
            if not self._is_to_be_brought_back():
                return
            pause_s = pause_after(life_s, pause_s)
            self._log.note(f"it ended with exit code {self._status.exit_code}; starting it again in {pause_s:g} s")
            self._set(state="restarting", restarts=self._status.restarts + 1)
            self._begun()
            self._wait_until(time.monotonic() + pause_s)
        self._set(state="exited")

    def _live(self, listeners: Sequence[socket.socket]) -> float:
        """One life, and how long it lasted, in seconds."""
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):  # then it stays as it was
            self._container = read_container(self._folder)  # it may have been widened
        kills = self._mechanism.kills()
        try:
            life = Life(self._container, self._mechanism, listeners, self._log.write, self._filter_at)
        except OSError as error:
            self._log.note(f"it could not be started: {error}")
            self._set(exit_code=NOT_STARTED, walls_stood=False)
            return 0.0
        self._set(walls_stood=False)
        self._is_announced = False
        while life.exit_code is None:
            self._steer(life)
            descriptors, pause_s = life.awaited()
            life.attend(self._wait(descriptors, min(pause_s, self._timeout_s(life))))
            self._pass_on(life)
        if life.pid is None:
            end_session(os.getpid(), STARTED_BY_MONITORS)  # bwrap was ended before it told of its child
        with contextlib.suppress(OSError):
            self._announcement.unlink()
        self._set(
            exit_code=life.exit_code,
            out_of_memory=self._mechanism.kills() > kills,
            walls_stood=life.walls_stood,
            pid=None,
            born=None,
        )
        return time.monotonic() - life.began

    def _steer(self, life: Life) -> None:
        """Asks the container to end where it was asked for, and insists when its time is over."""
        now = time.monotonic()
        if not self._is_asked or now < self._asks_next_at:
            return
        if now < self._asked_at + self._grace_s:
            life.ask_to_end()
            self._asks_next_at = self._asked_at + self._grace_s
        else:
            life.kill()
            self._asks_next_at = now + INSIST_EVERY_S

    def _pass_on(self, life: Life) -> None:
        """What the container has told."""
        if life.waits_at_gate:
            self._let_through(life)
        if life.announcement is not None and not self._is_announced:
            with contextlib.suppress(OSError):  # the disk is full: it is tried again
                replace(self._announcement, life.announcement)
                self._is_announced = True
        if not self._is_saved:
            self._set()

    def _let_through(self, life: Life) -> None:
        """The program begins once it is written down which process it is, for whoever may have to end it without us."""
        first = process(life.pid) if life.pid else None
        if first is None or not life.walls_stood:
            life.kill()
            return
        with contextlib.suppress(OSError):  # it has ended meanwhile
            self._mechanism.entered(first.pid)
        self._set(state="running", walls_stood=True, pid=first.pid, born=first.born, place=self._mechanism.place)
        life.let_through()
        self._begun()

    def _is_to_be_brought_back(self) -> bool:
        """Whoever wants it back makes the file and then reads the status; so the status comes first, then the look."""
        if not self._is_wanted:
            self._set(state="exited")
        return self._is_wanted

    @property
    def _is_wanted(self) -> bool:
        return not self._is_asked and (self._folder / KEEP).exists()

    @property
    def _is_asked(self) -> bool:
        return self._asked_at < math.inf

    def _set(self, **changes: Any) -> None:
        self._status = self._status._replace(**changes)
        try:
            write_status(self._folder, self._status)
            self._is_saved = True
        except OSError:
            self._is_saved = False

    @property
    def _announcement(self) -> Path:
        return Path(self._container.sockets or self._folder, ANNOUNCEMENT)

    def _listen_to_signals(self) -> None:
        self._wakeup, writer = socket.socketpair()
        self._wakeup.setblocking(False)
        writer.setblocking(False)
        self._wakeup_writer = writer  # kept, or it would be closed
        signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda _signal, _frame: None)  # waking up is all it is for
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        for number in (signal.SIGTERM, signal.SIGINT, AT_ONCE):
            signal.signal(number, self._note_request)

    def _note_request(self, number: int, _frame: FrameType | None) -> None:
        """Only takes note: the loop does the rest."""
        self._asked_at = min(self._asked_at, time.monotonic())
        if number == AT_ONCE:
            self._grace_s = 0.0
            self._asks_next_at = -math.inf

    def _wait_until(self, moment: float) -> None:
        """Or until the container is asked to end."""
        while not self._is_asked and time.monotonic() < moment:
            self._wait((), moment - time.monotonic())

    def _wait(self, descriptors: Sequence[int], timeout_s: float) -> set[int]:
        """For a signal, or for one of these; gives those that are ready."""
        poll = select.poll()
        for number in (self._wakeup.fileno(), *descriptors):
            poll.register(number, select.POLLIN)
        found = {number for number, _ in poll.poll(None if timeout_s == math.inf else max(1, timeout_s * 1000))}
        if self._wakeup.fileno() in found:
            self._wakeup.recv(4096)
        return found

    def _timeout_s(self, life: Life) -> float:
        """Until there is something to be done that nobody wakes us for."""
        due_s = [math.inf]
        if self._is_asked:
            due_s.append(self._asks_next_at - time.monotonic())
        if not self._is_saved or (life.announcement is not None and not self._is_announced):
            due_s.append(TRY_EVERY_S)
        return max(0.0, min(due_s))
