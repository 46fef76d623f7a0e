"""Containers around a few lines of Python, for tests of what keeps a container and not of what runs in it."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from stopgap.containment.bubblewrap import Mount, prefix_mounts, prelude, sandbox_profile, walls
from stopgap.engines.bubblewrap import BubblewrapEngine
from stopgap.engines.cgroups import Limits
from stopgap.engines.container_folder import group_of, make
from stopgap.engines.monitor import lease
from stopgap.engines.monitor.records import Container, Status, read_status
from stopgap.engines.monitoring import begin
from stopgap.engines.processes import everyone, is_gone
from stopgap.engines.protocol import Observed, State
from stopgap.interpreter import interpreter
from stopgap.models import SANDBOX_UID

__all__ = ["ANSWERS", "FOREVER", "Small", "child_of", "until"]

FOREVER = "import time\nwhile True: time.sleep(60)"

# Answers each caller with its own pid as the host sees nothing of it: a word that is another one in each life.
ANSWERS = """
import os, socket, sys, time
born = str(time.time_ns())
listener = socket.socket(fileno=6)
os.write(4, b'{"workers": 1}')
os.close(4)
while True:
    caller, _ = listener.accept()
    caller.sendall(born.encode())
    caller.close()
"""


def until(condition: Callable[[], object], timeout_s: float = 10.0) -> None:
    """Waits until it holds; fails the test where it never does."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"not within {timeout_s} s")
        time.sleep(0.005)


class Small:
    """One container of an engine's."""

    def __init__(self, state: Path, name: str = "stopgap-small") -> None:
        self.name = name
        self.engine = BubblewrapEngine(state)
        self.folder = state / "bubblewrap" / name
        self.group = group_of(self.folder)
        self.sockets = state / "sockets"
        self.sockets.mkdir(parents=True, exist_ok=True)
        self.token = f"token-{os.getpid()}-{time.time_ns()}"

    def described(
        self,
        code: str,
        *,
        grace_s: float = 3.0,
        limits: Limits | None = None,
        mounts: tuple[Mount, ...] = (),
    ) -> Container:
        """What its monitor is told; every process of it has the token in its command line."""
        python, host = interpreter(), self.engine.host
        all_mounts = [*prefix_mounts(python), *mounts]
        limits = limits or Limits(memory_mib=256, tasks=64, cpus=None)
        return Container(
            labels={"stopgap.role": "sandbox", "stopgap.name": self.name, "stopgap.state": str(self.folder.parents[1])},
            before=(*walls(host, SANDBOX_UID, "small", all_mounts, tmp_mib=4), *prelude(host, SANDBOX_UID)),
            rlimits={"nofile": "64:64", "core": "0:0"},
            stand_ins={"data": f"{limits.memory_mib << 20}:unlimited", "nproc": f"{limits.tasks}:{limits.tasks}"},
            program=(str(python.executable), "-I", "-c", code, self.token),
            limits=limits,
            group=self.group,
            sockets=str(self.sockets),
            listeners=("worker-0.sock",),
            grace_s=grace_s,
            profile=sandbox_profile(host),
        )

    def start(self, code: str, *, kept: bool = False, grace_s: float = 3.0, limits: Limits | None = None) -> None:
        """Returns when its walls stand, or are known not to."""
        make(self.folder, self.described(code, grace_s=grace_s, limits=limits))
        begin(self.folder, self.engine.limits_by)
        if kept:
            self.engine.keep(self.name)

    def is_in(self, state: State) -> bool:
        """As the engine sees it now."""
        return self.seen.state is state

    @property
    def seen(self) -> Observed:
        observed = self.engine.observe(self.name)
        assert observed is not None
        return observed

    @property
    def status(self) -> Status:
        status = read_status(self.folder)
        assert status is not None
        return status

    @property
    def first(self) -> int:
        """The host's pid of its first process, with which all others end."""
        pid = self.status.pid
        assert pid is not None
        return pid

    @property
    def program(self) -> int:
        """The host's pid of what runs in it."""
        return child_of(self.first)

    @property
    def bwrap(self) -> int:
        return child_of(self.monitor)

    @property
    def monitor(self) -> int:
        keeper = lease.last_keeper(self.folder)
        assert keeper is not None
        return keeper.pid

    def kill_first(self) -> None:
        """Returns when it has ended: a signal takes its time."""
        first = self.first
        os.kill(first, signal.SIGKILL)
        until(lambda: is_gone(first))

    def processes(self) -> list[int]:
        """All that are left of it anywhere, its monitor included."""
        marks = (self.token.encode(), os.fsencode(self.folder))
        return [each.pid for each in everyone() if any(mark in command_line(each.pid) for mark in marks)]

    def ask(self, timeout_s: float = 10.0) -> str:
        """What a caller is answered; it waits in the queue as long as nobody serves."""
        with self.dialled(timeout_s) as caller:
            return caller.recv(100).decode()

    @contextmanager
    def dialled(self, timeout_s: float = 10.0) -> Iterator[socket.socket]:
        with socket.socket(socket.AF_UNIX) as caller:
            caller.settimeout(timeout_s)
            folder = os.open(self.sockets, os.O_PATH)
            try:
                caller.connect(f"/proc/self/fd/{folder}/worker-0.sock")
            finally:
                os.close(folder)
            yield caller

    def said(self) -> str:
        return "\n".join(self.engine.logs(self.name, 1000))


def child_of(parent: int) -> int:
    """The only one."""
    (pid,) = (each.pid for each in everyone() if each.parent == parent)
    return pid


def command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""
