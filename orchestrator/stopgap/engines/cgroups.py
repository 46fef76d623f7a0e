"""What holds a container's limits as a whole: control groups of version 1 or 2, by hand. Else affinity, and no more.

Few imports: every monitor has this in memory.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

__all__ = [
    "CGROUP_V1",
    "CGROUP_V2",
    "PARENT",
    "RLIMITS",
    "CgroupV1",
    "CgroupV2",
    "Hierarchy",
    "Limits",
    "Mechanism",
    "held_in",
    "hierarchies",
    "version_2",
]

CGROUP_V2 = "cgroup v2"
CGROUP_V1 = "cgroup v1"
RLIMITS = "rlimits"

PARENT = "stopgap"  # the group above all of ours
TASKS = "cgroup.procs"
MYSELF = "0"
MIB = 1 << 20
PERIOD_US = 100_000
SHORTEST_QUOTA_US = 1000  # the kernel refuses less
REMOVAL_TIMEOUT_S = 5.0
LOOK_EVERY_S = 0.01
MAKING_TRIES = 10
MOUNTS = Path("/proc/self/mountinfo")
NOWHERE = Path("/nonexistent")


class Limits(NamedTuple):
    """What a container as a whole may use; with `cpus` None it may use all."""

    memory_mib: int
    tasks: int
    cpus: float | None


class Mechanism:
    """Holds the limits of one container. This one holds the processors alone, and them by affinity.

    Args:
        group: What the container's group is called.
    """

    name = RLIMITS
    is_group = False  # whether it holds memory and tasks of the container as a whole

    def __init__(self, group: str) -> None:
        self.group = group

    @property
    def place(self) -> str:
        """What another process must know to find the same group; may be empty."""
        return ""

    def prepare(self, limits: Limits) -> None:
        """Before the first start.

        Raises:
            OSError: It cannot hold them here.
        """

    def words(self, limits: Limits) -> tuple[str, ...]:  # noqa: ARG002 - others need it
        """What the container's command line begins with."""
        return ()

    def enter(self, limits: Limits) -> None:
        """Called by the process that is about to become the container.

        Raises:
            OSError: It was not let in.
        """
        keep_to_few_cpus(limits.cpus, self.group)

    def entered(self, pid: int) -> None:
        """Once the container's first process, which has that pid, is there."""

    def widen(self, memory_mib: int) -> None:
        """Raises the limit of memory of what runs.

        Raises:
            OSError: It was refused.
        """

    def memory_mib(self) -> float | None:
        """In use, without what the kernel can drop at once; None where nobody counts it."""
        return None

    def held(self) -> dict[str, float]:
        """The limits as the kernel has them now, where it has them: `memory`, `memory and swap`, `tasks`, `cpus`."""
        return {}

    def kills(self) -> int:
        """How many processes the limit of memory has cost so far."""
        return 0

    def remove(self) -> bool:
        """Ends whatever is still in it and takes it away; False where something lingers."""
        return True


class Hierarchy(NamedTuple):
    """A mounted tree of control groups; version 2 has all its controllers in one, and names none."""

    path: Path
    controllers: frozenset[str]


def hierarchies(mounts: Path = MOUNTS) -> Iterator[Hierarchy]:
    """All that are mounted, by what /proc/self/mountinfo says."""
    for line in mounts.read_text(encoding="utf-8", errors="replace").splitlines():
        fields, _, source = line.partition(" - ")
        kind, _, options = source.split(" ", 2)
        if kind in ("cgroup", "cgroup2"):
            named = options.split(",") if kind == "cgroup" else ()
            yield Hierarchy(Path(fields.split(" ")[4].replace("\\040", " ")), frozenset(named))


def version_2(trees: tuple[Hierarchy, ...]) -> Path | None:
    """Where it is mounted, as the only tree or beside those of version 1."""
    return next((tree.path for tree in trees if not tree.controllers), None)


class CgroupV1(Mechanism):
    """A tree for each controller, so a group in each."""

    name = CGROUP_V1
    is_group = True

    def __init__(self, group: str, trees: tuple[Hierarchy, ...]) -> None:
        super().__init__(group)
        self._folders: dict[str, Path] = {
            controller: tree.path / PARENT / group
            for tree in trees
            for controller in ("memory", "pids", "cpu")
            if controller in tree.controllers
        }

    def prepare(self, limits: Limits) -> None:
        for folder in self._folders.values():
            make(folder)
        self.widen(limits.memory_mib)
        write(self._folder("pids") / "pids.max", limits.tasks)
        if limits.cpus and self._holds_cpus():
            write(self._folder("cpu") / "cpu.cfs_period_us", PERIOD_US)
            write(self._folder("cpu") / "cpu.cfs_quota_us", quota_us(limits.cpus))

    def enter(self, limits: Limits) -> None:
        for folder in self._folders.values():
            write(folder / TASKS, MYSELF)
        if not self._holds_cpus():
            super().enter(limits)

    def widen(self, memory_mib: int) -> None:
        """Memory alone must stay below memory and swap: so it goes first where it falls, and last where it rises."""
        memory, wanted = self._folder("memory"), memory_mib * MIB
        with contextlib.suppress(OSError):
            write(memory / "memory.limit_in_bytes", wanted)
        with contextlib.suppress(FileNotFoundError):  # a kernel that does not count swap
            write(memory / "memory.memsw.limit_in_bytes", wanted)
        write(memory / "memory.limit_in_bytes", wanted)

    def memory_mib(self) -> float | None:
        memory = self._folder("memory")
        return in_use_mib(memory / "memory.usage_in_bytes", memory / "memory.stat", "total_inactive_file")

    def held(self) -> dict[str, float]:
        memory, cpu = self._folder("memory"), self._folder("cpu")
        files = {
            "memory": memory / "memory.limit_in_bytes",
            "memory and swap": memory / "memory.memsw.limit_in_bytes",
            "tasks": self._folder("pids") / "pids.max",
        }
        quota, period = numbers(cpu / "cpu.cfs_quota_us"), numbers(cpu / "cpu.cfs_period_us")
        cpus = {"cpus": quota[0] / period[0]} if quota and period and quota[0] > 0 else {}
        return {**{what: found[0] for what, file in files.items() if (found := numbers(file))}, **cpus}

    def kills(self) -> int:
        return counter(self._folder("memory") / "memory.oom_control", "oom_kill")

    def remove(self) -> bool:
        gone = [removed(folder) for folder in self._folders.values()]  # all of them, also where one is not
        return all(gone)

    def _folder(self, controller: str) -> Path:
        return self._folders.get(controller, NOWHERE)

    def _holds_cpus(self) -> bool:
        return (self._folder("cpu") / "cpu.cfs_quota_us").exists()


class CgroupV2(Mechanism):
    """One tree, one group."""

    name = CGROUP_V2
    is_group = True

    def __init__(self, group: str, trees: tuple[Hierarchy, ...]) -> None:
        super().__init__(group)
        self._tree = version_2(trees) or NOWHERE
        self._folder = self._tree / PARENT / group

    def prepare(self, limits: Limits) -> None:
        hand_down(self._tree)
        make(self._folder, hand_down)
        self.widen(limits.memory_mib)
        write(self._folder / "pids.max", limits.tasks)
        if limits.cpus and self._holds_cpus():
            write(self._folder / "cpu.max", f"{quota_us(limits.cpus)} {PERIOD_US}")

    def enter(self, limits: Limits) -> None:
        write(self._folder / TASKS, MYSELF)
        if not self._holds_cpus():
            super().enter(limits)

    def widen(self, memory_mib: int) -> None:
        write(self._folder / "memory.max", memory_mib * MIB)
        with contextlib.suppress(FileNotFoundError):  # a kernel that does not count swap
            write(self._folder / "memory.swap.max", 0)

    def memory_mib(self) -> float | None:
        return in_use_mib(self._folder / "memory.current", self._folder / "memory.stat", "inactive_file")

    def held(self) -> dict[str, float]:
        return held_in(self._folder)

    def kills(self) -> int:
        return counter(self._folder / "memory.events", "oom_kill")

    def remove(self) -> bool:
        return removed(self._folder)

    def _holds_cpus(self) -> bool:
        return (self._folder / "cpu.max").exists()


def held_in(folder: Path) -> dict[str, float]:
    """A group of version 2, which counts swap apart from memory."""
    memory, swap = numbers(folder / "memory.max"), numbers(folder / "memory.swap.max")
    tasks, cpus = numbers(folder / "pids.max"), numbers(folder / "cpu.max")
    return {
        **({"memory": memory[0]} if memory else {}),
        **({"memory and swap": memory[0] + swap[0]} if memory and swap else {}),
        **({"tasks": tasks[0]} if tasks else {}),
        **({"cpus": cpus[0] / cpus[1]} if len(cpus) == 2 else {}),
    }


def numbers(file: Path) -> list[int]:
    """Those in a file; none where it says `max`, or is not there."""
    try:
        words = file.read_text(encoding="ascii").split()
    except OSError:
        return []
    return [] if "max" in words else [int(word) for word in words]


def quota_us(cpus: float) -> int:
    """Of processor time in each period."""
    return max(SHORTEST_QUOTA_US, round(cpus * PERIOD_US))


def keep_to_few_cpus(cpus: float | None, group: str) -> None:
    """Binds this process to as many processors as it may use; which these are differs from container to container."""
    if cpus is None:
        return
    allowed = sorted(os.sched_getaffinity(0))
    first = sum(group.encode()) % len(allowed)
    os.sched_setaffinity(0, (allowed[first:] + allowed[:first])[: math.ceil(cpus)])


def make(folder: Path, prepare_parent: Callable[[Path], None] | None = None) -> None:
    """Makes a group, and the one above it, which may be taken away meanwhile by whoever was the last to use it."""
    for _ in range(MAKING_TRIES):
        folder.parent.mkdir(exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            if prepare_parent:
                prepare_parent(folder.parent)
            folder.mkdir(exist_ok=True)
            return
    raise FileNotFoundError(f"{folder.parent} is taken away each time that it is made")


def hand_down(folder: Path) -> None:
    """Lets the groups below a group of version 2 have limits of their own, each controller that there is."""
    for controller in (folder / "cgroup.controllers").read_text(encoding="ascii").split():
        if controller in ("memory", "pids", "cpu"):
            write(folder / "cgroup.subtree_control", f"+{controller}")


def removed(folder: Path) -> bool:
    """Takes a group away with all that runs in it; and the one above, where it was the last."""
    if not emptied(folder):
        return False
    deadline = time.monotonic() + REMOVAL_TIMEOUT_S
    while folder.exists():
        with contextlib.suppress(OSError):  # the last task has ended, but the kernel still counts it
            folder.rmdir()
            break
        if time.monotonic() > deadline:
            return False
        time.sleep(LOOK_EVERY_S)
    with contextlib.suppress(OSError):  # others are in it
        folder.parent.rmdir()
    return True


def emptied(folder: Path) -> bool:
    """Ends whatever runs in a group."""
    deadline = time.monotonic() + REMOVAL_TIMEOUT_S
    while tasks := tasks_of(folder):
        for pid in tasks:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            return False
        time.sleep(LOOK_EVERY_S)
    return True


def tasks_of(folder: Path) -> tuple[int, ...]:
    """Without those that we cannot name, which are in another pid namespace: the kernel calls them 0."""
    try:
        found = (folder / TASKS).read_text(encoding="ascii").split()
    except OSError:  # it is gone
        return ()
    return tuple(int(pid) for pid in found if int(pid) > 0)


def in_use_mib(usage: Path, statistics: Path, droppable: str) -> float | None:
    try:
        used = int(usage.read_text(encoding="ascii"))
    except OSError:
        return None
    return max(0, used - counter(statistics, droppable)) / MIB


def counter(file: Path, name: str) -> int:
    """The number behind that name in a file of names and numbers; 0 where it is not there."""
    try:
        lines = file.read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(f"{name} ")), 0)


def write(file: Path, value: int | str) -> None:
    """Never makes the file: what the kernel does not offer is missing."""
    descriptor = os.open(file, os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC)
    try:
        os.write(descriptor, str(value).encode())
    finally:
        os.close(descriptor)
