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
_SIZE: Final = struct.Struct("=Q")
_ENTRY: Final = struct.Struct(f"={_DIGEST_BYTES}s{_INCIDENT_BYTES}sd")
# First how many entries there are. Then all their sizes, so that one search tells nearly every request that it is not
# meant; then the rest of each.
_COUNT: Final = struct.Struct("=Q")
_SIZES_AT: Final = _COUNT.size
_ENTRIES_AT: Final = _SIZES_AT + LIMIT * _SIZE.size


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


class Quarantine:
    """The list. The newest entries take the place of the oldest.

    Args:
        descriptor: Of a list that there is already; a new one without.
    """

    def __init__(self, descriptor: int | None = None) -> None:
        self._page = SharedPage(_ENTRIES_AT + LIMIT * _ENTRY.size, descriptor)
        self._memory = self._page.memory
        self._written = 0

    @property
    def descriptor(self) -> int:
        """By which a worker maps it."""
        return self._page.descriptor

    def __len__(self) -> int:
        now = time.monotonic()
        return sum(until > now for _, _, until in _ENTRY.iter_unpack(self._memory[_ENTRIES_AT:]))

    def add(self, fingerprint: Fingerprint, incident: str) -> None:
        """Turns away such requests from now on, for an hour."""
        place = self._written % LIMIT
        until = time.monotonic() + LASTS_S
        _ENTRY.pack_into(self._memory, _entry_at(place), fingerprint.digest, incident.encode(), until)
        _SIZE.pack_into(self._memory, _SIZES_AT + place * _SIZE.size, fingerprint.size)
        self._written += 1
        _COUNT.pack_into(self._memory, 0, min(self._written, LIMIT))

    def release(self) -> None:
        """Lets everything in again."""
        self._memory[:] = bytes(len(self._memory))
        self._written = 0

    def incident_of(self, request: Request) -> str | None:
        """The incident for which a request is turned away; None for one that may run.

        While the list is empty, which is nearly always, it is one look at one number.
        """
        (count,) = _COUNT.unpack_from(self._memory)
        if not count:
            return None
        sizes = self._memory[_SIZES_AT : min(_SIZES_AT + count * _SIZE.size, _ENTRIES_AT)]
        size = _SIZE.pack(len(request.body))
        if size not in sizes:
            return None
        digest = Fingerprint.of(request).digest
        return next((incident for suspect, incident in self._entries_of(size, sizes) if suspect == digest), None)

    def _entries_of(self, size: bytes, sizes: bytes) -> Iterator[tuple[bytes, str]]:
        """Digest and incident of each of that size that has not expired."""
        found = sizes.find(size)
        while found >= 0:
            place, between = divmod(found, _SIZE.size)
            if not between:
                digest, incident, until = _ENTRY.unpack_from(self._memory, _entry_at(place))
                if until > time.monotonic():
                    yield digest, incident.rstrip(b"\0").decode("ascii", "replace")
            found = sizes.find(size, found + 1)


def _entry_at(place: int) -> int:
    return _ENTRIES_AT + place * _ENTRY.size
