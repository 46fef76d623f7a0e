"""A sandbox's listening sockets. They are the monitor's: callers wait in their queues while the sandbox is replaced."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterable, Iterator
from pathlib import Path

__all__ = ["listening"]

QUEUE = 1024
FOR_EVERYONE = 0o666  # the front has a uid of its own; the folder decides who gets here at all


@contextlib.contextmanager
def listening(folder: str | None, names: Iterable[str]) -> Iterator[list[socket.socket]]:
    """Within the block there is a Unix socket for each name in `folder`; without a folder there must be no names.

    Raises:
        OSError: The folder is gone, or the disk is full.
    """
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(bound(folder or "", name)) for name in names]


@contextlib.contextmanager
def bound(folder: str, name: str) -> Iterator[socket.socket]:
    """In the place of whatever is left of an earlier one."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        with inside(folder):
            Path(name).unlink(missing_ok=True)
            listener.bind(name)
        try:
            with inside(folder):
                Path(name).chmod(FOR_EVERYONE)
            listener.listen(QUEUE)
            yield listener
        finally:
            with contextlib.suppress(OSError), inside(folder):
                Path(name).unlink()


@contextlib.contextmanager
def inside(folder: str) -> Iterator[None]:
    """The folder as the process's own: a socket's name has 107 bytes at most, the folder's path may have more."""
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir("/")
