"""A little memory that a parent shares with its workers, those included that a fresh program is made for."""

from __future__ import annotations

import mmap
import os

__all__ = ["SharedPage"]


class SharedPage:
    """Anonymous memory behind a descriptor: a forked process keeps the mapping, an executed one maps it again.

    Args:
        size: In bytes.
        descriptor: Of one that somebody else made, which is closed; without it a new one is made, of zeros.

    Attributes:
        memory: The mapping.
        descriptor: What an executed process needs.
    """

    def __init__(self, size: int, descriptor: int | None = None) -> None:
        self.descriptor = os.memfd_create("stopgap") if descriptor is None else descriptor
        if descriptor is None:
            os.truncate(self.descriptor, size)
        self.memory = mmap.mmap(self.descriptor, size)  # which keeps a descriptor of its own open
        if descriptor is not None:
            os.close(descriptor)

    def close(self) -> None:
        """Unmaps it."""
        self.memory.close()
        os.close(self.descriptor)
