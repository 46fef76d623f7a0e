"""What is known of one split, in one SQLite file: what is committed survives whatever ends the process that wrote it.

The schema is documented in docs/hand-over.md. Neither keys nor requests nor answers are in it. Nothing is remembered
beside the file: the ledger and a command line may write to it in turns.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Optional

from stopgap.errors import LedgerError
from stopgap.ledger.entries import Entry
from stopgap.ledger.ratio import Ratio, SampleRatio
from stopgap.stages import SHARES

__all__ = ["ARMS", "CANDIDATE", "LEGACY", "Arm", "Book", "Bounds", "Feedback", "Firsts", "Known", "Taken"]

SCHEMA = 1
BUSY_TIMEOUT_S = 10.0
PRUNED_AT_ONCE = 5000
MOST_LABELS = 100  # of each arm; further ones are counted together
OTHERS = "(others)"
GRAINS = 1000  # a reward is kept to a thousandth
CANDIDATE, LEGACY = "candidate", "legacy"
ARMS = (CANDIDATE, LEGACY)
EVIDENCE, LOST = "evidence", "lost"
LOOKS = 3  # at the front's counters: what is missing at each of so many in a row was not on its way
TABLES = """
CREATE TABLE split (salt TEXT NOT NULL, legacy TEXT NOT NULL, candidate TEXT NOT NULL, begun_s REAL NOT NULL);
CREATE TABLE units (
    unit BLOB PRIMARY KEY,
    arm TEXT NOT NULL,
    share INTEGER NOT NULL,
    at_s REAL NOT NULL,
    failed INTEGER,
    reward INTEGER
) WITHOUT ROWID;
CREATE TABLE requests (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id BLOB NOT NULL UNIQUE,
    at_s REAL NOT NULL,
    arm TEXT NOT NULL,
    share INTEGER NOT NULL,
    unit BLOB,
    told_s REAL,
    reward INTEGER,
    label TEXT
);
CREATE TABLE tallies (
    share INTEGER NOT NULL,
    arm TEXT NOT NULL,
    units INTEGER NOT NULL,
    judged INTEGER NOT NULL,
    failed INTEGER NOT NULL,
    PRIMARY KEY (share, arm)
) WITHOUT ROWID;
CREATE TABLE rewards (
    share INTEGER NOT NULL,
    arm TEXT NOT NULL,
    reward INTEGER NOT NULL,
    units INTEGER NOT NULL,
    PRIMARY KEY (share, arm, reward)
) WITHOUT ROWID;
CREATE TABLE labels (arm TEXT NOT NULL, label TEXT NOT NULL, times INTEGER NOT NULL, PRIMARY KEY (arm, label))
    WITHOUT ROWID;
CREATE TABLE looks (number INTEGER PRIMARY KEY AUTOINCREMENT, missing INTEGER NOT NULL);
CREATE TABLE counts (name TEXT PRIMARY KEY, value REAL NOT NULL) WITHOUT ROWID;
"""


@dataclass(frozen=True)
class Bounds:
    """What is kept.

    Attributes:
        units: Callers that come when there are so many are in no statistics any more.
        requests: The oldest go, and nothing can be said of them any more.
        keep_s: So do those that are older.
    """

    units: int = 1_000_000
    requests: int = 500_000
    keep_s: float = 7 * 86400.0


@dataclass(frozen=True)
class Feedback:
    """What came of one answer; one of the two at least.

    Attributes:
        id: The answer's own.
        reward: From 0 to 1, the higher the better.
        label: A category.
    """

    id: bytes
    reward: Optional[float] = None  # noqa: UP045 - dataclasses are looked into at run time, by Python 3.9 too
    label: Optional[str] = None  # noqa: UP045


class Taken(Enum):
    """What became of it."""

    NOW = "taken"
    BEFORE = "there was one already"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Firsts:
    """Of an arm's callers, those that were first seen at one share.

    Attributes:
        units: How many.
        judged: Those of them that were there for their first answer.
        failed: Those of these to whom it was an error.
        rewards: How many have each reward, their first.
    """

    units: int = 0
    judged: int = 0
    failed: int = 0
    rewards: Mapping[float, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Arm:
    """What is known of one.

    Attributes:
        firsts: Distinct callers whose first observation it is, by the candidate's share at that moment. Those of
            different shares are not to be added up and compared: the arms would be of different days.
        requests: Of all callers who told their key.
        requests_failed: Those that were answered with an error.
        took_s: How long all of them took together.
        feedback: How many requests there is any of.
        apart: How many rewards are of a caller that was first seen in the other arm, or at another share.
        labels: How often each was said.
    """

    firsts: Mapping[int, Firsts]
    requests: int
    requests_failed: int
    took_s: float
    feedback: int
    apart: int
    labels: Mapping[str, int]

    @property
    def units(self) -> int:
        """Of all shares."""
        return sum(firsts.units for firsts in self.firsts.values())

    def at(self, share: int) -> Firsts:
        """Those that were first seen at that one, of `SHARES`."""
        return self.firsts.get(share, Firsts())


@dataclass(frozen=True)
class Known:
    """What a book says.

    Attributes:
        salt: Of the split that it is about.
        moved: Requests of callers that were first seen in the other arm: a share that changes moves them.
        not_units: Requests of callers that came when there were as many as are kept, or whose key was too long.
        lost: Requests that the front has counted, and that it could not tell the ledger of; it never falls.
    """

    salt: str
    begun_s: float
    candidate: Arm
    legacy: Arm
    ratio: Ratio
    moved: int
    not_units: int
    lost: int

    def arm(self, which: str) -> Arm:
        return self.candidate if which == CANDIDATE else self.legacy


class Book:
    """One file, open, to one thread at a time.

    Raises:
        LedgerError: It cannot be opened, or was written by another version.
    """

    def __init__(self, file: Path, bounds: Bounds = Bounds()) -> None:
        self._file, self._bounds = file, bounds
        try:
            address = f"file:{file.absolute().as_posix()}?mode=rw"
            self._base = sqlite3.connect(
                address, uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
            )
            self._prepare()
        except sqlite3.Error as error:
            raise LedgerError(f"The ledger {file} cannot be opened: {error}.") from error

    @classmethod
    def of_split(cls, file: Path, salt: str, legacy: str, candidate: str, bounds: Bounds = Bounds()) -> Book:
        """The one of this split; one of another split in its place goes.

        Raises:
            LedgerError: As for `Book`.
        """
        try:
            os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        except OSError as error:
            raise LedgerError(f"The ledger {file} cannot be made: {error.strerror}.") from error
        book = cls(file, bounds)
        with book._writing():
            if book.salt != salt:
                for table in ("split", "units", "requests", "tallies", "rewards", "labels", "looks", "counts"):
                    book._base.execute(f"DELETE FROM {table}")  # noqa: S608 - our own words
                book._base.execute("INSERT INTO split VALUES (?, ?, ?, ?)", (salt, legacy, candidate, time.time()))
        return book

    def close(self) -> None:
        """Once or more often."""
        self._base.close()

    def __enter__(self) -> Book:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def salt(self) -> str:
        """Of the split; empty where there is none in it yet."""
        found = self._base.execute("SELECT salt FROM split").fetchone()
        return "" if found is None else str(found[0])

    def write(self, entries: Sequence[Entry], counted_by_front: int | None = None) -> None:
        """All of it or, whatever happens, nothing.

        Args:
            counted_by_front: How many the front has counted since it was started; None: it was not looked at.

        Raises:
            LedgerError: The disk is full, say.
        """
        with self._writing():
            models = self._models()
            room = self._bounds.units - self._one("SELECT COALESCE(SUM(units), 0) FROM tallies")
            totals = Counter[str]()
            for entry in entries:
                arm = models.get(entry.model)
                if arm is not None:
                    room -= self._enter(entry, arm, totals, has_room=room > 0)
            for name, number in totals.items():
                self._add(name, number)
            self._prune(time.time())
            if counted_by_front is not None:
                self._count_front(counted_by_front)
            ratio = self._ratio()
            self._set(EVIDENCE, ratio.evidence)

    def tell(self, feedback: Feedback) -> Taken:
        """One for each answer.

        Raises:
            LedgerError: As for `write`.
        """
        return next(iter(self.tell_all([feedback])))

    def tell_all(self, feedback: Iterable[Feedback]) -> list[Taken]:
        """All at once."""
        with self._writing():
            return [self._tell(each) for each in feedback]

    def known(self) -> Known:
        """
        Raises:
            LedgerError: It cannot be read.
        """
        try:
            self._base.execute("BEGIN")
            try:
                return self._known()
            finally:
                self._base.execute("ROLLBACK")
        except sqlite3.Error as error:
            raise LedgerError(f"The ledger {self._file} cannot be read: {error}.") from error

    def _known(self) -> Known:
        counts = dict(self._base.execute("SELECT name, value FROM counts"))
        begun = self._base.execute("SELECT begun_s FROM split").fetchone()
        number = {name: int(value) for name, value in counts.items()}
        candidate, legacy = (self._arm(arm, number) for arm in ARMS)
        return Known(
            self.salt,
            begun[0] if begun else 0.0,
            candidate,
            legacy,
            self._ratio(),
            number.get("moved", 0),
            number.get("not units", 0),
            number.get(LOST, 0),
        )

    def _arm(self, arm: str, counts: Mapping[str, int]) -> Arm:
        labels = self._base.execute("SELECT label, times FROM labels WHERE arm = ? ORDER BY times DESC, label", (arm,))
        names = ("requests", "failed", "took_us", "feedback", "apart")
        requests, requests_failed, took_us, feedback, apart = (counts.get(f"{arm}: {name}", 0) for name in names)
        return Arm(
            self._firsts(arm),
            requests,
            requests_failed,
            took_us / 1e6,
            feedback,
            apart,
            dict(labels.fetchall()),
        )

    def _firsts(self, arm: str) -> dict[int, Firsts]:
        rewards = defaultdict[int, dict[float, int]](dict)
        rows = self._base.execute("SELECT share, reward, units FROM rewards WHERE arm = ?", (arm,))
        for share, reward, units in rows:
            rewards[share][reward / GRAINS] = units
        tallies = self._base.execute("SELECT share, units, judged, failed FROM tallies WHERE arm = ?", (arm,))
        return {share: Firsts(units, judged, failed, rewards[share]) for share, units, judged, failed in tallies}

    def _enter(self, entry: Entry, arm: str, totals: Counter[str], *, has_room: bool) -> int:
        """How many units came with it."""
        totals.update({"entries": 1, f"{arm}: requests": 1, f"{arm}: failed": bool(entry.failed)})
        totals[f"{arm}: took_us"] += entry.took_us
        first_arm, _ = self._first_of(entry.unit)
        fresh = entry.unit is not None and first_arm is None and has_room
        if fresh:
            self._base.execute(
                "INSERT INTO units (unit, arm, share, at_s, failed) VALUES (?, ?, ?, ?, ?)",
                (entry.unit, arm, entry.share, entry.at_s, entry.failed),
            )
            self._base.execute(
                "INSERT INTO tallies VALUES (?, ?, 1, ?, ?) ON CONFLICT (share, arm) DO UPDATE SET "
                "units = units + 1, judged = judged + excluded.judged, failed = failed + excluded.failed",
                (entry.share, arm, int(entry.failed is not None), int(bool(entry.failed))),
            )
        elif first_arm is None:
            totals["not units"] += 1
        elif first_arm != arm:
            totals["moved"] += 1
        if entry.id is not None:
            self._base.execute(
                "INSERT OR IGNORE INTO requests (id, at_s, arm, share, unit) VALUES (?, ?, ?, ?, ?)",
                (entry.id, entry.at_s, arm, entry.share, entry.unit if fresh or first_arm else None),
            )
        return int(fresh)

    def _tell(self, feedback: Feedback) -> Taken:
        query = "SELECT number, arm, share, unit, told_s FROM requests WHERE id = ?"
        found = self._base.execute(query, (feedback.id,)).fetchone()
        if found is None:
            return Taken.UNKNOWN
        number, arm, share, unit, told_s = found
        if told_s is not None:
            return Taken.BEFORE
        reward = None if feedback.reward is None else round(feedback.reward * GRAINS)
        self._base.execute(
            "UPDATE requests SET told_s = ?, reward = ?, label = ? WHERE number = ?",
            (time.time(), reward, feedback.label, number),
        )
        self._add(f"{arm}: feedback")
        if feedback.label is not None:
            self._count_label(arm, feedback.label)
        if reward is not None and unit is not None:
            self._reward(arm, share, unit, reward)
        return Taken.NOW

    def _reward(self, arm: str, share: int, unit: bytes, reward: int) -> None:
        """The first of each caller counts, where it is of the arm in which that caller was first seen.

        Where the share has changed since, some callers of one arm have gone over to the other, and can have none of
        their own any more: what the others say from then on is of other days than what these have said.
        """
        if self._first_of(unit) != (arm, share):
            self._add(f"{arm}: apart")
            return
        changed = self._base.execute("UPDATE units SET reward = ? WHERE unit = ? AND reward IS NULL", (reward, unit))
        if changed.rowcount:
            self._base.execute(
                "INSERT INTO rewards VALUES (?, ?, ?, 1) "
                "ON CONFLICT (share, arm, reward) DO UPDATE SET units = units + 1",
                (share, arm, reward),
            )

    def _count_label(self, arm: str, label: str) -> None:
        known = self._one("SELECT COUNT(*) FROM labels WHERE arm = ? AND label = ?", arm, label)
        if not known and self._one("SELECT COUNT(*) FROM labels WHERE arm = ?", arm) >= MOST_LABELS:
            label = OTHERS
        self._base.execute(
            "INSERT INTO labels VALUES (?, ?, 1) ON CONFLICT (arm, label) DO UPDATE SET times = times + 1", (arm, label)
        )

    def _ratio(self) -> Ratio:
        ratio = SampleRatio(highest=self._one("SELECT COALESCE(SUM(value), 0.0) FROM counts WHERE name = ?", EVIDENCE))
        for share, candidates, legacy in self._base.execute(
            "SELECT share, SUM(units * (arm = ?)), SUM(units * (arm = ?)) FROM tallies GROUP BY share", ARMS
        ):
            ratio.add(share / SHARES, candidates, legacy)
        return ratio.look()

    def _count_front(self, counted: int) -> None:
        """An Envoy that has started anew counts from 0."""
        last = self._count("front: read")
        self._add("front: total", counted - last if counted >= last else counted)
        self._set("front: read", counted)
        self._look()

    def _look(self) -> None:
        """What the front has counted and nobody has heard of may be on its way, and is lost where it stays away."""
        missing = self._count("front: total") - self._count("entries")
        number = self._base.execute("INSERT INTO looks (missing) VALUES (?)", (missing,)).lastrowid
        self._base.execute("DELETE FROM looks WHERE number <= ? - ?", (number, LOOKS))
        looks, least = self._base.execute("SELECT COUNT(*), MIN(missing) FROM looks").fetchone()
        if looks == LOOKS:
            self._set(LOST, max(self._count(LOST), least))

    def _prune(self, now_s: float) -> None:
        newest = self._one("SELECT COALESCE(MAX(number), 0) FROM requests")
        self._base.execute("DELETE FROM requests WHERE number <= ?", (newest - self._bounds.requests,))
        self._base.execute(
            "DELETE FROM requests WHERE number IN (SELECT number FROM requests ORDER BY number LIMIT ?) AND at_s < ?",
            (PRUNED_AT_ONCE, now_s - self._bounds.keep_s),
        )

    def _models(self) -> dict[str, str]:
        found = self._base.execute("SELECT candidate, legacy FROM split").fetchone()
        return dict(zip(found, ARMS)) if found else {}

    def _first_of(self, unit: bytes | None) -> tuple[str | None, int]:
        """The arm in which a caller was first seen, and the share at that moment; None where it never was."""
        if unit is None:
            return None, 0
        query = "SELECT arm, share FROM units WHERE unit = ?"
        return self._base.execute(query, (unit,)).fetchone() or (None, 0)

    def _one(self, query: str, *values: object) -> float:
        number: float = self._base.execute(query, values).fetchone()[0]
        return number

    def _count(self, name: str) -> int:
        return int(self._one("SELECT COALESCE(SUM(value), 0) FROM counts WHERE name = ?", name))

    def _add(self, name: str, number: float = 1) -> None:
        self._base.execute(
            "INSERT INTO counts VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = value + excluded.value",
            (name, number),
        )

    def _set(self, name: str, value: float) -> None:
        self._base.execute("INSERT OR REPLACE INTO counts VALUES (?, ?)", (name, value))

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            with self._base:
                self._base.execute("BEGIN IMMEDIATE")
                yield
        except sqlite3.Error as error:
            raise LedgerError(f"{self._file} cannot be written: {error}.", "Is there room on the disk?") from error

    def _prepare(self) -> None:
        (version,) = self._base.execute("PRAGMA user_version").fetchone()
        if version == 0:
            self._base.execute("PRAGMA journal_mode = WAL")
            self._base.executescript(f"BEGIN IMMEDIATE; {TABLES} PRAGMA user_version = {SCHEMA}; COMMIT;")
        elif version != SCHEMA:
            raise LedgerError(
                f"{self._file} was written by another version of stopgap.", "Take it away, or use that version."
            )
        # A crash of the machine may cost the last second; nothing can tear the file.
        self._base.execute("PRAGMA synchronous = NORMAL")
