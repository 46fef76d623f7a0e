"""The model's folder on the host: which version is meant, and whether a sandbox can read it.

It looks at names and permissions alone. What the files say is the runtime's to judge, inside the sandbox.
"""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from stopgap.errors import ModelError

__all__ = ["SANDBOX", "SANDBOX_UID", "Model", "Reader", "check_op_library", "find_model"]

SANDBOX_UID = 65534

GRAPHS = ("saved_model.pb", "saved_model.pbtxt")
ELF = b"\x7fELF"
READ_BY_TENSORFLOW = (*GRAPHS, "variables", "assets")


@dataclass(frozen=True)
class Model:
    """One version of a model: a folder with `saved_model.pb` or `saved_model.pbtxt` in it."""

    folder: Path
    version: int


@dataclass(frozen=True)
class Reader:
    """As whom a sandbox reads files: to the kernel, which grants or refuses."""

    uid: int = SANDBOX_UID
    gids: frozenset[int] = frozenset({SANDBOX_UID})


SANDBOX = Reader()


def find_model(path: Path, reader: Reader = SANDBOX) -> Model:
    """The model at `path`: a SavedModel, or a folder of numbered versions, of which the newest is taken.

    Raises:
        ModelError: There is none, or a sandbox could not read it.
    """
    try:
        folder = path.resolve(strict=True)
        model = only_version(folder) if is_saved_model(folder) else newest_version(folder, path)
    except FileNotFoundError as error:
        raise ModelError(f"{path} does not exist.", "Give the folder that holds saved_model.pb.") from error
    except RuntimeError as error:  # what `resolve` calls a circle of links before Python 3.13
        raise ModelError(f"{path} is a link that leads in a circle.") from error
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}.") from error
    check_readable(model.folder, reader)
    return model


def is_saved_model(folder: Path) -> bool:
    return any((folder / graph).is_file() for graph in GRAPHS)


def number_of(folder: Path) -> int | None:
    """The version that a folder's name stands for; zero-padded names count, as in TF Serving."""
    return int(folder.name) if folder.name.isascii() and folder.name.isdigit() else None


def only_version(folder: Path) -> Model:
    number = number_of(folder)
    return Model(folder, 1 if number is None else number)


def newest_version(folder: Path, given: Path) -> Model:
    if not folder.is_dir():
        raise ModelError(f"{given} is a file, not a model's folder.", "Give the folder that holds saved_model.pb.")
    numbered = ((number_of(entry), entry) for entry in folder.iterdir() if entry.is_dir())
    versions = {number: entry for number, entry in numbered if number is not None}
    if not versions:
        raise ModelError(
            f"{given} is not a SavedModel: it holds neither saved_model.pb nor saved_model.pbtxt, "
            "nor folders named by version numbers.",
            "Give the folder that `tf.saved_model` wrote, or the folder of its versions (1/, 2/, …).",
        )
    newest = max(versions)
    version_folder = versions[newest].resolve(strict=True)
    if not is_saved_model(version_folder):
        raise ModelError(
            f"version {newest} of {given} is not a SavedModel: {versions[newest]} holds neither saved_model.pb "
            "nor saved_model.pbtxt.",
            "Finish copying it, take it away, or give one version's folder.",
        )
    return Model(version_folder, newest)


def check_readable(folder: Path, reader: Reader) -> None:
    """Raises ModelError for the first thing in `folder` that the reader cannot read, or would not find.

    The folders above do not matter: a bind mount begins at `folder` itself.
    """
    check_permission(folder, folder, reader)
    for name in READ_BY_TENSORFLOW:
        if os.path.lexists(folder / name):
            for entry in tree(folder / name):
                check_entry(entry, folder, reader)


def tree(entry: Path) -> Iterator[Path]:
    yield entry
    if entry.is_dir() and not entry.is_symlink():
        try:
            children = sorted(entry.iterdir())
        except PermissionError:
            return  # its own permission is checked before its children are asked for; as its owner we may be refused
        for child in children:
            yield from tree(child)


def check_entry(entry: Path, folder: Path, reader: Reader) -> None:
    if entry.is_symlink():
        check_link(entry, folder)
    mode = entry.stat().st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise ModelError(f"{entry} is neither a file nor a folder.", "A model is made of plain files: take it away.")
    check_permission(entry, folder, reader)


def check_link(link: Path, folder: Path) -> None:
    """In the sandbox the model's folder is all there is, under another name: only relative links within it hold."""
    target = link.readlink()
    inside = not target.is_absolute() and folder in link.resolve().parents
    if not inside:
        raise ModelError(
            f"{link} is a link that leads out of the model's folder; the sandbox sees that folder alone.",
            f"Serve a copy with the files themselves: cp -rL {shlex.quote(str(folder))} COPY",
        )
    if not link.exists():
        raise ModelError(f"{link} is a link to {target}, which does not exist.")


def check_permission(entry: Path, folder: Path, reader: Reader) -> None:
    if not may_read(reader, entry.stat()):
        what = "the folder" if entry.is_dir() else "the file"
        raise ModelError(
            f"The sandbox's user ({reader.uid}) cannot read {what} {entry}.",
            f"Let others read it: chmod -R o+rX {shlex.quote(str(folder))}",
        )


def may_read(reader: Reader, status: os.stat_result) -> bool:
    """Linux asks the owner's bits of the owner alone, then the group's, then the others'."""
    needed = 0o5 if stat.S_ISDIR(status.st_mode) else 0o4
    if status.st_uid == reader.uid:
        granted = status.st_mode >> 6
    elif status.st_gid in reader.gids:
        granted = status.st_mode >> 3
    else:
        granted = status.st_mode
    return granted & needed == needed


def check_op_library(path: Path, reader: Reader = SANDBOX) -> Path:
    """The resolved path of a library of custom ops.

    Raises:
        ModelError: It is not a shared library, or the sandbox could not read it.
    """
    library = path.resolve()
    if not library.is_file():
        raise ModelError(f"The op library {path} is not a file.", "Give the .so file that registers the model's ops.")
    if not may_read(reader, library.stat()):
        raise ModelError(
            f"The sandbox's user ({reader.uid}) cannot read the op library {path}.",
            f"Let others read it: chmod o+r {shlex.quote(str(library))}",
        )
    if not begins_as_elf(library):
        raise ModelError(
            f"The op library {path} is not a shared library for Linux.",
            "Give the .so file that the ops were compiled into, for this machine and the bundle's TensorFlow.",
        )
    return library


def begins_as_elf(file: Path) -> bool:
    """What it says beyond that is judged inside the sandbox."""
    try:
        with file.open("rb") as stream:
            return stream.read(len(ELF)) == ELF
    except OSError as error:
        raise ModelError(f"{file} cannot be read: {error.strerror}.") from error
