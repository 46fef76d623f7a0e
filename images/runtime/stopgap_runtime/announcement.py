"""Says, once, that all workers have loaded: in a file beside the sockets, or on a descriptor that was handed in."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Protocol

__all__ = ["Announcement", "DescriptorAnnouncement", "FileAnnouncement"]


class Announcement(Protocol):
    """What the world outside waits for."""

    def make(self, workers: int, changes_state: bool, tensorflow: str) -> None:
        """Tells what there is: how many workers, whether the model changes state, TensorFlow's version."""

    def withdraw(self) -> None:
        """Takes it back, where it was made and can be: nobody serves any longer."""


class FileAnnouncement:
    """A file that appears whole, by rename."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.withdraw()  # what a former run announced

    def make(self, workers: int, changes_state: bool, tensorflow: str) -> None:
        partial = self._path.with_suffix(".partial")
        partial.write_bytes(_written(workers, changes_state, tensorflow))
        partial.rename(self._path)

    def withdraw(self) -> None:
        self._path.unlink(missing_ok=True)


class DescriptorAnnouncement:
    """One write, far below what a pipe takes at once, after which the descriptor is closed."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._open = True
        os.set_inheritable(descriptor, False)  # it has arrived: no program started from here needs it

    def make(self, workers: int, changes_state: bool, tensorflow: str) -> None:
        with suppress(BrokenPipeError):  # nobody wants to know any longer; callers are served all the same
            os.write(self._descriptor, _written(workers, changes_state, tensorflow))
        self.withdraw()

    def withdraw(self) -> None:
        """Closes the descriptor: who reads it sees the end, with or without an announcement before."""
        if self._open:
            self._open = False
            os.close(self._descriptor)


def _written(workers: int, changes_state: bool, tensorflow: str) -> bytes:
    return json.dumps({"workers": workers, "changes_state": changes_state, "tensorflow": tensorflow}).encode()
