"""`python -c … stopgap.observer.__main__ STATE KIND NAME LEASE BEGUN`: one observer, until it is told to end."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import resource
import signal
import threading
from collections.abc import Sequence
from pathlib import Path

from stopgap.engines.monitor.lease import sign
from stopgap.errors import StopgapError
from stopgap.observers import READY
from stopgap.recordings import RECORDINGS
from stopgap.shadows import SHADOWS
from stopgap.store import Store

__all__ = ["main"]

NICE = 19
KILLED_FIRST = b"1000"
# By kind: where its `observe` is.
WORK = {SHADOWS.word: "stopgap.observer.observation", RECORDINGS.word: "stopgap.observer.recording"}


def main(arguments: Sequence[str]) -> None:
    """
    Args:
        arguments: The state folder, the observer's kind, the legacy model's name, and two inherited descriptors: the
            lock, and a pipe on which it says `ready`, or why it cannot be, before it closes it.
    """
    state, kind, name = Path(arguments[0]), arguments[1], arguments[2]
    lease, begun = map(int, arguments[3:])
    for descriptor in (lease, begun):
        os.set_inheritable(descriptor, False)
    if os.fork():
        os._exit(0)  # whoever started us has no child to wait for, however long we stay
    os.setsid()
    os.umask(0o077)
    sign(lease)
    give_way()
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s")
    ends = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: ends.set())
    # After the fork: gRPC's threads do not survive one.
    observe = importlib.import_module(WORK[kind]).observe

    said = False

    def listens() -> None:
        nonlocal said
        said = True
        os.write(begun, READY)
        os.close(begun)

    try:
        observe(name, Store(state), listens, ends)
    except StopgapError as error:
        if not said:
            os.write(begun, str(error).encode())
        logging.getLogger(__name__).warning("%s", error)
        raise SystemExit(1) from error


def give_way() -> None:
    """Whoever serves users goes first: for the processors, and when memory is short."""
    os.nice(NICE)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_bytes(KILLED_FIRST)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
