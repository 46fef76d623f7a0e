"""`stopgap` as people run it, but for its imports: commands are forked from a process that has done them once.

Half of what a test's command costs is Python's start and some six hundred modules, the same each time. What runs here
is the program's own `main`, in a process of its own, with the arguments, the environment, the folder and the pipes
that it would have had. What is about the start itself (signals, installed copies, users without rights) starts it as
people do: `Program.start`, or a `subprocess` of the test's own.
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

__all__ = ["run"]

ROOT = Path(__file__).parents[1]


def run(arguments: Sequence[str], environment: Mapping[str, str], timeout_s: float) -> subprocess.CompletedProcess[str]:
    """Runs `stopgap` with those arguments, as `subprocess.run` does with its output captured as text.

    Raises:
        ChildProcessError: The process that commands are forked from is gone.
        subprocess.TimeoutExpired: The command took longer, and was killed.
    """
    request = json.dumps([list(arguments), dict(environment), str(Path.cwd())])
    (out, its_out), (err, its_err) = os.pipe(), os.pipe()
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, ThreadPoolExecutor(2) as readers:
        printed, complained = readers.submit(_all_of, out), readers.submit(_all_of, err)
        try:
            socket.send_fds(_forking(), [request.encode()], [its_out, its_err, its.fileno()])
        finally:
            os.close(its_out)
            os.close(its_err)
            its.close()
        pid = _number(ours)
        ours.settimeout(timeout_s)
        try:
            code = _number(ours)
        except TimeoutError:
            os.kill(pid, signal.SIGKILL)
            raise subprocess.TimeoutExpired(list(arguments), timeout_s) from None
    return subprocess.CompletedProcess(list(arguments), code, printed.result(), complained.result())


def _all_of(descriptor: int) -> str:
    with open(descriptor, encoding="utf-8") as pipe:
        return pipe.read()


def _number(connection: socket.socket) -> int:
    """A process id first, then its exit code."""
    told = connection.recv(64)
    if not told:
        raise ChildProcessError("the process that commands are forked from is gone")
    return int(told)


@functools.cache
def _forking() -> socket.socket:
    """Begins it with the first command; it ends with these tests."""
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    process = subprocess.Popen(
        [sys.executable, "-c", f"from tests.forking import main; main({its.fileno()})"],
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},  # NumPy's threads would not live on in what is forked
        cwd=ROOT,
        pass_fds=[its.fileno()],
        stdin=subprocess.DEVNULL,
    )
    its.close()
    atexit.register(process.wait)
    atexit.register(ours.close)
    return ours
