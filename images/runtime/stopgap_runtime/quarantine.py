"""Requests that are not run again: each has ended a worker that ran nothing else.

A list in shared memory. The parent writes it, every worker reads it; a hostile worker can turn away callers of its own
model with it, which it can without. Its bound and its expiry are the parent's.
"""

from __future__ import annotations

import hashlib
import struct
import time
from collections.abc import Iterator
from typing import Final, NamedTuple

from .http11 import Request
from .shared_page import SharedPage

__all__ = ["LASTS_S", "LIMIT", "Fingerprint", "Quarantine"]

LIMIT: Final = 256
LASTS_S: Final = 3600.0
_DIGEST_BYTES: Final = 16
_INCIDENT_BYTES: Final = 16
_ENTRY: Final = struct.Struct(f"=Q{_DIGEST_BYTES}s{_INCIDENT_BYTES}sd")
_HEADER_BYTES: Final = 8


class Fingerprint(NamedTuple):
    """What a request is known by.

    A cryptographic hash: nobody can make a request that ends a worker and looks like an honest one. The size comes
    first, so that requests of other sizes are not hashed at all.
    """

    size: int
    digest: bytes

    @classmethod
    def of(cls, request: Request) -> Fingerprint:
        """Of the path and the body, to the byte."""
        hashed = hashlib.blake2b(request.path.encode("latin-1", "replace") + b"\0", digest_size=_DIGEST_BYTES)
        hashed.update(request.body)
        return cls(len(request.body), hashed.digest())

    def __str__(self) -> str:
        return self.digest.hex()


class _Entry(NamedTuple):
    fingerprint: Fingerprint
    incident: str
    until: float  # time.monotonic(), which all processes of one kernel share


class Quarantine:
    """The list. The newest entries take the place of the oldest.

    Args:
        descriptor: Of a list that there is already; a new one without.
    """

    def __init__(self, descriptor: int | None = None) -> None:
        self._page = SharedPage(_HEADER_BYTES + LIMIT * _ENTRY.size, descriptor)
        self._memory = self._page.memory
        self._written = 0

    @property
    def descriptor(self) -> int:
        """By which a worker maps it."""
        return self._page.descriptor

    def __len__(self) -> int:
        return sum(1 for _ in self._entries())

    def add(self, fingerprint: Fingerprint, incident: str) -> None:
        """Turns away such requests from now on, for an hour."""
        entry = _ENTRY.pack(*fingerprint, incident.encode(), time.monotonic() + LASTS_S)
        place = _HEADER_BYTES + self._written % LIMIT * _ENTRY.size
        self._memory[place : place + _ENTRY.size] = entry
        self._written += 1
        self._memory[0] = 1

    def release(self) -> None:
        """Lets everything in again."""
        self._memory[:] = bytes(len(self._memory))

    def incident_of(self, request: Request) -> str | None:
        """The incident for which a request is turned away; None for one that may run.

        While the list is empty, which is nearly always, it is one look at one byte.
        """
        if not self._memory[0]:
            return None
        suspects = [entry for entry in self._entries() if entry.fingerprint.size == len(request.body)]
        if not suspects:
            return None
        fingerprint = Fingerprint.of(request)
        return next((entry.incident for entry in suspects if entry.fingerprint == fingerprint), None)

    def _entries(self) -> Iterator[_Entry]:
        now = time.monotonic()
        for size, digest, incident, until in _ENTRY.iter_unpack(self._memory[_HEADER_BYTES:]):
            if until > now:
                name = incident.rstrip(b"\0").decode("ascii", "replace")
                yield _Entry(Fingerprint(size, digest), name, until)
