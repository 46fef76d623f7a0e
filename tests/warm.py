"""`stopgap` as people run it, but for its imports: commands are forked from a process that has done them once.

Half of what a test's command costs is Python's start and some six hundred modules, the same each time. What runs here
is the program's own `main`, in a process of its own, with the arguments, the environment and the folder that it would
have had; only what Python itself reads when it starts (`PYTHON…`, the locale) is the first command's. What is about the
start (signals, installed copies, users without rights) starts it as people do: `Program.start`, or a `subprocess` of
the test's own.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

__all__ = ["run"]

ROOT = Path(__file__).parents[1]
FORK_TIMEOUT_S = 60.0
ENDS_S = 10.0
# Ours is the end that requests are sent to; none before the first command.
_LOCK = threading.Lock()
_forking: list[socket.socket] = []


def run(arguments: Sequence[str], environment: Mapping[str, str], timeout_s: float) -> subprocess.CompletedProcess[str]:
    """Runs `stopgap` with those arguments, as `subprocess.run` does with its output captured as text.

    Raises:
        ChildProcessError: It could not be forked, or who waits for it was killed.
        subprocess.TimeoutExpired: The command took longer, and was killed.
    """
    request = json.dumps([list(arguments), dict(environment), str(Path.cwd())]).encode()
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        with its:
            _send(request, [out.fileno(), err.fileno(), its.fileno()])
        ours.settimeout(FORK_TIMEOUT_S)
        pid = _number(ours)
        ours.settimeout(timeout_s)
        try:
            code = _number(ours)
        except BaseException as error:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            if isinstance(error, TimeoutError):
                raise subprocess.TimeoutExpired(list(arguments), timeout_s) from None
            raise
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess(list(arguments), code, out.read().decode(), err.read().decode())


def _number(connection: socket.socket) -> int:
    """A process id first, then its exit code."""
    told = connection.recv(64)
    if not told:
        raise ChildProcessError("no command could be forked, or the process that waits for it is gone")
    return int(told)


def _send(request: bytes, descriptors: list[int]) -> None:
    """To the process that forks, begun with the first command, and anew where somebody has ended it."""
    with _LOCK:
        if _forking:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                socket.send_fds(_forking[0], [request], descriptors)
                return
        _forking[:] = [_begun()]
        socket.send_fds(_forking[0], [request], descriptors)


def _begun() -> socket.socket:
    """It ends with these tests."""
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    process = subprocess.Popen(
        [sys.executable, "-c", f"from tests.forking import main; main({its.fileno()})"],
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},  # NumPy's threads would not live on in what is forked
        cwd=ROOT,
        pass_fds=[its.fileno()],
        stdin=subprocess.DEVNULL,
    )
    its.close()
    atexit.register(_ended, process)
    atexit.register(ours.close)
    return ours


def _ended(process: subprocess.Popen[bytes]) -> None:
    """As it does when nobody can ask any more."""
    try:
        process.wait(ENDS_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
