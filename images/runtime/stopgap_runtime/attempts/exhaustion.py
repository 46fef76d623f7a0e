"""What exhausts, for a sandbox that nobody is served by: each must meet its limit, and stops by itself soon after."""

from __future__ import annotations

import errno
import mmap
import os
import resource
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from .attempt import SHUT, Attempt, Scene

__all__ = ["EXHAUSTION"]

_MIB: Final = 1 << 20
_MANY_FILES: Final = 20_000
_A_FEW_MORE: Final = 16
_FULL: Final = SHUT | {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_TMP: Final = Path("/tmp")  # noqa: S108 - a path inside the sandbox


def _tasks(scene: Scene) -> str:
    """Threads, which count as processes do and need less memory, up to a few more than there may be."""
    over = threading.Event()
    started: list[threading.Thread] = []
    try:
        while len(started) < scene.tasks + _A_FEW_MORE:
            thread = threading.Thread(target=over.wait, daemon=True)
            thread.start()
            started.append(thread)
    except RuntimeError as error:
        raise BlockingIOError(errno.EAGAIN, str(error)) from error
    finally:
        over.set()
        for thread in started:
            thread.join()
    return f"{len(started)} threads"


@contextmanager
def _emptied(folder: Path) -> Iterator[None]:
    before = {*folder.iterdir()}
    try:
        yield
    finally:
        for path in {*folder.iterdir()} - before:
            path.unlink()


def _written(scene: Scene) -> str:
    """Twice as much as there may be, in files that are small enough each."""
    with _emptied(_TMP):
        for number in range(2 * scene.tmp_bytes // _MIB):
            with (_TMP / f"full-{number}").open("wb", buffering=0) as file:
                file.write(bytes(_MIB))
    return f"{2 * scene.tmp_bytes // _MIB} MiB"


def _many_files() -> str:
    with _emptied(_TMP):
        for number in range(_MANY_FILES):
            (_TMP / f"many-{number}").touch()
    return f"{_MANY_FILES} files"


def _one_file() -> str:
    """Larger than it may be; it has holes, so that nothing is full before."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    with _emptied(_TMP), (_TMP / "large").open("wb") as file:
        os.truncate(file.fileno(), (1 << 40) if hard == resource.RLIM_INFINITY else hard + 1)
    return "a file larger than its limit"


def _descriptors(scene: Scene) -> str:
    with ExitStack() as opened:
        for _ in range(scene.open_files + _A_FEW_MORE):
            opened.callback(os.close, os.open(os.devnull, os.O_RDONLY))
    return f"{scene.open_files + _A_FEW_MORE} descriptors"


def _memory(scene: Scene) -> str:
    """A quarter more than there may be, each page written; shared, which no limit of a single process counts."""
    wanted = scene.memory_bytes + scene.memory_bytes // 4
    taken = []
    for _ in range(max(1, wanted // (16 * _MIB))):
        piece = mmap.mmap(-1, 16 * _MIB)
        for page in range(0, len(piece), mmap.PAGESIZE):
            piece[page] = 1
        taken.append(piece)
    return f"{len(taken) * 16} MiB"


EXHAUSTION: Final[tuple[Attempt, ...]] = (
    Attempt("many_tasks", lambda scene: {"threads": lambda: _tasks(scene)}, frozenset({errno.EAGAIN})),
    Attempt("full_tmp", lambda scene: {"bytes": lambda: _written(scene)}, _FULL),
    Attempt("many_files", lambda _: {"files": _many_files}, _FULL),
    Attempt("large_file", lambda _: {"bytes": _one_file}, _FULL),
    Attempt("many_descriptors", lambda scene: {"descriptors": lambda: _descriptors(scene)}, frozenset({errno.EMFILE})),
    Attempt("memory", lambda scene: {"bytes": lambda: _memory(scene)}, frozenset({errno.ENOMEM}), deadly=True),
)
"""In this order: what takes memory comes last, and the kernel ends who takes it."""
