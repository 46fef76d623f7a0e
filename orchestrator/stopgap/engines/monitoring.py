"""The engine's side of a monitor: starting one, having it end, and clearing up after one that was lost."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from stopgap.engines.bubblewrap_host import USER_SESSION
from stopgap.engines.container_folder import group_of
from stopgap.engines.libseccomp import filter_of
from stopgap.engines.mechanisms import mechanism
from stopgap.engines.monitor import lease, output, records
from stopgap.engines.monitor.keeper import ANNOUNCEMENT, AT_ONCE
from stopgap.engines.monitor.life import STARTED_BY_MONITORS
from stopgap.engines.processes import boot_id, end, end_session
from stopgap.errors import EngineError
from stopgap.printable import printable

__all__ = ["begin", "last_words", "stilled"]

BEGIN_TIMEOUT_S = 30.0
INSIST_TIMEOUT_S = 15.0  # the monitor ends the container, and then waits for its group to go
KILL_TIMEOUT_S = 5.0
LEASE_TIMEOUT_S = 5.0
LOOK_EVERY_S = 0.01
LOG_TAIL = 5

SOURCES = Path(__file__).parents[2]
MONITOR = "stopgap.engines.monitor"
# Without `site` it is smaller, and it finds stopgap wherever this process has found it.
BOOTSTRAP = (
    "import importlib, sys; sys.path.insert(0, sys.argv[1]); "
    "importlib.import_module(sys.argv[2] + '.__main__').main(sys.argv[3:])"
)


def begin(folder: Path, limits_by: str) -> bool:
    """Starts a monitor for the container in `folder`, and waits until its walls stand or are known not to.

    False where it has a monitor already.

    Raises:
        EngineError: There could be none, or it does not get anywhere.
        OSError: The folder is gone, or the disk is full.
    """
    check_owner(folder)
    held = lease.acquire(folder)
    if held is None:
        return False
    with contextlib.ExitStack() as ours:
        with contextlib.ExitStack() as handed:
            handed.callback(os.close, held)
            reader, writer = os.pipe()
            ours.callback(os.close, reader)
            handed.callback(os.close, writer)
            clear_up(folder)
            records.forget_status(folder)
            profile = profile_of(folder)
            filters = [handed.enter_context(filter_of(profile))] if profile else []
            lease.hand_on(held)
            spawn(folder, limits_by, held, writer, *filters)
        poll = select.poll()
        poll.register(reader, select.POLLIN)
        if not poll.poll(BEGIN_TIMEOUT_S * 1000):
            raise EngineError(
                f"The walls of {folder.name} do not stand after {BEGIN_TIMEOUT_S:.0f} s.", last_words(folder)
            )
    return True


def check_owner(folder: Path) -> None:
    """Root would run a user's container as root: its walls were made for somebody without rights.

    Raises:
        EngineError: The container is somebody else's.
    """
    owner = folder.stat().st_uid
    if owner != os.geteuid():
        raise EngineError(f"{folder.name} belongs to uid {owner}.", f"Act as that user: sudo -u '#{owner}' stopgap …")


def profile_of(folder: Path) -> str:
    """The container's profile of system calls; empty where it has none, or where a monitor will say what is damaged."""
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        return records.read_container(folder).profile
    return ""


def spawn(folder: Path, limits_by: str, *handed: int) -> None:
    """The process that is started becomes the parent of the monitor, and ends at once."""
    command = [sys.executable, "-I", "-S", "-c", BOOTSTRAP, str(SOURCES), MONITOR]
    with (folder / output.NEWER).open("ab") as errors:
        starter = subprocess.Popen(
            [*command, str(folder), limits_by, *map(str, handed)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            pass_fds=handed,
            start_new_session=True,
            cwd="/",
            env={name: os.environ[name] for name in ("PATH", *USER_SESSION) if name in os.environ},
        )
        if starter.wait():
            raise EngineError(f"The monitor of {folder.name} could not be started.", last_words(folder))


@contextlib.contextmanager
def stilled(folder: Path, timeout_s: float) -> Iterator[None]:
    """Within the block nothing of the container runs, and nobody can start it: asks first, for so long; then insists.

    Raises:
        EngineError: It does not end.
        OSError: The folder is gone, or is not ours.
    """
    deadline = time.monotonic() + timeout_s + LEASE_TIMEOUT_S
    have_end(folder, timeout_s)
    while (held := lease.acquire(folder)) is None:  # another stopgap was faster, to end it as well or to start it anew
        if time.monotonic() > deadline:
            raise EngineError(f"{folder.name} does not come to rest.", "Another stopgap is at work on it: wait for it.")
        time.sleep(LOOK_EVERY_S)
        have_end(folder, 0)
    try:
        clear_up(folder)
        yield
    finally:
        os.close(held)


def have_end(folder: Path, timeout_s: float) -> None:
    with lease.keeper(folder) as keeper:
        if keeper is None:
            return
        if timeout_s > 0:
            keeper.send(signal.SIGTERM)
            if keeper.wait(timeout_s):
                return
        keeper.send(AT_ONCE)
        if not keeper.wait(INSIST_TIMEOUT_S):
            keeper.send(signal.SIGKILL)  # takes the container along; whatever does not go is for `clear_up`
            keeper.wait(KILL_TIMEOUT_S)


def clear_up(folder: Path) -> None:
    """Ends what a lost monitor has left. Only who holds the lease may do it.

    A monitor takes its container along, but for two short moments in which the container is neither let through the
    gate nor bound to it yet: then it is in the monitor's session, in the group, or written down in the status.

    Raises:
        EngineError: Something does not end.
    """
    last = lease.last_keeper(folder)
    if last:
        end(last.pid, last.born)  # it has let go of the lease, but may not be done with ending
        end_session(last.pid, STARTED_BY_MONITORS)
    status = records.read_status(folder)
    if status is not None and status.boot == boot_id():
        if status.pid is not None and status.born is not None:
            end(status.pid, status.born)
        if not mechanism(status.mechanism, group_of(folder), status.place).remove():
            raise EngineError(f"Something of {folder.name} does not end.", "The kernel holds it: dmesg may say why.")
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):  # a damaged folder is to be removable
        container = records.read_container(folder)
        if container.sockets:
            for name in (*container.listeners, ANNOUNCEMENT):
                Path(container.sockets, name).unlink(missing_ok=True)


def last_words(folder: Path) -> str:
    """What the container or its monitor printed last, fit for a terminal."""
    return "\n".join(printable(line) for line in output.tail(folder, LOG_TAIL))
