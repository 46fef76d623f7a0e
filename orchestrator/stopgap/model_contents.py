"""What a model's files hold, by SHA-256; and the one digest by which it is known, wherever it lies.

The digest is of what TensorFlow reads of a model: a note that somebody puts beside it makes it no other model.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from stopgap.digests import sha256_of
from stopgap.errors import ModelError
from stopgap.models import READ_BY_TENSORFLOW
from stopgap.progress import Progress

__all__ = ["Contents", "all_files", "contents_of", "everything_in", "model_digest", "read_files"]

Contents = tuple[tuple[str, str], ...]
"""The path of each file below the model's folder, and its SHA-256."""


def all_files(folder: Path) -> list[Path]:
    """Those behind links too, which are opened like any others; a link to a folder above it is none."""
    return sorted(files_below(folder, frozenset()))


def files_below(folder: Path, above: frozenset[Path]) -> Iterator[Path]:
    here = above | {folder.resolve()}
    for entry in folder.iterdir():
        if entry.is_file():
            yield entry
        elif entry.is_dir() and entry.resolve() not in here:
            yield from files_below(entry, here)


def read_files(folder: Path) -> list[Path]:
    """Those that TensorFlow reads."""
    return [path for path in all_files(folder) if is_read(path.relative_to(folder))]


def is_read(path: Path) -> bool:
    return path.parts[0] in READ_BY_TENSORFLOW


def contents_of(folder: Path, files: Iterable[Path], progress: Progress) -> Contents:
    """
    Raises:
        ModelError: A file cannot be read.
    """
    files = list(files)
    done_bytes = 0

    def told(piece_bytes: int) -> None:
        nonlocal done_bytes
        done_bytes += piece_bytes
        progress("reading the model", min(1.0, done_bytes / all_bytes))

    try:
        all_bytes = sum(path.stat().st_size for path in files) or 1
        return tuple((os.fspath(path.relative_to(folder)), sha256_of(path, told)) for path in files)
    except OSError as error:
        raise ModelError(f"{error.filename or folder} cannot be read: {error.strerror}.") from error


def everything_in(folder: Path, progress: Progress) -> Contents:
    """Of all that a sandbox sees of a model: a graph may read what lies beside its own files.

    Raises:
        ModelError: A file or a folder cannot be read.
    """
    try:
        files = all_files(folder)
    except OSError as error:
        raise ModelError(
            f"{error.filename or folder} cannot be read: {error.strerror}.",
            "All that lies in the model's folder is hashed: let it be read, or take it away.",
        ) from error
    return contents_of(folder, files, progress)


def model_digest(contents: Contents) -> str:
    """SHA-256 in hexadecimal, of what TensorFlow reads among these: the names and the contents."""
    files = sorted((path, digest) for path, digest in contents if is_read(Path(path)))
    return hashlib.sha256(json.dumps(files).encode()).hexdigest()
