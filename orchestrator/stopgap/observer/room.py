"""Whether there is room for more on a disk: an observer is never to be what fills it."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["LEAST_FREE_BYTES", "LEAST_FREE_SHARE", "has_room"]

# Whichever is less: a small disk has less to spare.
LEAST_FREE_BYTES = 256 << 20
LEAST_FREE_SHARE = 0.05


def has_room(folder: Path) -> bool:
    """Of what this user may still write there.

    Raises:
        OSError: The folder is not there.
    """
    found = os.statvfs(folder)
    free, whole = found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize
    return free >= min(LEAST_FREE_BYTES, LEAST_FREE_SHARE * whole)
