"""Writing a report whole or not at all; for its owner alone where it shows what was asked."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path

from stopgap.errors import ComparisonError

__all__ = ["check_writable", "write_whole"]


def check_writable(file: Path) -> None:
    """Before anything long begins.

    Raises:
        ComparisonError: There is no such folder, or it cannot be written to.
    """
    folder = file.absolute().parent
    if file.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
        raise ComparisonError(f"{file} cannot be written.", "Name a file in a folder that is there.")


def write_whole(file: Path, text: str, *, private: bool) -> None:
    """Takes the place of what lay there at once.

    Args:
        private: Only its owner may read it, whatever was there before.

    Raises:
        ComparisonError: It cannot be written.
    """
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.absolute().parent)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as stream:
                stream.write(text)
            if not private:
                Path(name).chmod(0o666 & ~umask())
            Path(name).replace(file)
        except BaseException:
            with suppress(OSError):
                Path(name).unlink()
            raise
    except OSError as error:
        raise ComparisonError(f"{file} cannot be written: {error.strerror}.") from error


def umask() -> int:
    found = os.umask(0o077)
    os.umask(found)
    return found
