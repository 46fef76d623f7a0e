"""Where large things are made that appear whole or not at all: a scratch folder, one maker at a time, disk errors."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Callable

from filelock import FileLock, Timeout

from stopgap.errors import ImageError
from stopgap.progress import Progress

__all__ = ["DROPPED_AFTER_S", "workshop"]

# What an older stopgap has made, nothing asks for again; but two versions in turn on one machine ask for both.
DROPPED_AFTER_S = 24 * 3600.0


@contextmanager
def workshop(kind: str, folder: Path, progress: Progress) -> Iterator[Path]:
    """A scratch folder in `folder`, gone afterwards, for who makes things of that kind ("images", "roots").

    It is on the disk of what is made there, so that libraries can be linked and results renamed into their place.

    Raises:
        ImageError: The disk is full, or the folder cannot be used.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder / f".{kind}.lock", lambda: progress(f"waiting for another stopgap's {kind}", None)):
            for left in folder.glob(f".{kind}-*"):  # by a maker that was killed
                shutil.rmtree(left, ignore_errors=True)
            scratch = Path(tempfile.mkdtemp(prefix=f".{kind}-", dir=folder))
            try:
                yield scratch
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
    except OSError as error:
        if os.strerror(errno.ENOSPC) in str(error):  # its number is lost where a whole tree was being copied
            raise ImageError(
                f"The disk is full: the {kind} cannot be prepared in {folder}.",
                "Make room and try again, or set XDG_CACHE_HOME to a folder on a larger disk.",
            ) from error
        raise ImageError(f"The {kind} cannot be prepared in {folder}: {error}.", "Look at its permissions.") from error


@contextmanager
def _locked(file: Path, on_wait: Callable[[], None]) -> Iterator[None]:
    lock = FileLock(file)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        on_wait()
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
