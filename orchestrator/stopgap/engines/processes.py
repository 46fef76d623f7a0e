"""What /proc says of processes, and ending them without meaning another that has the pid by now.

Few imports: every monitor has this in memory.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

__all__ = [
    "Process",
    "boot_id",
    "end",
    "end_session",
    "everyone",
    "family",
    "is_gone",
    "opened",
    "process",
    "resident_mib",
]

PROC = Path("/proc")
ENDED = "Z"
END_TIMEOUT_MS = 5000
ENOUGH_LOOKS = 2


class Process(NamedTuple):
    """A process; `born`, in clock ticks since the machine started, tells it from a later one with the same pid."""

    pid: int
    state: str
    parent: int
    session: int
    born: int


def boot_id() -> str:
    """A word that is another one each time the machine has been started."""
    return (PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def process(pid: int) -> Process | None:
    """None where there is none of that pid."""
    try:
        text = (PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()  # the name before it may hold anything
    return Process(pid, state=fields[0], parent=int(fields[1]), session=int(fields[3]), born=int(fields[19]))


def everyone() -> Iterator[Process]:
    """All processes that there are, and that /proc shows to us."""
    for folder in PROC.glob("[0-9]*"):
        found = process(int(folder.name))
        if found:
            yield found


def family(pid: int) -> set[int]:
    """A process and all that descend from it."""
    members, everybody = {pid}, tuple(everyone())
    grown = True
    while grown:
        children = {each.pid for each in everybody if each.parent in members}
        grown = not children <= members
        members |= children
    return members


def resident_mib(pid: int) -> float:
    """What it uses, a page of several shared between them; 0 where it is gone or may not be looked at."""
    try:
        with (PROC / str(pid) / "smaps_rollup").open(encoding="ascii") as lines:
            return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024
    except (OSError, StopIteration):
        return 0.0


def is_gone(pid: int) -> bool:
    """Whether nothing runs under that pid: what has ended may wait to be reaped."""
    found = process(pid)
    return found is None or found.state == ENDED


def opened(pid: int, born: int) -> int | None:
    """A descriptor of the process that has that pid and was born then; None where that one is gone."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return None
    found = process(pid)
    if found and found.born == born:
        return descriptor
    os.close(descriptor)
    return None


def end(pid: int, born: int) -> None:
    """SIGKILL to the process that has that pid and was born then, and to no other; waits until it has ended."""
    descriptor = opened(pid, born)
    if descriptor is None:
        return
    try:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        poll.poll(END_TIMEOUT_MS)
    finally:
        os.close(descriptor)


def end_session(session: int, marks: Collection[bytes]) -> None:
    """Ends those of a session whose command line has one of the marks, but for the session's leader.

    The marks are there because a session goes by its leader's pid, which others may have had since.

    It looks again until it has found nobody twice: whoever ended while it looked may have had a child just before.
    """
    looks_in_vain = 0
    while looks_in_vain < ENOUGH_LOOKS:
        members = [each for each in everyone() if each.session == session and is_marked(each, marks)]
        for each in members:
            end(each.pid, each.born)
        looks_in_vain = 0 if members else looks_in_vain + 1


def is_marked(found: Process, marks: Collection[bytes]) -> bool:
    if found.pid == found.session or found.state == ENDED:
        return False
    try:
        words = (PROC / str(found.pid) / "cmdline").read_bytes()
    except OSError:
        return False
    return not words or any(mark in words for mark in marks)  # none: it is becoming another program at this moment
