"""What a worker tells its parent without a word: its stage, that it lives, when it was asked last, by when what it does
must have ended, what it runs alone.

One page of shared memory for each worker. The worker writes, the parent reads; a worker that lies in it can only get
itself replaced, or not replaced, and requests of its own model turned away, or not. Times are `time.monotonic()`, which
all processes of one kernel share.
"""

from __future__ import annotations

import enum
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from .quarantine import Fingerprint
from .shared_page import SharedPage

__all__ = ["Scoreboard", "Stage"]


class Stage(enum.IntEnum):
    """How far a worker has come."""

    STARTING = 0
    LOADING = 1
    WARMING = 2
    SERVING = 3


_ALONE: Final = struct.Struct("=?Q16s")
_ALONE_AT: Final = 8
_BEAT: Final = struct.Struct("=Q")
_BEAT_AT: Final = 40
_ASKED: Final = struct.Struct("=d")
_ASKED_AT: Final = 48
_SLOT: Final = struct.Struct("=d")
_SLOTS_EACH: Final = 2
_FIRST_SLOT: Final = 56
_NEVER: Final = 0.0


class Scoreboard:
    """One worker's page.

    Args:
        connections: How many requests can be answered at once; each may announce itself, and its run.
        descriptor: Of a page that there is already; a new one without.
    """

    def __init__(self, connections: int, descriptor: int | None = None) -> None:
        self.connections = connections
        slots = connections * _SLOTS_EACH
        self._page = SharedPage(_FIRST_SLOT + slots * _SLOT.size, descriptor)
        self._memory = self._page.memory
        self._free = list(range(slots))

    @property
    def descriptor(self) -> int:
        """By which its worker maps it."""
        return self._page.descriptor

    def close(self) -> None:
        """Lets the page go."""
        self._page.close()

    @property
    def stage(self) -> Stage:
        """How far the worker has come; a number that is no stage counts as starting."""
        try:
            return Stage(self._memory[0])
        except ValueError:
            return Stage.STARTING

    @stage.setter
    def stage(self, stage: Stage) -> None:
        self._memory[0] = stage

    @property
    def beat(self) -> int:
        """A number that changes as long as the worker lives."""
        beat: int = _BEAT.unpack_from(self._memory, _BEAT_AT)[0]
        return beat

    def show_life(self) -> None:
        """Changes it."""
        _BEAT.pack_into(self._memory, _BEAT_AT, (self.beat + 1) % (1 << 64))

    @property
    def last_asked(self) -> float:
        """When somebody has asked last, as far as that is noted; zero before."""
        last: float = _ASKED.unpack_from(self._memory, _ASKED_AT)[0]
        return last

    def note_asked(self) -> None:
        """Notes that somebody asks now."""
        _ASKED.pack_into(self._memory, _ASKED_AT, time.monotonic())

    @contextmanager
    def busy_until(self, deadline: float) -> Iterator[None]:
        """Announces something that must have ended by `deadline`."""
        slot = self._free.pop()  # lists pop and append in one step
        offset = _FIRST_SLOT + slot * _SLOT.size
        _SLOT.pack_into(self._memory, offset, deadline)
        try:
            yield
        finally:
            _SLOT.pack_into(self._memory, offset, _NEVER)
            self._free.append(slot)

    @contextmanager
    def run_alone(self, fingerprint: Fingerprint) -> Iterator[None]:
        """Announces that this request is answered, and nothing beside it."""
        _ALONE.pack_into(self._memory, _ALONE_AT, True, *fingerprint)
        try:
            yield
        finally:
            _ALONE.pack_into(self._memory, _ALONE_AT, False, 0, b"")

    @property
    def alone(self) -> Fingerprint | None:
        """The request that is answered alone; None where there is none."""
        is_alone, size, digest = _ALONE.unpack_from(self._memory, _ALONE_AT)
        return Fingerprint(size, digest) if is_alone else None

    @property
    def busy(self) -> bool:
        """Whether anything is under way."""
        return any(self._memory[_FIRST_SLOT:])

    def overdue_s(self) -> float:
        """By how many seconds the worst of it is over its deadline; negative or zero when nothing is."""
        values = (value for (value,) in _SLOT.iter_unpack(self._memory[_FIRST_SLOT:]))
        deadlines = [value for value in values if value != _NEVER]
        return time.monotonic() - min(deadlines) if deadlines else 0.0
