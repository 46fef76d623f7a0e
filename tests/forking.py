"""The process that commands of `stopgap` are forked from: it has imported the program, and waits (see `tests.warm`)."""

from __future__ import annotations

import importlib
import json
import os
import signal
import socket
import sys
from pathlib import Path

from stopgap.cli.main import main as stopgap

__all__ = ["main"]

PRELOADED = (
    "stopgap.client.channel",
    "stopgap.deployment",
    "stopgap.engines.bubblewrap",
    "stopgap.engines.docker",
)
LARGEST_REQUEST = 200 << 10  # a message's bound on Linux is a little more


def main(descriptor: int) -> None:
    """Forks for each request; what was forked goes on as the program and ends as it does."""
    for name in PRELOADED:
        importlib.import_module(name)
    threads = len(list(Path("/proc/self/task").iterdir()))
    if threads != 1:
        raise SystemExit(f"{threads} threads after the imports: what is forked would lack the others and hang")
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # those that wait for commands are waited for by nobody
    on_interrupt = signal.signal(signal.SIGINT, signal.SIG_IGN)  # tests that are interrupted still clean up by commands
    with socket.socket(fileno=descriptor) as requests:
        request, descriptors = next_forked(requests)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    out, err, reply = descriptors
    with socket.socket(fileno=reply) as caller:
        command = os.fork()
        if command:
            os.close(out)
            os.close(err)
            caller.send(str(command).encode())
            _, status = os.waitpid(command, 0)
            caller.send(str(os.waitstatus_to_exitcode(status)).encode())
            os._exit(0)
    signal.signal(signal.SIGINT, on_interrupt)
    become(json.loads(request), out, err)
    stopgap()


def next_forked(requests: socket.socket) -> tuple[bytes, list[int]]:
    """Comes back in a process of its own for each request; ends when nobody can ask any more."""
    while True:
        request, descriptors, _, _ = socket.recv_fds(requests, LARGEST_REQUEST, 3)
        if not request:
            raise SystemExit(0)
        try:
            if os.fork() == 0:
                return request, descriptors
        except OSError as error:  # who asked sees the reply's end closed
            sys.stderr.write(f"no command can be forked: {error}\n")
        for each in descriptors:
            os.close(each)


def become(request: tuple[list[str], dict[str, str], str], out: int, err: int) -> None:
    """This process is as the program's would be at its first line."""
    arguments, environment, folder = request
    for file, place in ((out, 1), (err, 2)):
        os.dup2(file, place)
        os.close(file)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv = ["-c", *arguments]
