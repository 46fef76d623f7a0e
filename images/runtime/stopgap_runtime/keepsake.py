"""The request that is run alone, kept for whoever may look at what ended a worker: only where that was allowed.

Memory that the lane's worker shares with the parent, which keeps it when the worker is gone and never reads it: it
hands it over as it is, to somebody outside who knows that all of it may be forged.
"""

from __future__ import annotations

import json
import os
import select
import socket
import struct
from collections.abc import Iterable
from typing import Final

from .http11 import Request
from .shared_page import SharedPage

__all__ = ["LARGEST_BYTES", "Keepsake", "hand_over"]

LARGEST_BYTES: Final = 4 << 20  # path and body together; it is the sandbox's memory that this takes
_HEADER: Final = struct.Struct("<II")


class Keepsake:
    """Room for one request.

    Args:
        descriptor: Of one that there is already; a new one without.
    """

    def __init__(self, descriptor: int | None = None) -> None:
        self._page = SharedPage(_HEADER.size + LARGEST_BYTES, descriptor)

    @property
    def descriptor(self) -> int:
        """By which a worker maps it."""
        return self._page.descriptor

    def put(self, request: Request) -> None:
        """Keeps it in the place of the one before, or nothing where it is too large."""
        path = request.path.encode("latin-1", "replace")
        length = len(path) + len(request.body)
        if length > LARGEST_BYTES:
            _HEADER.pack_into(self._page.memory, 0, 0, 0)
            return
        body_at = _HEADER.size + len(path)
        self._page.memory[_HEADER.size : body_at] = path
        self._page.memory[body_at : _HEADER.size + length] = request.body
        _HEADER.pack_into(self._page.memory, 0, len(path), len(request.body))

    def close(self) -> None:
        """Lets it go."""
        self._page.close()


def hand_over(kept: Iterable[tuple[str, Keepsake]], listener: socket.socket) -> None:
    """Sends each: a line of JSON that names its incident and how many bytes follow, then those bytes.

    They are two numbers, little-endian and of 32 bits, the lengths of path and body, and then both.
    """
    for incident, keepsake in kept:
        path_bytes, body_bytes = _HEADER.unpack(os.pread(keepsake.descriptor, _HEADER.size, 0))
        length = _HEADER.size + min(path_bytes + body_bytes, LARGEST_BYTES)
        listener.sendall(json.dumps({"incident": incident, "bytes": length}).encode() + b"\n")
        sent = 0
        while sent < length and select.select([], [listener], [], listener.gettimeout())[1]:  # a timeout means no block
            sent += os.sendfile(listener.fileno(), keepsake.descriptor, sent, length - sent)
