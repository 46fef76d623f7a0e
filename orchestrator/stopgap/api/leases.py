"""Who uses a shared sandbox: a lock on a file for each user, which the kernel takes back from whoever dies."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

from stopgap.errors import DeploymentError

__all__ = ["Lease", "unused"]

LOOK_EVERY_S = 0.05


class Lease:
    """This process's part in a sandbox. A forked process gets a part of its own.

    Args:
        file: Locked by all users of that sandbox together; made where it is missing.
        patience_s: How long to wait for somebody who is taking the sandbox away just now.

    Raises:
        DeploymentError: It took longer.
    """

    def __init__(self, file: Path, patience_s: float) -> None:
        self.file = file
        self._forking = threading.local()  # several threads may fork at once
        self._descriptor = opened(file)
        deadline = time.monotonic() + patience_s
        while not locked(self._descriptor, fcntl.LOCK_SH):
            if time.monotonic() > deadline:
                os.close(self._descriptor)
                raise DeploymentError(f"{file.name} is being taken away for {patience_s:.0f} s already.", "Try again.")
            time.sleep(LOOK_EVERY_S)
        _HELD.add(self)

    def is_last(self) -> bool:
        """Whether nobody else uses the sandbox; from then on nobody else can, until `release`."""
        return locked(self._descriptor, fcntl.LOCK_EX)

    def release(self) -> None:
        """Gives the part up; a second time does nothing."""
        if self in _HELD:
            _HELD.discard(self)
            os.close(self._descriptor)

    def before_fork(self) -> None:
        """Takes a part for the process to come: it must have one before anybody can ask whether it has."""
        self._forking.descriptor = opened(self.file)
        locked(self._forking.descriptor, fcntl.LOCK_SH)

    def after_fork_in_parent(self) -> None:
        """Leaves that part to the child."""
        os.close(self._forking.descriptor)

    def after_fork_in_child(self) -> None:
        """Goes on with it, and leaves the parent its own."""
        os.close(self._descriptor)
        self._descriptor = self._forking.descriptor


@contextlib.contextmanager
def unused(file: Path) -> Iterator[bool]:
    """Whether nobody uses that sandbox; nobody can begin to while this lasts."""
    descriptor = opened(file)
    try:
        yield locked(descriptor, fcntl.LOCK_EX)
    finally:
        os.close(descriptor)


_HELD: weakref.WeakSet[Lease] = weakref.WeakSet()


def opened(file: Path) -> int:
    file.parent.mkdir(parents=True, exist_ok=True)
    return os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def locked(descriptor: int, how: int) -> bool:
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in {errno.EWOULDBLOCK, errno.EACCES}:
            raise
        return False
    return True


def each_held(act: Callable[[Lease], None]) -> None:
    for lease in tuple(_HELD):
        act(lease)


os.register_at_fork(
    before=lambda: each_held(Lease.before_fork),
    after_in_parent=lambda: each_held(Lease.after_fork_in_parent),
    after_in_child=lambda: each_held(Lease.after_fork_in_child),
)
