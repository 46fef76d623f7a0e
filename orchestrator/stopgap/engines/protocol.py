"""What every engine can do; knows none of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from stopgap.containment import ContainerSpec
from stopgap.image_store import ImageStore

__all__ = ["Engine", "EngineLimits", "Observed", "State"]


class State(Enum):
    """A container's life, as an engine sees it."""

    CREATED = "created"
    RUNNING = "running"
    RESTARTING = "restarting"
    EXITED = "exited"


@dataclass(frozen=True)
class EngineLimits:
    """What the engine's machine is and has.

    Attributes:
        machine: Its architecture, as `uname -m` says it.
        system: Its operating system: `linux`.
        shares_host_network: Whether a container on the host's network is on this machine's own.
    """

    cpus: int
    memory_mib: int
    machine: str
    system: str
    shares_host_network: bool


@dataclass(frozen=True)
class Observed:
    """A container as it is now.

    Attributes:
        exit_code: Of its last end; None while it has not ended.
        out_of_memory: Whether it was the memory limit that ended it.
    """

    state: State
    exit_code: int | None
    out_of_memory: bool
    labels: Mapping[str, str]

    @property
    def ended(self) -> bool:
        return self.state is State.EXITED


class Engine(ImageStore, Protocol):
    """Starts, watches and ends containers by name. Every method raises EngineError where the engine fails it."""

    @property
    def name(self) -> str: ...

    @property
    def isolation(self) -> str:
        """How hard the wall is: `runc`."""

    def limits(self) -> EngineLimits: ...

    def start(self, spec: ContainerSpec) -> None:
        """Creates and starts a container that is not brought back when it ends; leaves none where it fails."""

    def keep(self, container: str) -> None:
        """From now on the container is brought back whenever it ends, also after a reboot."""

    def widen(self, container: str, memory_mib: int) -> None:
        """Raises its memory limit to that; never lowers it, since what is in use cannot be taken back."""

    def stop(self, container: str, timeout_s: int) -> None:
        """Asks it to end (SIGTERM) and insists (SIGKILL) after `timeout_s`; one that is gone already is fine."""

    def remove(self, container: str) -> bool:
        """Ends and removes it; False where there was none."""

    def labelled(self, labels: Mapping[str, str]) -> tuple[Mapping[str, str], ...]:
        """All labels of each container that carries these, running or not."""

    def observe(self, container: str) -> Observed | None:
        """None where there is none."""

    def logs(self, container: str, tail: int) -> tuple[str, ...]:
        """The last `tail` lines, oldest first: hostile. None where there is no container."""

    def follow(self, container: str, tail: int) -> Iterator[str]:
        """The last `tail` lines and then each new one, until the container ends."""

    def memory_mib(self, container: str) -> float | None:
        """What it uses now, without the page cache; None where it does not run."""
