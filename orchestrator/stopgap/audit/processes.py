"""The processes of a sandbox as this machine's kernel tells of them: /proc, read from outside."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from stopgap.engines.processes import everyone, family, process

__all__ = ["Family", "ProcessSeen", "family_of"]

PROC = Path("/proc")
ENDED = ("Z", "X")
GONE = (FileNotFoundError, ProcessLookupError)


@dataclass(frozen=True)
class ProcessSeen:
    """One process.

    Attributes:
        status: The fields of its status, `Seccomp` and `Seccomp_filters` being the least of all its threads'.
        dumpable: Whether another process of its user could read its memory.
        limits: By the kernel's names: `Max open files` → soft and hard.
        age_s: Since it was forked; that it has become another program since changes nothing.
    """

    pid: int
    status: Mapping[str, str]
    dumpable: bool
    limits: Mapping[str, tuple[str, str]]
    age_s: float

    def is_without(self, *fields: str) -> bool:
        """Whether these sets of capabilities are empty."""
        return all(int(self.status[field], 16) == 0 for field in fields)


@dataclass(frozen=True)
class Family:
    """All of a sandbox.

    Attributes:
        first: The pid of its first process.
        all_inside: Every process of it, the first one among them, but for those that had ended.
        parent: The runtime's.
        workers: The parent's children, but for those that had ended.
        oom_score: The parent's.
        terminal: Whether the parent has one.
        namespaces: Those of the first process that are not this process's own; None where we may not look.
        mounts: What the first process has mounted, by where: its options, and those of its file system.
    """

    first: int
    all_inside: tuple[ProcessSeen, ...]
    parent: ProcessSeen
    workers: tuple[ProcessSeen, ...]
    oom_score: int
    terminal: bool
    namespaces: frozenset[str] | None
    mounts: Mapping[str, frozenset[str]] | None

    @property
    def everybody(self) -> tuple[ProcessSeen, ...]:
        return self.parent, *self.workers

    def without_younger(self, age_s: float) -> Family:
        """The same without the workers that are younger."""
        return replace(self, workers=tuple(each for each in self.workers if each.age_s >= age_s))


def family_of(first: int, *, begins_with_runtime: bool) -> Family | None:
    """None where it has ended meanwhile.

    Args:
        first: The pid of the sandbox's first process.
        begins_with_runtime: Whether that is the runtime's parent; else its only child is.
    """
    try:
        parent = first if begins_with_runtime else children_of(first)[0]
        return Family(
            first,
            all_inside=tuple(each for each in map(seen_alive, sorted(family(first))) if each),
            parent=seen(parent),
            workers=tuple(each for each in map(seen_alive, children_of(parent)) if each),
            oom_score=int((PROC / str(parent) / "oom_score_adj").read_text(encoding="ascii")),
            terminal=terminal_of(parent) != 0,
            namespaces=namespaces_of(first),
            mounts=mounts_of(first),
        )
    except (OSError, LookupError, ValueError):
        return None


def children_of(pid: int) -> list[int]:
    return [each.pid for each in everyone() if each.parent == pid]


def seen_alive(pid: int) -> ProcessSeen | None:
    """None where it has ended: it may be gone at any moment, and can do nothing any more."""
    try:
        return seen(pid)
    except (OSError, LookupError, ValueError):
        if not has_ended(pid):
            raise
        return None


def has_ended(pid: int) -> bool:
    try:
        return not statuses_of(pid)
    except GONE:
        return True


def statuses_of(pid: int) -> list[Mapping[str, str]]:
    """Of each of its threads that has not ended."""
    found = map(status_of, (PROC / str(pid) / "task").iterdir())
    return [each for each in found if each and each["State"][0] not in ENDED]


def status_of(task: Path) -> Mapping[str, str] | None:
    try:
        return fields(task / "status")
    except GONE:
        return None


def seen(pid: int) -> ProcessSeen:
    """
    Raises:
        OSError, LookupError, ValueError: It has ended, or may not be looked at.
    """
    folder = PROC / str(pid)
    statuses = statuses_of(pid)
    if not statuses:
        raise ProcessLookupError(pid)
    least = {name: min((each.get(name, "0") for each in statuses), key=int) for name in ("Seccomp", "Seccomp_filters")}
    status = {**fields(folder / "status"), **least}
    return ProcessSeen(
        pid,
        status,
        dumpable=str((folder / "mem").stat().st_uid) == status["Uid"].split()[1],
        limits=dict(limits_of(folder / "limits")),
        age_s=age_of(pid),
    )


def age_of(pid: int) -> float:
    found = process(pid)
    if found is None:
        raise ProcessLookupError(pid)
    return time.clock_gettime(time.CLOCK_BOOTTIME) - found.born / os.sysconf("SC_CLK_TCK")


def fields(file: Path) -> dict[str, str]:
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def limits_of(file: Path) -> Iterator[tuple[str, tuple[str, str]]]:
    """`Max open files            400                  400                  files`."""
    for line in file.read_text(encoding="ascii").splitlines()[1:]:
        soft, hard = line[26:].split()[:2]
        yield line[:26].strip(), (soft, hard)


def terminal_of(pid: int) -> int:
    return int((PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[4])


def namespaces_of(pid: int) -> frozenset[str] | None:
    try:
        return frozenset(
            each.name
            for each in (PROC / str(pid) / "ns").iterdir()
            if not each.name.endswith("_for_children") and each.readlink() != (PROC / "self/ns" / each.name).readlink()
        )
    except OSError:
        return None


def mounts_of(pid: int) -> Mapping[str, frozenset[str]] | None:
    try:
        lines = (PROC / str(pid) / "mountinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    found = {}
    for line in lines:
        before, _, after = line.partition(" - ")
        found[before.split(" ")[4]] = frozenset([*before.split(" ")[5].split(","), *after.split(" ")[2].split(",")])
    return found
