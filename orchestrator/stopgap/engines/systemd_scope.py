"""What holds a container's limits for a user without rights: a scope of that user's own systemd.

Few imports: every monitor has this in memory.
"""

from __future__ import annotations

import os
from pathlib import Path

from stopgap.engines.cgroups import Hierarchy, Limits, Mechanism, counter, emptied, held_in, in_use_mib, version_2

__all__ = ["SCOPE", "Scope", "scope_words"]

SCOPE = "systemd scope"


class Scope(Mechanism):
    """A control group that systemd makes at each start, and takes away when nothing is left in it.

    Affinity comes on top: not every systemd hands the processors' controller down to its users.
    """

    name = SCOPE
    is_group = True

    def __init__(self, group: str, trees: tuple[Hierarchy, ...], place: str = "") -> None:
        super().__init__(group)
        self._tree = version_2(trees) or Path("/nonexistent")
        self._place = place

    @property
    def place(self) -> str:
        return self._place

    def words(self, limits: Limits) -> tuple[str, ...]:
        """A scope of a name of its own for each start: the last one's may not be gone yet."""
        return (*scope_words(limits), f"--unit={self.group}-{os.getpid()}", "--")

    def entered(self, pid: int) -> None:
        lines = Path(f"/proc/{pid}/cgroup").read_text(encoding="utf-8", errors="replace").splitlines()
        self._place = next((line[len("0::") :] for line in lines if line.startswith("0::")), "")

    def widen(self, memory_mib: int) -> None:
        unit = Path(self._place).name
        command = ["systemctl", "--user", "set-property", "--runtime", unit, f"MemoryMax={memory_mib}M"]
        code = os.spawnvp(os.P_WAIT, command[0], command)  # noqa: S606 - `subprocess` would double what a monitor holds
        if code:
            raise OSError(f"{' '.join(command)}: exit code {code}")

    def memory_mib(self) -> float | None:
        return in_use_mib(self._folder / "memory.current", self._folder / "memory.stat", "inactive_file")

    def held(self) -> dict[str, float]:
        return held_in(self._folder)

    def kills(self) -> int:
        return counter(self._folder / "memory.events", "oom_kill")

    def remove(self) -> bool:
        return emptied(self._folder)

    @property
    def _folder(self) -> Path:
        return self._tree / self._place.lstrip("/") if self._place else Path("/nonexistent")


def scope_words(limits: Limits) -> tuple[str, ...]:
    """What begins a command that is to run in a scope with these limits; it keeps its pid and its descriptors."""
    properties = {"MemoryMax": f"{limits.memory_mib}M", "MemorySwapMax": "0", "TasksMax": str(limits.tasks)}
    if limits.cpus:
        properties["CPUQuota"] = f"{max(1, round(limits.cpus * 100))}%"
    told = (f"--property={name}={value}" for name, value in properties.items())
    return ("systemd-run", "--user", "--scope", "--quiet", "--collect", *told)
