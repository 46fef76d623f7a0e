"""Processes that stopgap keeps beside a deployment: one for a folder, which outlives the command that started it.

Who has the lock in the folder is the process, so that there is never a second one, and a dead one is told from a living
one by the kernel. It knows nothing of what the process does.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Event

from stopgap.engines.monitor import lease
from stopgap.errors import StopgapError
from stopgap.giving_way import give_way, give_way_altogether
from stopgap.printable import printable

__all__ = ["Event", "Listens", "Refused", "end", "run", "runs", "start"]

BEGIN_TIMEOUT_S = 60.0
END_TIMEOUT_S = 5.0
KILL_TIMEOUT_S = 5.0
LONGEST_REFUSAL = 64 << 10
LARGEST_LOG = 1 << 20
READY = b"ready"
# It finds stopgap, and a person's own functions, wherever this process has found them.
BOOTSTRAP = (
    "import importlib, json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "importlib.import_module(sys.argv[2]).main(sys.argv[3:])"
)

Listens = Callable[[], None]


class Refused(Exception):
    """The process has said why it cannot be, or does not get anywhere."""

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(problem)
        self.problem, self.remedy = problem, remedy


def runs(folder: Path) -> bool:
    """Whether the folder's process lives."""
    return lease.is_held(folder)


def start(folder: Path, log: str, program: str, *arguments: str) -> bool:
    """Returns once the process says that it is ready; False where there is one already.

    Args:
        folder: Whose process it is.
        log: The file in it to which the process writes what it has to say.
        program: A module; its `main` is given the arguments and what `run` takes.

    Raises:
        Refused: See there.
    """
    held = lease.acquire(folder)
    if held is None:
        return False
    with contextlib.ExitStack() as ours:
        with contextlib.ExitStack() as handed:
            handed.callback(os.close, held)
            reader, writer = os.pipe()
            ours.callback(os.close, reader)
            handed.callback(os.close, writer)
            lease.hand_on(held)
            spawn(folder / log, [program, *arguments], held, writer)
        said = said_on(reader)
    if said != READY:
        said = said or b"It ended without a word.\n" + last_words(folder / log)
        problem, _, remedy = said.decode("utf-8", "replace").partition("\n")
        raise Refused(printable(problem, 2000), "\n".join(map(printable, remedy.splitlines())))
    return True


def spawn(log: Path, command: Sequence[str], held: int, begun: int) -> None:
    """The process that is started becomes the parent of the one that stays, and ends at once."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
    descriptor = os.open(log, flags, 0o600)
    if os.fstat(descriptor).st_size > LARGEST_LOG:
        os.ftruncate(descriptor, 0)
    with open(descriptor, "ab") as errors:  # noqa: PTH123 - a descriptor, not a path
        starter = subprocess.Popen(
            [sys.executable, "-c", BOOTSTRAP, json.dumps(sys.path), *command, str(held), str(begun)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            pass_fds=(held, begun),
            start_new_session=True,
            cwd="/",
        )
        starter.wait()


def said_on(reader: int) -> bytes:
    """All that it says until it closes its end."""
    poll, said = select.poll(), bytearray()
    poll.register(reader, select.POLLIN)
    deadline = time.monotonic() + BEGIN_TIMEOUT_S
    while len(said) < LONGEST_REFUSAL:
        left_s = deadline - time.monotonic()
        if left_s <= 0 or not poll.poll(left_s * 1000):
            return f"It does not listen after {BEGIN_TIMEOUT_S:.0f} s.".encode()
        piece = os.read(reader, LONGEST_REFUSAL)
        if not piece:
            break
        said += piece
    return bytes(said)


def end(folder: Path) -> bool:
    """Whether there was one: asks it, so that it writes down what it knows; then insists."""
    if not folder.is_dir():
        return False
    with lease.keeper(folder) as keeper:
        if keeper is None:
            return False
        keeper.send(signal.SIGTERM)
        if not keeper.wait(END_TIMEOUT_S):
            keeper.send(signal.SIGKILL)
            keeper.wait(KILL_TIMEOUT_S)
        return True


def last_words(log: Path) -> bytes:
    with contextlib.suppress(OSError):
        return b"\n".join(log.read_bytes()[-4096:].splitlines()[-5:])
    return b""


def run(held: int, begun: int, work: Callable[[Listens, Event], None], *, when_idle: bool = False) -> None:
    """What the process itself does: forks once more, makes way for everybody else, and works until it is told to end.

    Args:
        held: The lock, inherited.
        begun: A pipe, likewise, on which it says `ready`, or why it cannot be, before it closes it.
        work: Is given what to call once it listens, and what says when to end. Threads that do not survive a fork,
            gRPC's say, begin with it at the earliest.
        when_idle: Once it listens it gives way altogether, see there.
    """
    for descriptor in (held, begun):
        os.set_inheritable(descriptor, False)
    if os.fork():
        os._exit(0)  # whoever started us has no child to wait for, however long we stay
    os.setsid()
    os.umask(0o077)
    lease.sign(held)
    give_way()
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s")
    ends = Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: ends.set())
    said = False

    def listens() -> None:
        nonlocal said
        said = True
        os.write(begun, READY)
        os.close(begun)
        if when_idle:
            give_way_altogether()

    try:
        work(listens, ends)
    except StopgapError as error:
        if not said:
            os.write(begun, str(error).encode())
        logging.getLogger(__name__).warning("%s", error)
        raise SystemExit(1) from error
