"""A container's folder: made whole, taken away at once, and what its files say. Starts nothing and ends nothing."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shlex
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from stopgap.engines.monitor import output
from stopgap.engines.monitor.records import Container, Status, read_container, write_container
from stopgap.engines.processes import boot_id
from stopgap.engines.protocol import Observed, State
from stopgap.errors import EngineError

__all__ = ["group_of", "labels_of", "make", "observed", "set_aside", "take_away_remains", "translated"]


def make(folder: Path, container: Container) -> None:
    """A folder that appears with all that belongs to it.

    Raises:
        EngineError: There is a container of that name.
        OSError: The disk is full, say.
    """
    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    take_away_remains(folder)
    partial = remains_of(folder)[0]
    partial.mkdir(mode=0o700)
    try:
        write_container(partial, container)
        (partial / output.NEWER).touch(mode=0o600)
        partial.rename(folder)
    except OSError as error:
        take_away_remains(folder)
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            raise EngineError(
                f"There is a container {folder.name} already.", "Stop what it belongs to first."
            ) from error
        raise


def set_aside(folder: Path) -> None:
    """From now on there is no such container; what is left of the folder is for `take_away_remains`."""
    folder.rename(remains_of(folder)[1])


def take_away_remains(folder: Path) -> None:
    """Of attempts to make or to remove it that were broken off."""
    for remains in remains_of(folder):
        shutil.rmtree(remains, ignore_errors=True)


def remains_of(folder: Path) -> tuple[Path, Path]:
    return folder.with_name(f".{folder.name}.partial"), folder.with_name(f".{folder.name}.removed")


def group_of(folder: Path) -> str:
    """What its control group is called: unlike that of a container of the same name below another state folder."""
    return f"{folder.name}-{hashlib.sha256(os.fsencode(folder)).hexdigest()[:8]}"


def labels_of(folder: Path) -> Mapping[str, str]:
    """Where they cannot be read, whose it is at least: it can be taken away then."""
    try:
        return read_container(folder).labels
    except (OSError, ValueError, TypeError, KeyError):
        return {"stopgap.state": str(folder.parents[1])}


def observed(labels: Mapping[str, str], status: Status | None, held: bool) -> Observed:
    """What its status means, by whether somebody keeps it."""
    state = state_of(status, held)
    return Observed(
        state=state,
        exit_code=None if status is None or state is State.RUNNING else status.exit_code,
        out_of_memory=status is not None and status.out_of_memory,
        labels=labels,
        limits_by="" if status is None else status.mechanism,
        detail=detail_of(status, state),
    )


def state_of(status: Status | None, held: bool) -> State:
    if held:
        return State.CREATED if status is None else State(status.state)
    if status is None:
        return State.LOST
    if status.state == State.EXITED.value:
        return State.EXITED
    return State.LOST if status.boot == boot_id() else State.HALTED


def detail_of(status: Status | None, state: State) -> str:
    if state is State.HALTED:
        return "down since the machine started again"
    if state is State.LOST:
        return "its monitor was lost"
    if status is None or not status.restarts:
        return status.detail if status else ""
    often = "once" if status.restarts == 1 else f"{status.restarts} times"
    return f"brought back {often}, last after exit code {status.exit_code}"


@contextlib.contextmanager
def translated(folder: Path) -> Iterator[None]:
    """Turns what the system refuses into an error that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise EngineError(f"The disk is full: {folder}.", "Make room: df -h shows where there is none.") from error
        if error.errno in (errno.EACCES, errno.EPERM):
            raise EngineError(
                f"{folder.name} belongs to somebody else: {error.strerror}: {error.filename or folder}.",
                f"Act as its owner, or as root: ls -ld {shlex.quote(str(folder))}",
            ) from error
        raise EngineError(f"The bubblewrap engine failed on {folder.name}: {error}.", f"Look into {folder}.") from error
