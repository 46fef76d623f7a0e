"""Room on the disks: for what is fetched and built once, and for what every deployment writes."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

from stopgap.doctor.check import Check
from stopgap.doctor.finding import Finding, absent, broken, ok
from stopgap.doctor.machine import Machine
from stopgap.doctor.once import given

__all__ = ["checks"]

MIB = 1 << 20

# A wheel of 110 MB and what is unpacked of it, 350 MB, lie there together; then Envoy's, and the packages of a root.
TO_FETCH_MIB = 800
# The packed context of 390 MB goes to the engine, which makes layers of it.
TO_BUILD_MIB = 1200
# Once all that is there: a log of 10 MB for each sandbox and front, and small files.
TO_SERVE_MIB = 64


def checks(_machine: Machine) -> Iterator[Check]:
    yield Check("disk", "cache folder", cache_folder)
    yield Check("disk", "state folder", state_folder)
    yield Check("disk", "Docker's folder", docker_folder)


def cache_folder(machine: Machine) -> Finding:
    needed_mib = TO_SERVE_MIB if machine.bundle() else TO_FETCH_MIB
    return room(machine.cache, needed_mib, "XDG_CACHE_HOME=FOLDER stopgap …   # one on a larger disk")


def state_folder(machine: Machine) -> Finding:
    return room(machine.store.folder, TO_SERVE_MIB, "STOPGAP_STATE=FOLDER stopgap …   # one on a larger disk")


def docker_folder(machine: Machine) -> Finding:
    seen, bundle = given(machine.docker), machine.bundle()
    folder = Path(str(seen.info.get("DockerRootDir") or ""))
    if not folder.is_dir():
        return absent(f"{folder} is on the engine's own machine; docker system df looks there")
    built = bundle and seen.image(machine.row.kind, bundle)
    return room(folder, TO_SERVE_MIB if built else TO_BUILD_MIB, "docker system df\ndocker image prune")


def room(folder: Path, needed_mib: int, remedy: str) -> Finding:
    """Of the disk that the folder is on, or will be, once it is made."""
    there = next(path for path in (folder, *folder.parents) if path.exists())
    free_mib = shutil.disk_usage(there).free // MIB
    if free_mib < needed_mib:
        largest = f"du --one-file-system --human-readable --max-depth=2 {shlex.quote(str(there))} | sort -h | tail"
        return broken(f"{folder} has {free_mib} MiB left, and needs {needed_mib}", f"{largest}\n{remedy}")
    if os.statvfs(there).f_files and not os.statvfs(there).f_favail:
        return broken(f"{folder} is on a disk that takes no more files, however small", remedy)
    return ok(f"{free_mib / 1024:.1f} GiB free for {folder}")
