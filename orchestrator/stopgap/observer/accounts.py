"""The accounts of one experiment: what the tap has counted and what the front has, added up over both's restarts."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

from stopgap.errors import DeploymentError, FrontError, StopgapError
from stopgap.front.admin import Admin
from stopgap.front.mirrored import Mirrored, mirrored
from stopgap.observer.counting import (
    BEGUN,
    DROPPED,
    LOST,
    MISSING,
    SEEN,
    UNDELIVERED,
    Totals,
    advanced,
    totals_in,
)
from stopgap.observer.tap import Tap
from stopgap.observers import Kind, Wanted
from stopgap.store import Store

__all__ = ["Accounts", "totals_now"]

MIB = 1 << 20
LOOK_EVERY_S = 5.0

W = TypeVar("W", bound=Wanted)


class Accounts:
    """
    Attributes:
        counts: By the names under which they are kept, see `observer.counting`.
        changed: Whether they have since this was last set to False.
        per_million: The sample that is wanted now.
    """

    def __init__(self, kind: Kind[W], wanted: W, store: Store) -> None:
        self._wanted, self._store = wanted, store
        self._find: Callable[[], Wanted | None] = lambda: kind.find(wanted.name, store)
        self.counts: dict[str, int] = {}
        self.changed = True
        # What the tap has counted since it was made, as far as it is in the counts.
        self._tap_seen, self._tap_dropped = 0, dict[str, int]()
        self.per_million = wanted.mirrored
        self._unsure, self._unsure_looks = 0, 0
        self._next_look = 0.0

    @property
    def totals(self) -> Totals:
        return totals_in(self.counts)

    def begin(self, tap: Tap | None) -> None:
        """From nothing: what the front has counted by now is none of it, nor what the tap has, where there is one."""
        if tap is not None:
            self._tap_seen, self._tap_dropped = tap.turn()
        self.counts = {}
        self.look(only_read=True)

    def take_up(self, counts: Mapping[str, int]) -> None:
        """Where those that were written down last ended."""
        self.counts = dict(counts)
        self.look(only_read=self.counts.get(BEGUN) != self._wanted.begun_s)

    def count_lost(self) -> None:
        """What the front has delivered to the observer before this one, and that one has not settled."""
        totals = self.totals
        delivered = max(totals.sent - totals.undelivered, totals.seen)
        own = sum(totals.dropped.values()) - totals.dropped.get(UNDELIVERED, 0)
        self.counts[SEEN] = delivered
        self.add({DROPPED + LOST: max(0, delivered - totals.joined - own)})

    def settle(self, tap: Tap) -> None:
        """At an observer's end: what it took, and will not answer any more, is lost."""
        self.count(tap)
        self.look()
        self.count_lost()

    def new_tap(self) -> Tap:
        """As the observer is wanted."""
        wanted = self._wanted
        largest = min(wanted.largest_mib, wanted.queue_mib) * MIB
        return Tap(wanted.queue, wanted.queue_mib * MIB, largest, wanted.deadline_s, self.counts.get(SEEN, 0))

    def count(self, tap: Tap) -> None:
        seen, dropped = tap.counts()
        self.add({SEEN: seen - self._tap_seen})
        self.add({DROPPED + reason: count - self._tap_dropped.get(reason, 0) for reason, count in dropped.items()})
        self._tap_seen, self._tap_dropped = seen, dropped

    def add(self, counts: Mapping[str, int]) -> None:
        for name, number in counts.items():
            if number:
                self.counts[name] = self.counts.get(name, 0) + number
                self.changed = True

    def is_look_due(self) -> bool:
        """Every few seconds."""
        now = time.monotonic()
        if now < self._next_look:
            return False
        self._next_look = now + LOOK_EVERY_S
        return True

    def look(self, *, only_read: bool = False) -> None:
        """At the front's counters; an Envoy that does not answer is looked at next time, and counted from then on."""
        only_read = only_read or self.counts.get(BEGUN) != self._wanted.begun_s
        with contextlib.suppress(FrontError, DeploymentError):
            read = front_counts(self._wanted, self._store)
            before = self.totals.undelivered
            self.counts.update(advanced(self.counts, read, self.per_million, unsure=self._unsure, only_read=only_read))
            self.counts[BEGUN] = self._wanted.begun_s
            self.add({DROPPED + UNDELIVERED: self.totals.undelivered - before})
            self.counts[MISSING] = self.totals.unaccounted
            self._unsure_looks -= 1
            if self._unsure_looks <= 0:
                self._unsure = 0

    def follow_sample(self) -> None:
        """Another sample from now on, if one is wanted."""
        with contextlib.suppress(StopgapError):
            wanted = self._find()
            if wanted is not None and wanted.per_million != self.per_million:
                # Nobody knows when, between the last look and the next, the front took that up.
                self._unsure, self._unsure_looks = abs(wanted.per_million - self.per_million), 2
                self.per_million = wanted.mirrored


def totals_now(counts: Mapping[str, int], wanted: Wanted | None, store: Store) -> Totals:
    """With what the front has counted since an observer looked, which it does every few seconds, and a dead one never.

    Args:
        counts: As they were written down.
        wanted: None where it has ended.
    """
    if wanted is not None and counts.get(BEGUN) == wanted.begun_s:
        with contextlib.suppress(StopgapError):
            counts = {**counts, **advanced(counts, front_counts(wanted, store), wanted.mirrored)}
    return totals_in(counts)


def front_counts(wanted: Wanted, store: Store) -> Mirrored:
    port = store.deployment(wanted.name).front.grpc_port
    return mirrored(Admin(store.front_folder(port) / "admin"), wanted.name, wanted.kind)
