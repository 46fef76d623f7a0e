"""The digest of a file that may be larger than memory should hold."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

__all__ = ["sha256_of"]

_CHUNK_BYTES = 1 << 20


def sha256_of(path: Path, on_read: Callable[[int], None] | None = None) -> str:
    """In hexadecimal; raises OSError where the file cannot be read.

    Args:
        on_read: Told of each piece's bytes, for whoever waits.
    """
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
            if on_read is not None:
                on_read(len(chunk))
    return digest.hexdigest()
