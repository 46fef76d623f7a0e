"""How many candidates were tried on the same data: who tries often enough finds one that passes by luck."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from stopgap.errors import DataError

__all__ = ["candidates_tried"]


def candidates_tried(folder: Path, data_digest: str, candidate: str) -> int:
    """Counts a candidate, and says how many there were on these data, this one included: alpha is divided by it.

    A candidate counts once, however often it is asked: its answers are the same.

    Args:
        folder: Where the counts are kept; made where it is not there.
        data_digest: SHA-256 of the data, in hexadecimal.
        candidate: Its digest, or of one that has none what it goes by, without a line break.

    Raises:
        DataError: The count cannot be kept.
    """
    file = folder / f"{data_digest}.candidates"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "r+", encoding="utf-8", errors="surrogateescape") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            text = stream.read()
            whole = text[: text.rfind("\n") + 1]  # whoever was killed while writing has left half a line
            known = whole.splitlines()
            if candidate not in known:
                os.ftruncate(stream.fileno(), len(whole.encode("utf-8", "surrogateescape")))
                stream.write(f"{candidate}\n")
                stream.flush()
                os.fsync(stream.fileno())
                known.append(candidate)
            return len(known)
    except OSError as error:
        raise DataError(
            f"How many candidates were tried cannot be kept in {file}: {error.strerror}.",
            "Make room, or mend its permissions.",
        ) from error
