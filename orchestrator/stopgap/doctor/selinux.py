"""SELinux: where it is enforced, Docker's containers may only touch files that carry a label of theirs."""

from __future__ import annotations

import errno
import os
import shlex
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from stopgap.doctor.check import Check
from stopgap.doctor.finding import Finding, absent, broken, ok, unknown
from stopgap.doctor.machine import Machine
from stopgap.doctor.once import given

__all__ = ["checks"]

TOPIC = "SELinux"
LABEL = "security.selinux"
WRITABLE = "container_file_t"

# The types that a container may read, and those that it may write to.
READABLE_TYPES = frozenset({WRITABLE, "container_ro_file_t", "container_share_t", "svirt_sandbox_file_t"})
WRITABLE_TYPES = frozenset({WRITABLE, "svirt_sandbox_file_t"})


def checks(machine: Machine) -> Iterator[Check]:
    yield Check(TOPIC, "state folder", partial(labelled, machine.store.folder, WRITABLE_TYPES))
    if machine.model is not None:
        yield Check(TOPIC, "model", partial(labelled, machine.model, READABLE_TYPES))


def labelled(folder: Path, types: frozenset[str], machine: Machine) -> Finding:
    if not is_enforced(machine.selinux):
        return absent("not enforced here")
    if "selinux" not in given(machine.docker).security:
        return ok("enforced, but this Docker engine does not confine containers by it")
    folder = folder.resolve()
    if not folder.exists():
        return absent(f"{folder} is not there yet")
    label = label_of(folder)
    if label is None:
        return unknown(f"{folder} is on a file system without labels; its mount options decide (context=)")
    if label.split(":")[2:3] and label.split(":")[2] in types:
        return ok(f"{folder} is {label}")
    return broken(f"{folder} is {label}, which containers may not use", remedy(folder), relabelling(folder))


def is_enforced(selinux: Path) -> bool:
    try:
        return (selinux / "enforce").read_text(encoding="ascii").strip() == "1"
    except FileNotFoundError:
        return False


def label_of(folder: Path) -> str | None:
    """`user:role:type:level`, or None where the file system has no labels."""
    try:
        return os.getxattr(folder, LABEL).rstrip(b"\0").decode("utf-8", "replace")
    except OSError as error:
        if error.errno in (errno.ENODATA, errno.ENOTSUP):
            return None
        raise


def relabelling(folder: Path) -> tuple[str, ...]:
    """What makes it right until the whole file system is labelled anew."""
    return "chcon", "--recursive", "--type", WRITABLE, str(folder)


def remedy(folder: Path) -> str:
    """And what makes it right for good."""
    pattern = shlex.quote(f"{folder}(/.*)?")
    return (
        f"{shlex.join(relabelling(folder))}\n"
        f"sudo semanage fcontext --add --type {WRITABLE} {pattern} && sudo restorecon -R {shlex.quote(str(folder))}"
    )
