"""One life of a container: from the fork of bwrap until the last of its processes has ended."""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import socket
import time
from collections.abc import Callable, Collection, Sequence

from stopgap.containment.descriptors import FILTER, FIRST_LISTENER, GATE, INFO, READY
from stopgap.engines.cgroups import Mechanism
from stopgap.engines.monitor.birth import become
from stopgap.engines.monitor.records import Container
from stopgap.engines.processes import everyone, process

__all__ = ["STARTED_BY_MONITORS", "Life"]

# What is in the command lines of a monitor's children: as long as they are copies of it, and then.
STARTED_BY_MONITORS = (b"stopgap.engines.monitor", b"bwrap")

CHUNK = 64 << 10
LARGEST_ANNOUNCEMENT = 64 << 10
PRINTED_PER_S = 8 << 20  # a flood is to keep busy who prints it, and not the machine's disk
BUILDING_TIMEOUT_S = 1.0  # bwrap needs hundredths until it tells who its child is
GO_ON = b"\n"
SIGNALLED = 128
MOST_LEFT_IN_A_PIPE = 1 << 20  # without rights nobody makes one larger


class Life:
    """A container that runs. Its keeper waits for its descriptors, attends to them, and to it when a child has ended.

    `bwrap` stays outside. Its child, the first process inside, is bwrap's as well; the program is that one's child.

    Attributes:
        began: By the monotonic clock.
        pid: Of the first process inside, as soon as bwrap has told it.
        waits_at_gate: Somebody inside wants to be let through, to become the program.
        walls_stood: It is known who that is, so that it can be let through.
        announcement: What the runtime had to say, once that is complete.
        exit_code: As a shell has it; None while anything of it lives.

    Raises:
        OSError: The system has no room for another process.
    """

    def __init__(
        self,
        container: Container,
        mechanism: Mechanism,
        listeners: Sequence[socket.socket],
        prints: Callable[[bytes], None],
        filter_at: int | None,
    ) -> None:
        self.began = time.monotonic()
        self.pid: int | None = None
        self.waits_at_gate = self.walls_stood = False
        self.announcement: bytes | None = None
        self.exit_code: int | None = None
        self._prints = prints
        self._bwraps_code: int | None = None
        self._first: int | None = None
        self._program: int | None = None
        self._told = self._announced = b""
        self._is_to_end = False
        self._reads_output_at = -math.inf
        with contextlib.ExitStack() as ours, contextlib.ExitStack() as theirs:
            told, tells = ends(os.pipe(), ours, theirs)
            self._output, prints_to = ends(os.pipe(), ours, theirs)
            one, other = socket.socketpair()
            self._gate, their_gate = ends((one.detach(), other.detach()), ours, theirs)
            announced, announces = ends(os.pipe(), ours, theirs)
            handed = {1: prints_to, 2: prints_to, INFO: tells, GATE: their_gate}
            if filter_at is not None:
                os.lseek(filter_at, 0, os.SEEK_SET)  # the last life's bwrap has read it to its end
                handed[FILTER] = filter_at
            if listeners:
                handed[READY] = announces
                handed.update((FIRST_LISTENER + index, each.fileno()) for index, each in enumerate(listeners))
            self._bwrap = os.fork()
            if self._bwrap == 0:
                become(container, mechanism, handed)
            ours.pop_all()
        # Each is read as long as its reader says so, then closed. In this order: who waits at the gate is known before.
        self._heard: dict[int, Callable[[int], bool]] = {
            told: self._hear_of_first,
            self._gate: self._hear_at_gate,
            announced: self._hear_announcement,
            self._output: self._hear_output,
        }
        for number in self._heard:
            os.set_blocking(number, False)

    def awaited(self) -> tuple[tuple[int, ...], float]:
        """The descriptors to wait for, and for how many seconds at most.

        Its output is among them, or else is to be read again after so many: both come from one look at the clock, or
        an output could be waited for by nobody.
        """
        left_s = self._reads_output_at - time.monotonic()
        if self._is_to_end or left_s <= 0:
            return tuple(self._heard), math.inf
        return tuple(number for number in self._heard if number != self._output), left_s

    def attend(self, ready: Collection[int]) -> None:
        """Reads from those of its descriptors that are ready, and looks whether it has ended."""
        for number, reader in tuple(self._heard.items()):
            if number in ready and number in self._heard and not reader(number):
                self._close(number)
        if self._bwraps_code is None:
            pid, status = os.waitpid(self._bwrap, os.WNOHANG)
            if pid:
                self._bwraps_code = os.waitstatus_to_exitcode(status)
                self.kill()  # a first process that has lost its bwrap
        if self._bwraps_code is not None and self._first is None:
            self._bury(self._bwraps_code)

    def let_through(self) -> None:
        """The program begins."""
        self.waits_at_gate = False
        if self._gate in self._heard:
            with contextlib.suppress(ConnectionError):  # it has ended meanwhile
                os.write(self._gate, GO_ON)
            self._close(self._gate)

    def ask_to_end(self) -> None:
        """SIGTERM to the program; where it has not begun there is nothing to wait for."""
        self._is_to_end = True
        if self._gate in self._heard:
            self.kill()
        else:
            send(self._program, signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL to all of it: with the first process every other inside ends.

        As long as bwrap has not told which that is, it is left alone for a moment: its child would lose its parent and
        go on building, though no further than to the shut gate.
        """
        self._is_to_end = True
        self._close(self._gate)
        send(self._first, signal.SIGKILL)
        if self._bwraps_code is None and (self.pid or time.monotonic() > self.began + BUILDING_TIMEOUT_S):
            os.kill(self._bwrap, signal.SIGKILL)

    def _bury(self, code: int) -> None:
        for _ in range(MOST_LEFT_IN_A_PIPE // CHUNK):
            if self._output not in self._heard or not self._hear_output(self._output):
                break
        for number in tuple(self._heard):
            self._close(number)
        self.exit_code = code if code >= 0 else SIGNALLED - code

    def _hear_of_first(self, number: int) -> bool:
        piece = os.read(number, CHUNK)
        self._told += piece
        if not self._told.rstrip().endswith(b"}"):
            return bool(piece)
        pid = int(json.loads(self._told)["child-pid"])
        self._first = opened_child(pid, self._bwrap)
        if self._first is not None:
            self.pid = pid
            self._heard[self._first] = self._hear_end_of_first
        return False

    def _hear_end_of_first(self, number: int) -> bool:
        del number
        self._first = None
        return False

    def _hear_at_gate(self, number: int) -> bool:
        """Whoever speaks there is the only child of the first process so far."""
        try:
            self.waits_at_gate = bool(os.read(number, 1))
        except ConnectionResetError:
            self.waits_at_gate = False
        if self.waits_at_gate and self.pid is not None:
            children = [each.pid for each in everyone() if each.parent == self.pid]
            self._program = opened_child(children[0], self.pid) if children else None
            if self._program is not None:
                self.walls_stood = True
                self._heard[self._program] = self._hear_end_of_program
        return self.waits_at_gate

    def _hear_end_of_program(self, number: int) -> bool:
        del number
        self._program = None
        return False

    def _hear_announcement(self, number: int) -> bool:
        piece = os.read(number, CHUNK)
        self._announced += piece
        if not piece and self._announced:
            self.announcement = self._announced
        return bool(piece) and len(self._announced) <= LARGEST_ANNOUNCEMENT

    def _hear_output(self, number: int) -> bool:
        try:
            piece = os.read(number, CHUNK)
        except BlockingIOError:
            return True
        self._prints(piece)
        self._reads_output_at = time.monotonic() + len(piece) / PRINTED_PER_S
        return bool(piece)

    def _close(self, number: int) -> None:
        if self._heard.pop(number, None):
            os.close(number)


def ends(pair: tuple[int, int], ours: contextlib.ExitStack, theirs: contextlib.ExitStack) -> tuple[int, int]:
    """Our end of a pipe and theirs, each to be closed with the others."""
    ours.callback(os.close, pair[0])
    theirs.callback(os.close, pair[1])
    return pair


def opened_child(pid: int, parent: int) -> int | None:
    """A descriptor of that child, which never means another process; None where it is gone."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return None
    found = process(pid)
    if found and found.parent == parent:  # and no later process that was given its pid
        return descriptor
    os.close(descriptor)
    return None


def send(descriptor: int | None, number: signal.Signals) -> None:
    """Nothing happens where the process has ended."""
    if descriptor is not None:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(descriptor, number)
