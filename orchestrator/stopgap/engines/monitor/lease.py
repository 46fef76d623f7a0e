"""Who keeps a container: whoever holds the lock on a file in its folder. The file says who that is; the lock decides.

The lock belongs to the open file, so that an engine takes it and hands it on to the monitor that it starts: at no
moment between does anybody find the container without a keeper. However a keeper ends, the kernel takes its lock away.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from stopgap.engines.processes import opened, process

__all__ = ["Keeper", "Signature", "acquire", "hand_on", "is_held", "keeper", "last_keeper", "sign"]

FILE = "monitor.lock"
SIGNING_TIMEOUT_S = 10.0
LOOK_EVERY_S = 0.005

# struct flock: type, whence, start, length, pid; padded at its end as the compiler does it.
FLOCK = "hhqqi0q"


def acquire(folder: Path) -> int | None:
    """A descriptor that holds the lock until it is closed, here and in every process that inherits it.

    None where somebody has the lock already. What the last keeper wrote stays until `hand_on`.
    """
    descriptor = os.open(folder / FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, flock(fcntl.F_WRLCK))
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def sign(descriptor: int) -> None:
    """Writes down that this process holds the lock."""
    ourselves = process(os.getpid())
    if ourselves:
        os.pwrite(descriptor, f"{ourselves.pid} {ourselves.born}".encode(), 0)


def hand_on(descriptor: int) -> None:
    """Until the next keeper has signed, nobody is taken for it."""
    os.ftruncate(descriptor, 0)


def is_held(folder: Path) -> bool:
    """Only asks: an attempt to take it would make others believe that it was held."""
    try:
        descriptor = os.open(folder / FILE, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        return held(descriptor)
    finally:
        os.close(descriptor)


class Signature(NamedTuple):
    """A process that has held the lock; `born` tells it from a later one with its pid."""

    pid: int
    born: int


def last_keeper(folder: Path) -> Signature | None:
    """Who held the lock last, or holds it; None where that is not known."""
    try:
        fields = (folder / FILE).read_text(encoding="ascii").split()
        return Signature(*map(int, fields))
    except (FileNotFoundError, ValueError, TypeError):  # TypeError: not the right number of fields
        return None


class Keeper:
    """A process that holds a lock, by a descriptor that never means another process."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def send(self, number: signal.Signals) -> None:
        """Nothing happens where it has ended."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._descriptor, number)

    def wait(self, timeout_s: float) -> bool:
        """Whether it has ended within that time, and so let go of the lock."""
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN)
        return bool(poll.poll(round(timeout_s * 1000)))


@contextlib.contextmanager
def keeper(folder: Path) -> Iterator[Keeper | None]:
    """Who holds the lock now; None where nobody does.

    Raises:
        TimeoutError: Somebody holds it and does not say who.
    """
    descriptor = opened_keeper(folder)
    if descriptor is None:
        yield None
        return
    try:
        yield Keeper(descriptor)
    finally:
        os.close(descriptor)


def opened_keeper(folder: Path) -> int | None:
    deadline = time.monotonic() + SIGNING_TIMEOUT_S
    while is_held(folder):
        signature = last_keeper(folder)
        descriptor = opened(*signature) if signature else None
        if descriptor is not None:
            return descriptor
        if time.monotonic() > deadline:
            raise TimeoutError(f"{folder / FILE} is locked, but not signed")
        time.sleep(LOOK_EVERY_S)
    return None


def held(descriptor: int) -> bool:
    answer = fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, flock(fcntl.F_WRLCK))
    return bool(struct.unpack(FLOCK, answer)[0] != fcntl.F_UNLCK)


def flock(kind: int) -> bytes:
    return struct.pack(FLOCK, kind, os.SEEK_SET, 0, 0, 0)
