"""What every engine can do; knows none of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol

from stopgap.bundles import Bundle
from stopgap.containment.specs import ContainerSpec
from stopgap.fingerprints import Fingerprint
from stopgap.models import SANDBOX, Reader
from stopgap.progress import Progress

__all__ = ["Engine", "EngineLimits", "Inspected", "Observed", "State"]


class State(Enum):
    """A container's life, as an engine sees it."""

    CREATED = "created"
    RUNNING = "running"
    RESTARTING = "restarting"
    EXITED = "exited"
    LOST = "lost"  # what kept it has died, and it with that; nobody has told it to end
    HALTED = "halted"  # it ended with the machine, which has been started again since


@dataclass(frozen=True)
class EngineLimits:
    """What the engine's machine is and has.

    Attributes:
        machine: Its architecture, as `uname -m` says it.
        system: Its operating system: `linux`.
        reader: As whom a sandbox reads the model.
        shares_host_network: Whether a container on the host's network is on this machine's own.
    """

    cpus: int
    memory_mib: int
    machine: str
    system: str
    shares_host_network: bool
    reader: Reader = SANDBOX


@dataclass(frozen=True)
class Observed:
    """A container as it is now.

    Attributes:
        exit_code: Of its last end; None while it has not ended.
        out_of_memory: Whether it was the memory limit that ended it.
        limits_by: What holds its limits in this life, where the engine can tell; else empty.
        restarts: How often it has been brought back by its engine, where that counts.
        detail: What is to be known beyond the state, for a person: "down since the machine started again".
    """

    state: State
    exit_code: int | None
    out_of_memory: bool
    labels: Mapping[str, str]
    limits_by: str = ""
    restarts: int = 0
    detail: str = ""

    @property
    def ended(self) -> bool:
        return self.state in (State.EXITED, State.LOST, State.HALTED)


@dataclass(frozen=True)
class Inspected:
    """What holds a container now, as it is told from outside, where nobody inside can forge it.

    Attributes:
        told: In the engine's own words.
        pid: This machine's of its first process; None where it has none that this machine knows.
    """

    told: Mapping[str, Any]
    pid: int | None


class Engine(Protocol):
    """Starts, watches and ends containers by name. Every method raises EngineError where the engine fails it."""

    @property
    def name(self) -> str: ...

    @property
    def isolation(self) -> str:
        """How hard its own wall is: `runc`."""

    def isolated(self, wanted: str) -> str:
        """The wall that a sandbox gets which asks for that one; empty asks for the engine's own.

        Raises:
            EngineError: The engine has no such wall here.
        """

    @property
    def limits_by(self) -> str:
        """What holds the limits of memory, tasks and processors: `cgroup v2`."""

    def limits(self) -> EngineLimits: ...

    def prepare(self, kind: str, bundle: Bundle | None, say: Callable[[str], None], progress: Progress) -> str:
        """What containers of that kind ("legacy", "modern", "front") are made from, made first where it is missing.

        What deserves a line of its own goes to `say`. The front takes no bundle. The answer is a spec's `image`.

        Raises:
            ImageError: It could not be made; nothing is left behind.
        """

    def read(self, image: str, paths: Sequence[str]) -> dict[str, bytes]:
        """Those of these files, by their paths inside a container, that are in what `prepare` has made; no links."""

    def identity(self, image: str) -> str:
        """What that name stands for now: changes when anything in it does; empty where there is nothing."""

    def made_of(self, container: str) -> str:
        """What a container was made from, as `identity` and `fingerprint` take it."""

    def fingerprint(self, image: str, progress: Progress) -> Fingerprint:
        """All that is in it, as it was written down when it was made or first asked for: to be compared with later.

        Raises:
            ImageError: It was written down nowhere, and cannot be measured.
        """

    def measure(self, container: str, known: Fingerprint, progress: Progress) -> Fingerprint | None:
        """What a container is made of, each file read anew; None where there is no such container.

        What is known of it decides which of the host's files are looked at, where it sees those.
        """

    def start(self, spec: ContainerSpec) -> None:
        """Creates and starts a container; leaves none where it fails.

        It is not brought back when it ends before `keep`, unless that cannot be changed later: then `restarts` tells.
        """

    def keep(self, container: str) -> None:
        """From now on it is brought back when it ends, or has just ended; where the engine can, after a reboot too."""

    def resume(self, container: str) -> bool:
        """Starts a container again that ended, or was lost, without having been told to; False where there is none."""

    def widen(self, container: str, memory_mib: int) -> None:
        """Raises its memory limit to that; never lowers it, since what is in use cannot be taken back."""

    def stop(self, container: str, timeout_s: int) -> None:
        """Asks it to end (SIGTERM) and insists (SIGKILL) after `timeout_s`; one that is gone already is fine."""

    def remove(self, container: str) -> bool:
        """Ends and removes it, and what a start that was broken off has left of it; False where there was none."""

    def labelled(self, labels: Mapping[str, str]) -> tuple[Mapping[str, str], ...]:
        """All labels of each container that carries these, running or not."""

    def observe(self, container: str) -> Observed | None:
        """None where there is none."""

    def inspect(self, container: str) -> Inspected:
        """
        Raises:
            EngineError: There is no such container.
        """

    def logs(self, container: str, tail: int) -> tuple[str, ...]:
        """The last `tail` lines, oldest first: hostile. None where there is no container."""

    def follow(self, container: str, tail: int) -> Iterator[str]:
        """The last `tail` lines and then each new one, until the container ends."""

    def memory_mib(self, container: str) -> float | None:
        """What it uses now, without the page cache; None where it does not run."""
