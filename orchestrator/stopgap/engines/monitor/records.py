"""What an engine and a monitor tell each other, as files in a container's folder, each written by rename.

container.json   what the container is: written by the engine, read at each start
status.json      how it is: written by the monitor
keep             it is there: bring the container back whenever it ends
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from stopgap.engines.cgroups import Limits

__all__ = [
    "CONTAINER",
    "KEEP",
    "Container",
    "Status",
    "forget_status",
    "read_container",
    "read_status",
    "replace",
    "write_container",
    "write_status",
]

KEEP = "keep"
CONTAINER = "container.json"
STATUS = "status.json"
STATES = ("created", "running", "restarting", "exited")
LARGEST_FILE = 1 << 20


class Container(NamedTuple):
    """What a monitor needs to know.

    Attributes:
        labels: For the engine, which finds the container by them.
        before: The command line up to `prlimit`.
        rlimits: What `prlimit` is told, by its own names.
        stand_ins: What it is told besides where no control group holds the container.
        program: The rest of the command line.
        group: What its control group is called, where it gets one.
        sockets: The folder in which its listening sockets are bound; None where it has none.
        listeners: Their names in there.
        grace_s: How long it may take to end once it was asked to.
        image: The root that it is made of; empty where an older stopgap has made it.
        profile: The system calls that it may make; likewise. A monitor is handed the program that was made of it, which
            holds for all lives that it keeps.
    """

    labels: Mapping[str, str]
    before: tuple[str, ...]
    rlimits: Mapping[str, str]
    stand_ins: Mapping[str, str]
    program: tuple[str, ...]
    limits: Limits
    group: str
    sockets: str | None
    listeners: tuple[str, ...]
    grace_s: float
    image: str = ""
    profile: str = ""

    def command(self, in_group: bool) -> list[str]:
        """The whole command line."""
        rlimits = self.rlimits if in_group else {**self.rlimits, **self.stand_ins}
        return [*self.before, *(f"--{name}={limit}" for name, limit in rlimits.items()), *self.program]


class Status(NamedTuple):
    """How a container is.

    Attributes:
        state: `created`, `running`, `restarting` or `exited`, as the engine protocol's.
        boot: The machine's boot that this is about.
        mechanism: What holds the limits, and in `place` what is needed to find it again.
        exit_code: Of its last end; None before the first.
        walls_stood: Whether its program was reached in that life, or the one that goes on.
        pid, born: Its first process while there is one; together they mean no other.
        restarts: How often it was brought back.
        detail: What else a person is to know.
    """

    state: str
    boot: str
    mechanism: str
    place: str = ""
    exit_code: int | None = None
    out_of_memory: bool = False
    walls_stood: bool = False
    pid: int | None = None
    born: int | None = None
    restarts: int = 0
    detail: str = ""


def read_container(folder: Path) -> Container:
    """
    Raises:
        OSError, ValueError, TypeError, KeyError: There is none, or it is damaged.
    """
    fields = read(folder / CONTAINER)
    return Container(
        **{
            **fields,
            "before": tuple(fields["before"]),
            "program": tuple(fields["program"]),
            "limits": Limits(**fields["limits"]),
            "listeners": tuple(fields["listeners"]),
        }
    )


def write_container(folder: Path, container: Container) -> None:
    """
    Raises:
        OSError: The disk is full, say; what was there before stays.
    """
    replace(folder / CONTAINER, written({**container._asdict(), "limits": container.limits._asdict()}), lasting=True)


def read_status(folder: Path) -> Status | None:
    """None where there is none that can be read: the machine may have stopped while it was written."""
    try:
        status = Status(**read(folder / STATUS))
    except (OSError, ValueError, TypeError):
        return None
    return status if status.state in STATES else None


def write_status(folder: Path, status: Status) -> None:
    """
    Raises:
        OSError: Not even the room of the former one could be used again.
    """
    content = written(status._asdict())
    try:
        replace(folder / STATUS, content)
    except OSError:  # a full disk has no room for a second file, but the first one has a block
        overwrite(folder / STATUS, content)


def forget_status(folder: Path) -> None:
    """Nothing is known of the container until its next monitor says something."""
    with contextlib.suppress(FileNotFoundError):
        (folder / STATUS).unlink()


def replace(file: Path, content: bytes, *, lasting: bool = False) -> None:
    """Puts a file in the place of another, at once or not at all; `lasting` ones reach the disk before."""
    partial = file.with_name(f".{file.name}.partial")
    try:
        with partial.open("wb") as stream:
            stream.write(content)
            stream.flush()
            if lasting:
                os.fsync(stream.fileno())
        partial.replace(file)
    except OSError:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise


def overwrite(file: Path, content: bytes) -> None:
    descriptor = os.open(file, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.pwrite(descriptor, content, 0)
        os.ftruncate(descriptor, len(content))
    finally:
        os.close(descriptor)


def read(file: Path) -> dict[str, Any]:
    with file.open("rb") as stream:
        try:
            content = json.loads(stream.read(LARGEST_FILE))
        except RecursionError as error:
            raise ValueError(f"{file} is nested too deeply") from error
    if not isinstance(content, dict):
        raise TypeError(f"{file} does not hold an object")
    return content


def written(fields: Mapping[str, object]) -> bytes:
    return json.dumps(fields, indent=1).encode() + b"\n"
