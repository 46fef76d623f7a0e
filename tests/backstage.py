"""What runs behind a deployment, seen with other eyes than stopgap's: Docker's own API, and what /proc says."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import time
from pathlib import Path
from typing import Any, Protocol

import docker
import pytest

__all__ = [
    "ENGINES",
    "Backstage",
    "BubblewrapBackstage",
    "api",
    "backstage",
    "children_of",
    "on_bubblewrap",
    "on_docker",
    "workers_of",
]

ENGINES = ("docker", "bubblewrap")

on_docker = pytest.mark.parametrize("engine", [pytest.param("docker", marks=pytest.mark.docker)], indirect=True)
"""Marks a test that has something to say of Docker alone."""

on_bubblewrap = pytest.mark.parametrize(
    "engine", [pytest.param("bubblewrap", marks=pytest.mark.bubblewrap)], indirect=True
)
"""Marks a test that has something to say of bubblewrap alone."""


class Backstage(Protocol):
    """The containers of one state folder."""

    def containers(self) -> list[str]:
        """The names of all, running or not; and what else belongs to them that must not stay: processes, cgroups."""

    def first_process(self, container: str) -> int:
        """The host's pid of the container's program; 0 while there is none."""

    def memory_mib(self, container: str) -> float:
        """What all its processes use, without the file pages that the kernel would drop first."""

    def clear(self) -> None:
        """Ends and removes all of them, without asking stopgap."""


def backstage(engine: str, state: Path) -> Backstage:
    """The view behind the scenes of that engine."""
    return DockerBackstage(state) if engine == "docker" else BubblewrapBackstage(state)


def children_of(pid: int) -> list[int]:
    """The host's pids of a process's living children."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        fields = _stat(process)
        if fields and int(fields[1]) == pid and fields[0] != "Z":
            found.append(int(process.name))
    return sorted(found)


def workers_of(parent: int) -> list[int]:
    """The host's pids of a runtime's workers: its children, but for the retry lane's and observers'."""
    beside = ("worker lane\n", "worker aside\n")
    return [pid for pid in children_of(parent) if Path(f"/proc/{pid}/comm").read_text() not in beside]


def _stat(process: Path) -> list[str]:
    """The fields of /proc/<pid>/stat behind the name, which may hold anything; none once it is gone."""
    try:
        return (process / "stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def _proportional_mib(pid: int) -> float:
    """A process's proportional set size, without what is mapped from files, which the kernel can drop."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    sizes = {line.split()[0]: int(line.split()[1]) for line in lines[1:]}
    return (sizes["Pss_Anon:"] + sizes["Pss_Shmem:"]) / 1024


def api() -> Any:
    """The Docker engine itself."""
    return docker.from_env().api


class DockerBackstage:
    def __init__(self, state: Path) -> None:
        self._state = state

    def containers(self) -> list[str]:
        found = api().containers(all=True, filters={"label": f"stopgap.state={self._state}"})
        return [str(container["Names"][0]).lstrip("/") for container in found]

    def first_process(self, container: str) -> int:
        return int(api().inspect_container(container)["State"]["Pid"])

    def memory_mib(self, container: str) -> float:
        """As `docker stats` has it."""
        statistics = api().stats(container, stream=False)["memory_stats"]
        details = statistics["stats"]
        droppable = details.get("total_inactive_file", details.get("inactive_file", 0))  # cgroup v1 and v2
        return float(statistics["usage"] - droppable) / 2**20

    def clear(self) -> None:
        for container in self.containers():
            api().remove_container(container, force=True)


class BubblewrapBackstage:
    """Its monitors are found by their command lines, which name the container's folder."""

    def __init__(self, state: Path) -> None:
        self._folder = state / "bubblewrap"

    def containers(self) -> list[str]:
        folders = [folder.name for folder in self._folder.glob("*") if folder.is_dir()]
        return folders + [f"process {pid}" for pid in self.monitors()] + [str(group) for group in self._cgroups()]

    def first_process(self, container: str) -> int:
        """Below the monitor and bwrap's own two: the outer one, and the one that is the first inside."""
        family = [pid for pid, folder in self.monitors().items() if folder.name == container]
        for _ in ("the outer bwrap", "the inner bwrap", "the program"):
            family = [child for pid in family for child in children_of(pid)]
        return family[0] if family else 0

    def inner_bwrap(self, container: str) -> int:
        """The host's pid of what is process 1 inside."""
        return int(_stat(Path(f"/proc/{self.first_process(container)}"))[1])

    def memory_mib(self, container: str) -> float:
        """The sum of what is its processes' own; what they share with each other counts in parts."""
        parent = self.first_process(container)
        return sum(_proportional_mib(pid) for pid in (parent, *children_of(parent)))

    def clear(self) -> None:
        for pid in self.monitors():
            os.kill(pid, signal.SIGKILL)

    def lose_monitor(self, container: str) -> None:
        """Kills the container's monitor, and returns when it is gone."""
        (monitor,) = (pid for pid, folder in self.monitors().items() if folder.name == container)
        os.kill(monitor, signal.SIGKILL)
        while monitor in self.monitors():
            time.sleep(0.01)

    def pretend_reboot(self, container: str) -> None:
        """What a container without a monitor has written down becomes that of another boot of this machine."""
        file = self._folder / container / "status.json"
        file.write_text(
            file.read_text().replace(Path("/proc/sys/kernel/random/boot_id").read_text().strip(), "another")
        )

    def monitors(self) -> dict[int, Path]:
        """Each monitor's pid, and the folder of the container that it keeps."""
        found = {}
        for process in Path("/proc").glob("[0-9]*"):
            try:
                words = (process / "cmdline").read_bytes().split(b"\0")
            except (FileNotFoundError, ProcessLookupError):
                continue
            folders = [Path(os.fsdecode(word)) for word in words if os.fsdecode(word).startswith(f"{self._folder}/")]
            if folders and b"stopgap.engines.monitor" in words:
                found[int(process.name)] = folders[0]
        return found

    def _cgroups(self) -> list[Path]:
        with contextlib.suppress(FileNotFoundError):  # one went while we looked
            groups = Path("/sys/fs/cgroup").glob("**/stopgap/*")
            return [group for group in groups if group.is_dir() and self._is_ours(group)]
        return self._cgroups()

    def _is_ours(self, group: Path) -> bool:
        """A group is called after its container, and after where that container's folder is."""
        container, _, place = group.name.rpartition("-")
        return place == hashlib.sha256(os.fsencode(self._folder / container)).hexdigest()[:8]
