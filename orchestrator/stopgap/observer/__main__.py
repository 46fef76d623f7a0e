"""`python -c … stopgap.observer.__main__ STATE NAME LEASE BEGUN`: observes one shadow until it is told to end."""

from __future__ import annotations

import contextlib
import logging
import os
import resource
import signal
import threading
from collections.abc import Sequence
from pathlib import Path

from stopgap.engines.monitor.lease import sign
from stopgap.errors import StopgapError
from stopgap.shadows import READY
from stopgap.store import Store

__all__ = ["main"]

NICE = 19
KILLED_FIRST = b"1000"


def main(arguments: Sequence[str]) -> None:
    """
    Args:
        arguments: The state folder, the legacy model's name, and two inherited descriptors: the lock, and a pipe on
            which it says `ready`, or why it cannot be, before it closes it.
    """
    state, name, lease, begun = Path(arguments[0]), arguments[1], int(arguments[2]), int(arguments[3])
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
    from stopgap.observer.observation import observe  # noqa: PLC0415

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
