"""Bundles in the user's cache: fetched by hash, made loadable and small, verified; loads no TensorFlow itself.

A bundle is a folder: `bundle.json` says what is in it, `lib/` holds the libraries, `ops.pb` and `op_libraries.json`
what ops they register. It appears whole, by one rename, or not at all.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from filelock import FileLock, Timeout
from platformdirs import user_cache_path

from stopgap import processor, wheels
from stopgap.bundle_rows import BundleRow, check_machine, row, rows
from stopgap.digests import sha256_of
from stopgap.errors import BundleError
from stopgap.progress import Progress, silent
from stopgap.sources import images_folder

__all__ = ["Bundle", "Listed", "ensure", "listed", "promised", "verify"]

# Raised when a folder made by an older stopgap no longer serves: it is then fetched anew.
_FORMAT = 1
_CHUNK_BYTES = 1 << 20
_REGISTRY_TIMEOUT_S = 120
_REGISTRY_FILES = ("ops.pb", "op_libraries.json")


@dataclass(frozen=True)
class Bundle:
    """A fetched bundle.

    Attributes:
        path: Its folder, readable by everybody; nobody writes to it again.
        digest: SHA-256 of its `bundle.json`, which holds the digests of all its files.
    """

    name: str
    tensorflow: str
    path: Path
    digest: str


@dataclass(frozen=True)
class Listed:
    """A row of the table, and the bundle if it has been fetched, with the bytes that it takes."""

    row: BundleRow
    bundle: Bundle | None
    size: int


@dataclass(frozen=True)
class _Layout:
    """Which of a wheel's members become which files of a bundle; in load order, dependencies first."""

    core: dict[str, str]
    dependencies: dict[str, str]
    op_libraries: dict[str, str]

    def members(self) -> dict[str, str]:
        return {**self.core, **self.dependencies, **self.op_libraries}


def ensure(name: str, progress: Progress = silent, *, cache: Path | None = None, again: bool = False) -> Bundle:
    """The bundle of that name, fetched first where it is not there yet, or where it is wanted `again`.

    It is kept in the user's cache folder, or in `cache`.

    Raises:
        BundleError: No such bundle, a machine that cannot run it, or it could not be fetched; nothing is left behind.
    """
    wanted = row(name)
    check_machine(wanted, processor.machine(), processor.cpu_flags())
    folder = _folder(cache) / name
    found = None if again else _found(wanted, folder)
    if found:
        return found
    with _disk_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _locked(folder, progress):
            found = None if again else _found(wanted, folder)
            return found or _fetch(wanted, folder, progress)


def verify(name: str, progress: Progress = silent, *, cache: Path | None = None) -> Bundle:
    """Computes the SHA-256 of every file of a fetched bundle anew.

    Raises:
        BundleError: It has not been fetched, or files are missing or differ; they are named.
    """
    wanted = row(name)
    folder = _folder(cache) / name
    found = _found(wanted, folder)
    if found is None:
        raise BundleError(f"The bundle {name} is not there, or not whole.", f"Type: stopgap bundle fetch {name}")
    promised = json.loads((folder / "bundle.json").read_text(encoding="utf-8"))["files"]
    with _disk_errors(folder):
        actual = _digests(folder, sorted(promised), progress)
    wrong = [path for path in promised if actual[path] != promised[path]]
    if wrong:
        raise BundleError(
            f"The bundle {name} was changed after it was fetched: {', '.join(wrong)}.",
            f"Type: stopgap bundle fetch --again {name}",
        )
    return found


def promised(bundle: Bundle) -> dict[str, str]:
    """The digests with which its files were unpacked, by path, and that of the list that says so."""
    described = json.loads((bundle.path / "bundle.json").read_text(encoding="utf-8"))
    return {**described["files"], "bundle.json": bundle.digest}


def listed(*, cache: Path | None = None) -> tuple[Listed, ...]:
    """Every bundle of the table, fetched or not."""
    folders = [(wanted, _folder(cache) / wanted.name) for wanted in rows()]
    return tuple(Listed(wanted, _found(wanted, folder), _size(folder)) for wanted, folder in folders)


def _folder(cache: Path | None) -> Path:
    return (cache or user_cache_path("stopgap")) / "bundles"


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _found(wanted: BundleRow, folder: Path) -> Bundle | None:
    """The bundle, if its folder is there and was made from this row; looks at names, not at contents."""
    try:
        text = (folder / "bundle.json").read_bytes()
        described = json.loads(text)
        current = described["format"] == _FORMAT and described["wheel_sha256"] == wanted.wheel.sha256
        whole = all((folder / path).is_file() for path in described["files"])
    except (OSError, ValueError, KeyError, TypeError):  # absent or broken: either way it is fetched anew
        return None
    if not (current and whole):
        return None
    return Bundle(wanted.name, wanted.tensorflow, folder, hashlib.sha256(text).hexdigest())


@contextmanager
def _disk_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise BundleError(
                f"The disk is full: the bundle does not fit into {folder.parent}.",
                "Make room and try again, or set XDG_CACHE_HOME to a folder on a larger disk.",
            ) from error
        raise BundleError(f"The bundle folder {folder} cannot be used: {error}.", "Look at its permissions.") from error


@contextmanager
def _locked(folder: Path, progress: Progress) -> Iterator[None]:
    lock = FileLock(folder.with_name(f".{folder.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        progress(f"waiting for another stopgap to fetch {folder.name}", None)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _fetch(wanted: BundleRow, folder: Path, progress: Progress) -> Bundle:
    """Makes the folder under another name beside it, then renames. The caller holds the lock."""
    scratch = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(scratch, ignore_errors=True)  # of a fetch that was killed
    try:
        made = scratch / "bundle"
        made.mkdir(parents=True)
        _unpack(wanted, scratch, made, progress)
        _write_registry(made, progress)
        _describe(made, progress)
        _settle(made)
        shutil.rmtree(folder, ignore_errors=True)
        made.rename(folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    found = _found(wanted, folder)
    if found is None:
        raise BundleError(f"The bundle {wanted.name} vanished from {folder} while it was being made.")
    return found


def _unpack(wanted: BundleRow, scratch: Path, made: Path, progress: Progress) -> None:
    """From the wheel to the libraries, loadable and small, and a first `bundle.json`, which the registry reads."""
    from stopgap import elf  # noqa: PLC0415 - only who unpacks waits for it

    wheel = _download(wanted, scratch, progress)
    try:
        with zipfile.ZipFile(wheel) as archive:
            layout = _layout(wanted, archive.namelist())
            _extract(archive, layout.members(), made, progress)
    except zipfile.BadZipFile as error:
        raise BundleError(f"The wheel {wheel.name} is broken: {error}.", "Try again.") from error
    wheel.unlink()
    progress("making the libraries loadable and small", None)
    for path in layout.members().values():
        elf.weaken(made / path)
        elf.shrink(made / path)
    _write_json(
        made / "bundle.json",
        {
            "format": _FORMAT,
            "name": wanted.name,
            "tensorflow": wanted.tensorflow,
            "core": list(layout.core.values()),
            "op_libraries": list(layout.op_libraries.values()),
            "dependencies": list(layout.dependencies.values()),
            "wheel_sha256": wanted.wheel.sha256,
            "files": {},
        },
    )


def _download(wanted: BundleRow, scratch: Path, progress: Progress) -> Path:
    phase = f"downloading {wanted.wheel.requirement}"
    progress(phase, 0.0)
    return wheels.download(
        wanted.wheel.requirement,
        wanted.wheel.sha256,
        wheels.Target(wanted.wheel.python, wanted.wheel.abi, (wanted.wheel.platform,)),
        into=scratch,
        on_bytes=lambda count: progress(phase, min(1.0, count / wanted.wheel.size)),
    )


def _layout(wanted: BundleRow, names: list[str]) -> _Layout:
    """Core libraries are laid flat into lib/, the others keep their path: their names alone are not unique."""
    core = {f"{wanted.root}/{path}": f"lib/{PurePosixPath(path).name}" for path in wanted.core}
    dependencies = {f"{wanted.root}/{path}": f"lib/{path}" for path in wanted.dependencies}
    patterns = [f"{wanted.root}/{pattern}" for pattern in wanted.op_libraries]
    matching = sorted(name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns))
    op_libraries = {
        name: f"lib/{PurePosixPath(name).relative_to(wanted.root)}" for name in matching if name not in dependencies
    }
    absent = [member for member in [*core, *dependencies] if member not in names]
    if absent:
        raise BundleError(f"The wheel of {wanted.name} lacks {', '.join(absent)}: its row in bundles.toml is wrong.")
    return _Layout(core, dependencies, op_libraries)


def _extract(archive: zipfile.ZipFile, members: dict[str, str], made: Path, progress: Progress) -> None:
    total = sum(archive.getinfo(member).file_size for member in members)
    done = 0
    for member, path in members.items():
        target = made / path
        target.parent.mkdir(parents=True, exist_ok=True)
        with archive.open(member) as source, target.open("wb") as sink:
            while chunk := source.read(_CHUNK_BYTES):
                sink.write(chunk)
                done += len(chunk)
                progress("unpacking the libraries", done / total)


def _write_registry(made: Path, progress: Progress) -> None:
    """Lets the runtime's own code list the ops: in a process of its own, since loading TensorFlow may kill it."""
    progress("listing the ops", None)
    command = [sys.executable, "-I", str(images_folder() / "runtime"), "registry", str(made)]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_REGISTRY_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise BundleError(f"The libraries did not load within {_REGISTRY_TIMEOUT_S} s.") from error
    absent = [name for name in _REGISTRY_FILES if not (made / name).is_file()]
    if done.returncode != 0 or absent:
        complaint = done.stderr.decode("utf-8", errors="replace").strip().splitlines()[-1:]
        raise BundleError(
            f"The libraries do not load on this machine (exit code {done.returncode}): {''.join(complaint)}",
            "If a signal ended it (a negative code), this processor or C library is too old for this TensorFlow.",
        )


def _describe(made: Path, progress: Progress) -> None:
    """Completes `bundle.json` with the digest of every other file."""
    path = made / "bundle.json"
    described = json.loads(path.read_text(encoding="utf-8"))
    path.unlink()
    names = sorted(file.relative_to(made).as_posix() for file in made.rglob("*") if file.is_file())
    _write_json(path, {**described, "files": _digests(made, names, progress)})


def _digests(folder: Path, names: list[str], progress: Progress) -> dict[str, str]:
    digests = {}
    for index, name in enumerate(names):
        progress("computing the SHA-256 of every file", index / len(names))
        digests[name] = sha256_of(folder / name)
    return digests


def _write_json(path: Path, value: dict[str, object]) -> None:
    path.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def _settle(made: Path) -> None:
    """Readable by a sandbox's user, and on the disk before the rename says that it is whole."""
    for path in [made, *made.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
