"""The bubblewrap engine: containers without a daemon, each with a monitor and a folder of its own.

<state>/bubblewrap/<container>/    container.json, status.json, keep, monitor.lock, log, log.1

A container exists while its folder does, and runs while its monitor holds the lock.
"""

from __future__ import annotations

import contextlib
import functools
import os
import platform
import resource
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from stopgap import host_files, roots
from stopgap.bundles import Bundle
from stopgap.containment.bubblewrap import Host, arguments
from stopgap.containment.specs import FRONT_PIDS, MIB, ContainerSpec, SandboxSpec
from stopgap.engines.bubblewrap_host import check, find_host, find_mechanism
from stopgap.engines.cgroups import RLIMITS, Limits
from stopgap.engines.container_folder import (
    group_of,
    labels_of,
    make,
    observed,
    set_aside,
    take_away_remains,
    translated,
)
from stopgap.engines.mechanisms import mechanism
from stopgap.engines.monitor import lease, output
from stopgap.engines.monitor.records import (
    CONTAINER,
    KEEP,
    Container,
    Status,
    read_container,
    read_status,
    write_container,
    write_status,
)
from stopgap.engines.monitoring import begin, last_words, stilled
from stopgap.engines.processes import boot_id, family, resident_mib
from stopgap.engines.protocol import EngineLimits, Inspected, Observed, State
from stopgap.errors import EngineError
from stopgap.fingerprints import Fingerprint
from stopgap.interpreter import interpreter
from stopgap.models import SANDBOX, Reader
from stopgap.progress import Progress
from stopgap.undo import Undo

__all__ = ["BubblewrapEngine", "connect"]

KEEP_TIMEOUT_S = 5.0
LOOK_EVERY_S = 0.01
UNLIMITED = "unlimited"


def connect(state: Path) -> BubblewrapEngine:
    """The engine for the containers of that state folder.

    Raises:
        EngineError: bubblewrap does not work here; says how to mend it.
    """
    engine = BubblewrapEngine(state)
    check(engine.host)
    return engine


class BubblewrapEngine:
    """bubblewrap, behind the Engine protocol. What runs already can be ended also where nothing could be started."""

    name = "bubblewrap"
    isolation = "bubblewrap"

    def __init__(self, state: Path) -> None:
        self._containers = state.absolute() / "bubblewrap"

    @functools.cached_property
    def host(self) -> Host:
        """What this machine offers."""
        return find_host()

    def isolated(self, wanted: str) -> str:
        if wanted in ("", self.isolation):
            return self.isolation
        raise EngineError(f"bubblewrap has no isolation {wanted}.", "Docker has: --engine docker")

    @functools.cached_property
    def limits_by(self) -> str:
        return find_mechanism(self.host)

    def limits(self) -> EngineLimits:
        return EngineLimits(
            cpus=len(os.sched_getaffinity(0)),
            memory_mib=os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // MIB,
            machine=platform.machine(),
            system=platform.system().lower(),
            shares_host_network=True,
            reader=SANDBOX if os.geteuid() == 0 else Reader(os.geteuid(), frozenset({os.getegid(), *os.getgroups()})),
        )

    def prepare(self, kind: str, bundle: Bundle | None, say: Callable[[str], None], progress: Progress) -> str:
        return str(roots.ensure(kind, bundle, say, progress))

    def read(self, image: str, paths: Sequence[str]) -> dict[str, bytes]:
        """What is not of the root is the host's own."""
        places = {path: roots.place(Path(image), path) or Path(path) for path in paths}
        return {path: place.read_bytes() for path, place in places.items() if place.is_file()}

    def identity(self, image: str) -> str:
        return roots.identity(Path(image))

    def made_of(self, container: str) -> str:
        folder = self._existing(container)
        with translated(folder):
            return read_container(folder).image

    def fingerprint(self, image: str, progress: Progress) -> Fingerprint:
        """Of the host's files, those that are used, as they are now: nobody has written down what they were."""
        progress(f"reading what is in {image}", None)
        root = Path(image)
        used = host_files.used(root, interpreter)
        files = {**roots.promised(root), **host_files.digests((*self._tools(), *used))}
        return Fingerprint(image, roots.identity(root), files)

    def measure(self, container: str, known: Fingerprint, progress: Progress) -> Fingerprint | None:
        folder = self.folder(container)
        if not (folder / CONTAINER).exists():
            return None
        image = self.made_of(container)
        root = Path(image)
        with translated(folder):
            files = {
                **roots.measured(root, lambda done: progress(f"reading what is in {container}", done)),
                **host_files.digests(path for path in known.files if roots.place(root, path) is None),
            }
        return Fingerprint(image, roots.identity(root), files)

    def _tools(self) -> tuple[Path, ...]:
        tools = self.host.tools
        return (tools.bwrap, tools.setpriv, tools.prlimit, tools.shell)

    def start(self, spec: ContainerSpec) -> None:
        folder = self.folder(spec.container)
        container = self.described(spec)
        with translated(folder), Undo() as undo:
            make(folder, container)
            undo.put(f"removing {folder.name}", lambda: self.remove(folder.name))
            roots.hold(Path(spec.image), folder)
            begin(folder, self.limits_by)
            check_walls(folder)

    def keep(self, container: str) -> None:
        """Where it ends at that very moment, its monitor finds the file; or we find that it had looked before."""
        folder = self._existing(container)
        with translated(folder):
            (folder / KEEP).touch()
            deadline = time.monotonic() + KEEP_TIMEOUT_S
            while lease.is_held(folder):
                status = read_status(folder)
                if status is None or status.state != State.EXITED.value:
                    return
                if time.monotonic() > deadline:
                    raise EngineError(f"{container} has ended, but its monitor has not.", last_words(folder))
                time.sleep(LOOK_EVERY_S)
            begin(folder, self.limits_by)

    def resume(self, container: str) -> bool:
        folder = self.folder(container)
        if not (folder / CONTAINER).exists():
            return False
        with translated(folder):
            begin(folder, self.limits_by)
        return True

    def widen(self, container: str, memory_mib: int) -> None:
        folder = self._existing(container)
        with translated(folder):
            known = read_container(folder)
            if known.limits.memory_mib >= memory_mib:
                return
            wider = widened(known, memory_mib)
            write_container(folder, wider)
            status = read_status(folder)
            if status is not None and status.pid is not None:
                mechanism(status.mechanism, known.group, status.place).widen(memory_mib)
                if status.mechanism == RLIMITS:
                    widen_processes(status.pid, wider)

    def stop(self, container: str, timeout_s: int) -> None:
        folder = self.folder(container)
        with translated(folder), contextlib.suppress(FileNotFoundError), stilled(folder, timeout_s):
            status = read_status(folder) or Status(State.EXITED.value, boot_id(), RLIMITS)
            write_status(folder, status._replace(state=State.EXITED.value, pid=None, born=None))

    def remove(self, container: str) -> bool:
        folder = self.folder(container)
        with translated(folder):
            take_away_remains(folder)
            try:
                with stilled(folder, 0):
                    set_aside(folder)
            except FileNotFoundError:  # there was none, or somebody else was faster
                return False
            finally:
                take_away_remains(folder)
        return True

    def labelled(self, labels: Mapping[str, str]) -> tuple[Mapping[str, str], ...]:
        with translated(self._containers):
            found = [labels_of(folder) for folder in sorted(self._containers.glob("[!.]*")) if folder.is_dir()]
        return tuple(each for each in found if labels.items() <= each.items())

    def observe(self, container: str) -> Observed | None:
        folder = self.folder(container)
        with translated(folder):
            if not folder.is_dir():
                return None
            held = lease.is_held(folder)
            status = read_status(folder)
            if not held and lease.is_held(folder):  # it was being started again meanwhile
                return self.observe(container)
            return observed(labels_of(folder), status, held)

    def inspect(self, container: str) -> Inspected:
        folder = self._existing(container)
        status = read_status(folder)
        if status is None or status.pid is None:
            return Inspected({}, None)
        with translated(folder):
            known = read_container(folder)
            held = mechanism(status.mechanism, known.group, status.place).held()
        return Inspected({"limits_by": status.mechanism, **held}, status.pid)

    def logs(self, container: str, tail: int) -> tuple[str, ...]:
        folder = self.folder(container)
        with translated(folder):
            return output.tail(folder, tail)

    def follow(self, container: str, tail: int) -> Iterator[str]:
        folder = self.folder(container)
        with translated(folder):
            yield from output.follow(folder, tail, lambda: lease.is_held(folder))

    def memory_mib(self, container: str) -> float | None:
        folder = self.folder(container)
        status = read_status(folder)
        if status is None or status.pid is None or not lease.is_held(folder):
            return None
        with translated(folder), contextlib.suppress(FileNotFoundError):
            counted = mechanism(status.mechanism, read_container(folder).group, status.place).memory_mib()
            return sum(map(resident_mib, family(status.pid))) if counted is None else counted
        return None

    def folder(self, container: str) -> Path:
        """Where everything about a container is, whether there is one or not."""
        return self._containers / container

    def described(self, spec: ContainerSpec) -> Container:
        """What the monitor of a container made to `spec` is told."""
        sandbox = spec if isinstance(spec, SandboxSpec) else None
        words = arguments(spec, self.host, interpreter() if sandbox else None)
        return Container(
            labels=spec.labels,
            before=words.before,
            rlimits=words.rlimits,
            stand_ins=words.stand_ins,
            program=words.program,
            limits=limits_of(spec),
            group=group_of(self.folder(spec.container)),
            sockets=str(sandbox.sockets) if sandbox else None,
            listeners=sandbox.listeners if sandbox else (),
            grace_s=spec.stop_timeout_s,
            image=spec.image,
            profile=words.profile,
        )

    def _existing(self, container: str) -> Path:
        folder = self.folder(container)
        if not (folder / CONTAINER).exists():
            raise EngineError(f"There is no container {container}.", "Look at what there is: stopgap status")
        return folder


def check_walls(folder: Path) -> None:
    """
    Raises:
        EngineError: bubblewrap could not build them.
    """
    status = read_status(folder)
    if status is None or (status.state == State.EXITED.value and not status.walls_stood):
        why = f": {status.detail}" if status and status.detail else ""
        raise EngineError(f"{folder.name} could not be started{why}.", last_words(folder))


def limits_of(spec: ContainerSpec) -> Limits:
    if isinstance(spec, SandboxSpec):
        return Limits(spec.limits.memory_mib, spec.limits.pids, spec.limits.cpus)
    return Limits(spec.memory_mib, FRONT_PIDS, None)


def widened(container: Container, memory_mib: int) -> Container:
    """A hard limit that there was stays as hard."""
    _, _, hard = container.stand_ins["data"].partition(":")
    wanted = str(memory_mib * MIB)
    return container._replace(
        limits=container.limits._replace(memory_mib=memory_mib),
        stand_ins={**container.stand_ins, "data": f"{wanted}:{hard if hard == UNLIMITED else wanted}"},
    )


def widen_processes(first: int, container: Container) -> None:
    """Where each process has a limit of its own.

    Raises:
        EngineError: It is a hard limit, and we are not root.
    """
    soft, _, hard = container.stand_ins["data"].partition(":")
    limits = (int(soft), resource.RLIM_INFINITY if hard == UNLIMITED else int(hard))
    for pid in family(first):
        with contextlib.suppress(ProcessLookupError):
            try:
                resource.prlimit(pid, resource.RLIMIT_DATA, limits)
            except ValueError as error:
                raise EngineError(
                    f"The memory of process {pid} cannot be widened: {error}.", "Serve it anew."
                ) from error
