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
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

from google.protobuf.message import DecodeError

from stopgap.errors import DeploymentError, FrontError, LedgerError
from stopgap.front.admin import Admin
from stopgap.front.arms import arms
from stopgap.front.routes import Kind
from stopgap.ledger.book import Book, Feedback, Taken
from stopgap.ledger.entries import Entry, entries
from stopgap.ledger.listener import Tell, listening
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
        LedgerError: No book can be opened, or a port is taken.
    """
    with contextlib.ExitStack() as stack:
        keeper = Keeper(port, store)
        stack.callback(keeper.close)
        keeper.begin()
        listeners = Listeners()
        stack.callback(listeners.close)
        for record in splits_behind(port, store):
            if record.feedback_port:
                listeners.open(record, partial(keeper.tell, record.name))
        store.make_front_folder(port)
        with receiving(store.ledger_socket(port), keeper.take):
            listens()
            while not ends.wait(COMMIT_EVERY_S):
                keeper.go_on()
                with contextlib.suppress(DeploymentError):  # a record that is damaged: a person has to look at it
                    listeners.follow(splits_behind(port, store))
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


class Listeners:
    """Those for feedback: one for each split that has a port, for as long as it lasts."""

    def __init__(self) -> None:
        self._open: dict[tuple[str, str], contextlib.ExitStack] = {}

    def open(self, split: HandOver, tell: Tell) -> None:
        """
        Raises:
            LedgerError: The port is taken.
        """
        opened = contextlib.ExitStack()
        opened.enter_context(listening(split.feedback_port, tell))
        self._open[split.name, split.salt] = opened

    def follow(self, splits: Iterable[HandOver]) -> None:
        """Closes those of splits that have ended: others of the front may last."""
        for ended in self._open.keys() - {(split.name, split.salt) for split in splits}:
            self._open.pop(ended).close()

    def close(self) -> None:
        """All."""
        self.follow(())


class Keeper:
    """What it has gathered, and the books. Any thread may call any method."""

    def __init__(self, port: int, store: Store) -> None:
        self._port, self._store = port, store
        self._gathered: list[Entry] = []
        self._gathering, self._writing = threading.Lock(), threading.Lock()
        self._kept: dict[str, Kept] = {}
        self._wrong: dict[tuple[str, str], LedgerError] = {}
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
            self._follow()
            self._write(looks=looks)

    def tell(self, name: str, feedback: Feedback) -> Taken:
        """What came of an answer to a caller of that model; it is written down when this returns.

        Raises:
            LedgerError: It cannot be.
        """
        with self._writing:
            self._write(looks=False)
            if name not in self._kept:
                raise LedgerError(f"The ledger of {name} cannot be opened.", "See why: stopgap status")
            return self._kept[name].book.tell(feedback)

    def begin(self) -> None:
        """
        Raises:
            LedgerError: There is no book that can be opened.
        """
        with self._writing:
            self._follow()
            if self._wrong and not self._kept:
                raise next(iter(self._wrong.values()))

    def _follow(self) -> None:
        """The splits that there are now. One that has just ended keeps its book: some of it may be on its way."""
        with contextlib.suppress(DeploymentError):  # a record that is damaged: a person has to look at it
            for record in splits_behind(self._port, self._store):
                with self._alone(record.name, "opened"):
                    self._keep(record)

    def _keep(self, record: HandOver) -> None:
        before = self._kept.get(record.name)
        if before is not None and before.record.salt != record.salt:
            self._kept.pop(record.name).book.close()
            before = None
        self._kept[record.name] = Kept(record, before.book if before else opened(record, self._store))

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
                with self._alone(kept.record.name, "written"):
                    kept.book.write(found, front)

    @contextlib.contextmanager
    def _alone(self, name: str, done: str) -> Iterator[None]:
        """What is wrong with one book keeps nobody from the others; it is said once, until it is something else."""
        try:
            yield
        except LedgerError as error:
            before = self._wrong.get((name, done))
            if before is None or before.problem != error.problem:
                log.warning("%s", error.problem)
            self._wrong[name, done] = error
        else:
            self._wrong.pop((name, done), None)

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
