"""A little memory that a parent shares with one worker, or with all: whoever has its descriptor maps it."""

from __future__ import annotations

import fcntl
import mmap
import os
from typing import Final

__all__ = ["SharedPage"]

# Who has the descriptor may write; but not make it larger, with memory that nobody's limit counts and that outlives it.
_SEALS: Final = fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL


class SharedPage:
    """Anonymous memory behind a descriptor. A forked process does not inherit the mapping: it is to see its own pages
    alone, and not those of its siblings.

    Args:
        size: In bytes.
        descriptor: Of one that somebody else made, which is closed; without it a new one is made, of zeros.

    Attributes:
        memory: The mapping.
        descriptor: By which another process maps it too.

    Raises:
        OSError: No descriptor or no memory is left.
    """

    def __init__(self, size: int, descriptor: int | None = None) -> None:
        self.descriptor = _new() if descriptor is None else descriptor
        try:
            if descriptor is None:
                os.truncate(self.descriptor, size)
                fcntl.fcntl(self.descriptor, fcntl.F_ADD_SEALS, _SEALS)
            self.memory = mmap.mmap(self.descriptor, size)  # which keeps a descriptor of its own open
            self.memory.madvise(mmap.MADV_DONTFORK)
        except OSError:
            os.close(self.descriptor)
            raise
        if descriptor is not None:
            os.close(descriptor)

    def close(self) -> None:
        """Unmaps it."""
        self.memory.close()
        os.close(self.descriptor)


def _new() -> int:
    return os.memfd_create("stopgap", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
