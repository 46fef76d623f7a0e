"""Ways to other processes, and to new ones."""

from __future__ import annotations

import mmap
import os
import resource
import signal
import struct
import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final

from .. import kernel
from .attempt import Attempt, Scene, Way, nothing_in, opened

__all__ = ["PROCESSES", "cloned", "cloned_anew"]

_PTRACE_TRACEME, _PTRACE_SEIZE = 0, 0x4206  # which does not stop whom it seizes
_ANY_MEMORY: Final = struct.pack("QQ", mmap.PAGESIZE, 8)  # an iovec: rights are looked at before what it points to


def cloned(flags: int) -> None:
    """A child by `clone`, with those flags."""
    if kernel.call(56, flags | signal.SIGCHLD, 0, 0, 0, 0) == 0:
        os._exit(0)
    os.wait()


def cloned_anew(flags: int) -> None:
    """A child by `clone3`, whose flags no filter sees."""
    if kernel.call(435, struct.pack("8Q", flags, 0, 0, 0, signal.SIGCHLD, 0, 0, 0), 64) == 0:
        os._exit(0)
    os.wait()


def _forked() -> None:
    if os.fork() == 0:
        os._exit(0)
    os.wait()


def _executed() -> None:
    os.execv(sys.executable, [sys.executable, "-I", "-S", "-c", ""])  # noqa: S606 - it must not work


def _taken_descriptor(pid: int) -> None:
    os.close(kernel.call(438, kernel.call(434, pid, 0), 0, 0))


def _parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[1])


def _lineage(pid: int) -> Iterator[int]:
    while pid:
        yield pid
        pid = _parent_of(pid)


def _strangers(scene: Scene) -> str:
    """Whoever is neither the parent, nor above it, nor below."""
    above = set(_lineage(scene.parent))
    strangers = []
    for name in (entry.name for entry in Path("/proc").glob("[0-9]*")):
        with suppress(OSError):  # it has ended meanwhile
            if int(name) not in above and scene.parent not in _lineage(int(name)):
                strangers.append(name)
    return nothing_in(strangers)


def _of_parent(scene: Scene, *names: str) -> dict[str, Way]:
    """What /proc has of the parent."""
    return {f"/proc/{name}": partial(opened, f"/proc/{scene.parent}/{name}") for name in names}


PROCESSES: Final = (
    Attempt(
        "parents_memory",
        lambda scene: {
            "ptrace": lambda: kernel.call(101, _PTRACE_SEIZE, scene.parent, 0, 0),
            "process_vm_readv": lambda: kernel.call(310, scene.parent, _ANY_MEMORY, 1, _ANY_MEMORY, 1, 0),
            "process_vm_writev": lambda: kernel.call(311, scene.parent, _ANY_MEMORY, 1, _ANY_MEMORY, 1, 0),
            "pidfd_getfd": lambda: _taken_descriptor(scene.parent),
            **_of_parent(scene, "mem"),
        },
    ),
    Attempt("parents_layout", lambda scene: _of_parent(scene, "maps", "auxv", "environ", "fd/0", "root/")),
    Attempt(
        "signals",
        lambda scene: {
            "to the parent": lambda: os.kill(scene.parent, 0),
            "to one of its threads": lambda: kernel.call(234, scene.parent, scene.parent, 0),
            "to all": lambda: os.kill(-1, 0),
            "to its group": lambda: os.kill(0, 0),
            "its limits": lambda: resource.prlimit(scene.parent, resource.RLIMIT_NOFILE),
        },
    ),
    Attempt("other_processes", lambda scene: {"processes": lambda: _strangers(scene)}),
    Attempt("processes", lambda _: {"fork": _forked, "clone": lambda: cloned(0), "clone3": lambda: cloned_anew(0)}),
    Attempt("programs", lambda _: {"execve": _executed}),
)
