"""The model that a person asks about: found, readable by a sandbox's user, and by whoever mounts it there."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from stopgap.doctor.check import Check
from stopgap.doctor.finding import Finding, Untold, broken, ok, unknown
from stopgap.doctor.machine import Machine
from stopgap.errors import EngineError
from stopgap.models import SANDBOX, Reader, find_model

__all__ = ["checks"]

TOPIC = "model"
ESCAPE = re.compile(r"\\([0-7]{3})")  # how the kernel writes a blank in a path


def checks(machine: Machine) -> Iterator[Check]:
    if machine.model is not None:
        yield Check(TOPIC, "way to it", partial(way_to_it, machine.model))
        yield Check(TOPIC, "SavedModel", partial(saved_model, machine.model))
        yield Check(TOPIC, "file system", partial(file_system, machine.model))


def way_to_it(path: Path, _machine: Machine) -> Finding:
    closed = closed_folder(path)
    if closed is None:
        return ok("open to us; a sandbox sees the model's own folder alone")
    written = shlex.quote(str(closed))
    return broken(
        f"{closed} does not let us through to the model",
        f"sudo chmod o+x {written}\nsudo cp -r {shlex.quote(str(path))} FOLDER   # or a copy where others may go",
    )


def closed_folder(path: Path) -> Path | None:
    """The first folder on the way, its own included, that we may not go through."""
    real = Path(os.path.realpath(path))
    return next(
        (each for each in (*reversed(real.parents), real) if each.is_dir() and not os.access(each, os.X_OK)), None
    )


def saved_model(path: Path, machine: Machine) -> Finding:
    check_reachable(path)
    found = find_model(path, reader_on(machine))
    return ok(f"version {found.version}, {found.folder}, readable by a sandbox's user")


def reader_on(machine: Machine) -> Reader:
    """As whom a sandbox of the engine reads that a `serve` would take; where none works, as most do."""
    try:
        return machine.choice().engine.limits().reader
    except EngineError:
        return SANDBOX


def check_reachable(path: Path) -> None:
    """
    Raises:
        Untold: A folder above is closed to us.
    """
    closed = closed_folder(path)
    if closed is not None:
        raise Untold(f"not looked at: {closed} is closed to us")


@dataclass(frozen=True)
class Mount:
    """Where a file system is mounted.

    Attributes:
        options: Of the file system itself.
    """

    at: Path
    kind: str
    options: frozenset[str]


def file_system(path: Path, machine: Machine) -> Finding:
    """Network or not, executable or not does not matter; a file system of a user's own may be closed to all others."""
    check_reachable(path)
    if not path.exists():
        return unknown("not looked at: it does not exist")
    mount = mount_of(path.resolve(), machine.proc / "self" / "mountinfo")
    if mount is None:
        return unknown("the kernel's list of mounts does not tell")
    if mount.kind.startswith("fuse") and "allow_other" not in mount.options:
        return broken(
            f"{mount.at} is {mount.kind}, mounted for one user alone: neither Docker nor a sandbox's user may read it",
            "echo user_allow_other | sudo tee -a /etc/fuse.conf   # then mount it again with: -o allow_other\n"
            f"cp -r {shlex.quote(str(path))} FOLDER   # or a copy on a disk of this machine",
        )
    return ok(f"{mount.kind}, mounted at {mount.at}")


def mount_of(path: Path, mountinfo: Path) -> Mount | None:
    """The last that was mounted at the longest of the paths above."""
    mounts = list(mounted(mountinfo))
    for folder in (path, *path.parents):
        at_folder = [mount for mount in mounts if mount.at == folder]
        if at_folder:
            return at_folder[-1]
    return None


def mounted(mountinfo: Path) -> Iterator[Mount]:
    for line in mountinfo.read_text(encoding="utf-8", errors="surrogateescape").splitlines():
        fields, _, source = line.partition(" - ")
        kind, _, options = source.split(" ", 2)
        at = ESCAPE.sub(lambda found: chr(int(found[1], 8)), fields.split(" ")[4])
        yield Mount(Path(at), kind, frozenset(options.split(",")))
