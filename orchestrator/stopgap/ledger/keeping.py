"""One ledger at work: what Envoy tells is gathered for a second, then written into the book of its split.

Threads of gRPC's take what comes, one for each of Envoy's; the main thread writes, and so do those of the feedback
listeners: one at a time.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from google.protobuf.message import DecodeError

from stopgap.errors import DeploymentError, FrontError, LedgerError
from stopgap.front.admin import Admin
from stopgap.front.arms import arms
from stopgap.front.routes import Kind
from stopgap.ledger.book import Book, Feedback, Taken
from stopgap.ledger.entries import Entry, entries
from stopgap.ledger.listener import listening
from stopgap.ledger.receiver import receiving
from stopgap.ledgers import book_file, splits_behind
from stopgap.stages import HandOver
from stopgap.store import Store

__all__ = ["keep"]

log = logging.getLogger(__name__)

COMMIT_EVERY_S = 1.0
LOOK_EVERY_S = 5.0
MOST_GATHERED = 50_000


def keep(port: int, store: Store, listens: Callable[[], None], ends: threading.Event) -> None:
    """Returns when it is told to end, with all written down.

    Args:
        port: Of the front.
        listens: Called once answers are taken.
        ends: When to end.

    Raises:
        LedgerError: A book cannot be opened, or a port is taken.
    """
    with contextlib.ExitStack() as stack:
        keeper = Keeper(port, store)
        stack.callback(keeper.close)
        keeper.follow()
        for record in splits_behind(port, store):
            if record.feedback_port:
                stack.enter_context(listening(record.feedback_port, partial(keeper.tell, record.name)))
        store.make_front_folder(port)
        with receiving(store.ledger_socket(port), keeper.take):
            listens()
            while not ends.wait(COMMIT_EVERY_S):
                keeper.go_on()
        keeper.go_on()


@dataclass(frozen=True)
class Kept:
    """A split and its book."""

    record: HandOver
    book: Book

    @property
    def counted(self) -> str:
        """What the front counts it under."""
        return f"{self.record.name}/{self.record.salt}"


class Keeper:
    """What it has gathered, and the books. Any thread may call any method."""

    def __init__(self, port: int, store: Store) -> None:
        self._port, self._store = port, store
        self._gathered: list[Entry] = []
        self._gathering, self._writing = threading.Lock(), threading.Lock()
        self._kept: dict[str, Kept] = {}
        self._next_look = 0.0

    def close(self) -> None:
        """Of what is gathered nothing is written any more."""
        for kept in self._kept.values():
            kept.book.close()

    def take(self, message: bytes) -> None:
        """Gathers what Envoy tells; what does not fit is missing in the books, and the front's count shows it."""
        try:
            found = list(entries(message))
        except DecodeError:
            log.warning("a message of %d bytes is none of Envoy's access log", len(message))
            return
        with self._gathering:
            self._gathered += found[: MOST_GATHERED - len(self._gathered)]

    def go_on(self) -> None:
        """Writes down what was gathered; a disk that is full may not be so for ever."""
        with self._writing:
            looks = time.monotonic() >= self._next_look
            self._next_look = time.monotonic() + LOOK_EVERY_S if looks else self._next_look
            try:
                self.follow()
                self._write(looks=looks)
            except LedgerError as error:
                log.warning("%s", error.problem)

    def tell(self, name: str, feedback: Feedback) -> Taken:
        """What came of an answer to a caller of that model; it is written down when this returns.

        Raises:
            LedgerError: It cannot be.
        """
        with self._writing:
            self._write(looks=False)
            return self._kept[name].book.tell(feedback)

    def follow(self) -> None:
        """The splits that there are now. One that has just ended keeps its book: some of it may be on its way."""
        with contextlib.suppress(DeploymentError):  # a record that is damaged: a person has to look at it
            for record in splits_behind(self._port, self._store):
                before = self._kept.get(record.name)
                if before is not None and before.record.salt != record.salt:
                    before.book.close()
                    before = None
                book = before.book if before else opened(record, self._store)
                self._kept[record.name] = Kept(record, book)

    def _write(self, *, looks: bool) -> None:
        with self._gathering:
            gathered, self._gathered = self._gathered, []
        by_split = defaultdict[str, list[Entry]](list)
        for entry in gathered:
            by_split[entry.split].append(entry)
        for kept in self._kept.values():
            found = by_split[kept.counted]
            front = self._counted_by_front(kept) if looks else None
            if found or front is not None:
                kept.book.write(found, front)

    def _counted_by_front(self, kept: Kept) -> int | None:
        """None where no Envoy answers: it is looked at next time."""
        admin = Admin(self._store.front_folder(self._port) / "admin")
        with contextlib.suppress(FrontError):
            found = arms(admin, kept.counted, [kept.record.name, candidate_of(kept.record)])
            return sum(arm.asked for arm in found if arm.kind is Kind.KEYED)
        return None


def opened(record: HandOver, store: Store) -> Book:
    return Book.of_split(book_file(record.name, store), record.salt, record.name, candidate_of(record))


def candidate_of(record: HandOver) -> str:
    return record.candidate.name if record.candidate else ""
