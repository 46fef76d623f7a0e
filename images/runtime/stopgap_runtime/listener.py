"""A worker's listening socket: bound here, or handed in by who keeps it while a whole sandbox is replaced."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["Listener", "is_listening"]

_QUEUE: Final = 1024


@dataclass(frozen=True)
class Listener:
    """A Unix socket that outlives the processes behind it: callers wait in its queue meanwhile.

    Attributes:
        path: Where it was bound here; None where it was handed in, and its name is another's to take away.
    """

    socket: socket.socket
    path: Path | None

    @classmethod
    def bound(cls, path: Path) -> Listener:
        """A new one, in the place of whatever a former run left there."""
        path.unlink(missing_ok=True)
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listening.bind(str(path))
        path.chmod(0o666)  # the front has a uid of its own; the folder decides who gets here at all
        listening.listen(_QUEUE)
        return cls(listening, path)

    @classmethod
    def inherited(cls, descriptor: int) -> Listener:
        """The one that came with `descriptor`, for which `is_listening` holds."""
        listening = socket.socket(fileno=descriptor)
        listening.set_inheritable(False)  # it has arrived: no program started from here needs it
        listening.setblocking(True)  # whoever had it before may have left it otherwise
        return cls(listening, None)

    def close(self) -> None:
        """Gives it up; callers who wait in the queue of one that was handed in go on waiting."""
        self.socket.close()
        if self.path:
            self.path.unlink(missing_ok=True)


def is_listening(descriptor: int) -> bool:
    """Whether it is a Unix socket that connections can be accepted from."""
    try:
        candidate = socket.socket(fileno=descriptor)
    except OSError:  # closed, or no socket
        return False
    try:
        accepts = candidate.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        return bool(accepts) and (candidate.family, candidate.type) == (socket.AF_UNIX, socket.SOCK_STREAM)
    finally:
        candidate.detach()
