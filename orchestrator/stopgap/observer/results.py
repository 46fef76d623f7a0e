"""What a shadow has found, in one SQLite file: what is committed survives whatever ends the process that wrote it.

The schema is documented in docs/shadow.md. Inputs are not in it.
"""

from __future__ import annotations

import json
import math
import os
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import Any, Optional

from stopgap.errors import ShadowError
from stopgap.observer.course import Reading, readings_in, superfluous

__all__ = ["Batch", "Bounds", "Experiment", "Results", "Row"]

SCHEMA = 2
MIB = 1 << 20
MOST_EXPERIMENTS = 20
PRUNED_AT_ONCE = 1000
BUSY_TIMEOUT_S = 10.0
COURSE = """
CREATE TABLE IF NOT EXISTS course (
    experiment INTEGER NOT NULL REFERENCES experiments (id) ON DELETE CASCADE,
    condition INTEGER NOT NULL,
    units INTEGER NOT NULL,
    at_s REAL NOT NULL,
    estimate REAL,
    lower REAL,
    upper REAL,
    outcome TEXT NOT NULL,
    PRIMARY KEY (experiment, condition, units)
) WITHOUT ROWID;
"""
TABLES = f"""
CREATE TABLE experiments (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    bound TEXT NOT NULL,
    told TEXT NOT NULL,
    begun_s REAL NOT NULL,
    ended_s REAL,
    result TEXT,
    result_s REAL,
    checkpoint BLOB,
    checkpoint_row INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE counts (
    experiment INTEGER NOT NULL REFERENCES experiments (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    value INTEGER NOT NULL,
    PRIMARY KEY (experiment, name)
) WITHOUT ROWID;
CREATE TABLE rows (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    experiment INTEGER NOT NULL REFERENCES experiments (id) ON DELETE CASCADE,
    at_s REAL NOT NULL,
    unit TEXT NOT NULL,
    slices TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    answers BLOB NOT NULL
);
CREATE INDEX rows_by_experiment ON rows (experiment, id);
{COURSE}
"""
# From the version before to each: what a file that is older lacks.
NEWER = {2: COURSE}


@dataclass(frozen=True)
class Bounds:
    """How many pairs of answers are kept; the oldest go first."""

    rows: int = 100_000
    bytes: int = 256 * MIB


@dataclass(frozen=True)
class Row:
    """A pair of answers.

    Attributes:
        at_s: When it was whole, in seconds since 1970.
        unit: The digest of what was asked.
        slices: What it is counted under, by the slice's name.
        answers: As `stopgap.asking.answers` packs them.
    """

    at_s: float
    unit: str
    slices: Mapping[str, str]
    answers: bytes


@dataclass(frozen=True)
class Experiment:
    """One run of questions to the same two models under the same plan.

    Attributes:
        bound: The digest of all that it is about.
        told: What that is, for people.
        result: The last one, as `comparison.result` writes it.
    """

    id: int
    bound: str
    told: Mapping[str, Any]
    begun_s: float
    ended_s: Optional[float]  # noqa: UP045 - dataclasses are looked into at run time, by Python 3.9 too
    result: Optional[Mapping[str, Any]]  # noqa: UP045
    result_s: Optional[float]  # noqa: UP045
    checkpoint_row: int
    counts: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Batch:
    """What is written at once.

    Attributes:
        counts: Totals, by name.
        checkpoint: The judge as it is after all rows, these included; None: not this time.
    """

    rows: Sequence[Row] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    result: Optional[Mapping[str, Any]] = None  # noqa: UP045
    checkpoint: Optional[bytes] = None  # noqa: UP045


class Results:
    """One file, open. Whoever has the observer's lock writes; anybody of its owner may read.

    Raises:
        ShadowError: It cannot be opened, or was written by another version.
    """

    def __init__(self, file: Path, bounds: Bounds = Bounds(), *, make: bool = True) -> None:
        self._file, self._bounds = file, bounds
        self._rows = self._bytes = 0
        try:
            if make:
                os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            address = f"file:{file.absolute().as_posix()}?mode=rw"
            self._base = sqlite3.connect(address, uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None)
            self._prepare()
            if make:  # who only reads has no bounds to keep, and this looks at every row
                self._measure()
        except (OSError, sqlite3.Error) as error:
            raise ShadowError(
                f"The results in {file} cannot be opened: {error}.", "There are none before a shadow has begun."
            ) from error

    def close(self) -> None:
        """Once or more often."""
        self._base.close()

    def __enter__(self) -> Results:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def newest(self) -> Experiment | None:
        """The one that was begun last."""
        columns = "id, bound, told, begun_s, ended_s, result, result_s, checkpoint_row"
        found = self._base.execute(f"SELECT {columns} FROM experiments ORDER BY id DESC LIMIT 1").fetchone()  # noqa: S608 - our own words
        if found is None:
            return None
        number, bound, told, begun_s, ended_s, result, result_s, checkpoint_row = found
        counts = dict(self._base.execute("SELECT name, value FROM counts WHERE experiment = ?", (number,)))
        return Experiment(
            number,
            bound,
            json.loads(told),
            begun_s,
            ended_s,
            None if result is None else json.loads(result),
            result_s,
            checkpoint_row,
            counts,
        )

    def begin(self, bound: str, told: Mapping[str, Any]) -> Experiment:
        """A new one; the one before has ended with it."""
        now = time.time()
        with self._base:
            self._base.execute("BEGIN IMMEDIATE")
            self._base.execute("UPDATE experiments SET ended_s = ?, checkpoint = NULL WHERE ended_s IS NULL", (now,))
            self._base.execute(
                "INSERT INTO experiments (bound, told, begun_s) VALUES (?, ?, ?)", (bound, json.dumps(told), now)
            )
            self._base.execute(
                "DELETE FROM experiments WHERE id <= (SELECT MAX(id) FROM experiments) - ?", (MOST_EXPERIMENTS,)
            )
        self._measure()
        begun = self.newest()
        assert begun is not None  # noqa: S101 - just written
        return begun

    def checkpoint(self, experiment: int) -> bytes | None:
        """The judge as it was written down last."""
        found = self._base.execute("SELECT checkpoint FROM experiments WHERE id = ?", (experiment,)).fetchone()
        return None if found is None else found[0]

    def rows_after(self, experiment: int, row: int) -> Iterator[Row]:
        """Of an experiment, in their order."""
        query = "SELECT at_s, unit, slices, answers FROM rows WHERE experiment = ? AND id > ? ORDER BY id"
        with closing(self._base.execute(query, (experiment, row))) as found:
            for at_s, unit, slices, answers in found:
                yield Row(at_s, unit, json.loads(slices), answers)

    def count_rows(self, experiment: int, *, most_id: int) -> int:
        """How many of them are still there, up to one."""
        query = "SELECT COUNT(*) FROM rows WHERE experiment = ? AND id <= ?"
        count: int = self._base.execute(query, (experiment, most_id)).fetchone()[0]
        return count

    def course(self, experiment: int) -> dict[int, list[Reading]]:
        """How its result came about: for each condition, by its place in the plan, ascending in units."""
        found: dict[int, list[Reading]] = {}
        query = "SELECT condition, at_s, units, estimate, lower, upper, outcome FROM course WHERE experiment = ?"
        for place, at_s, units, *numbers, outcome in self._base.execute(
            f"{query} ORDER BY condition, units", (experiment,)
        ):
            estimate, lower, upper = (math.nan if number is None else number for number in numbers)
            found.setdefault(place, []).append(Reading(at_s, units, estimate, lower, upper, outcome))
        return found

    def write(self, experiment: int, batch: Batch) -> None:
        """All of it or, whatever happens, nothing.

        Raises:
            ShadowError: The disk is full, say.
        """
        try:
            with self._base:
                self._base.execute("BEGIN IMMEDIATE")
                self._write(experiment, batch)
        except sqlite3.Error as error:
            raise ShadowError(f"{self._file} cannot be written: {error}.", "Is there room on the disk?") from error

    def _write(self, experiment: int, batch: Batch) -> None:
        self._base.executemany(
            "INSERT INTO rows (experiment, at_s, unit, slices, bytes, answers) VALUES (?, ?, ?, ?, ?, ?)",
            [
                (experiment, row.at_s, row.unit, json.dumps(row.slices), len(row.answers), row.answers)
                for row in batch.rows
            ],
        )
        self._rows += len(batch.rows)
        self._bytes += sum(len(row.answers) for row in batch.rows)
        self._base.executemany(
            "INSERT INTO counts VALUES (?, ?, ?) ON CONFLICT (experiment, name) DO UPDATE SET value = excluded.value",
            [(experiment, name, value) for name, value in batch.counts.items()],
        )
        if batch.result is not None:
            now = time.time()
            self._base.execute(
                "UPDATE experiments SET result = ?, result_s = ? WHERE id = ?",
                (json.dumps(batch.result, allow_nan=False), now, experiment),
            )
            self._remember(experiment, readings_in(batch.result, now))
        if batch.checkpoint is not None:
            self._base.execute(
                "UPDATE experiments SET checkpoint = ?, checkpoint_row = (SELECT COALESCE(MAX(id), 0) FROM rows) "
                "WHERE id = ?",
                (batch.checkpoint, experiment),
            )
            self._prune(experiment)

    def _remember(self, experiment: int, readings: Sequence[Reading]) -> None:
        """SQLite keeps no NaN: it is NULL."""
        self._base.executemany(
            "INSERT OR REPLACE INTO course (experiment, condition, at_s, units, estimate, lower, upper, outcome) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [(experiment, place, *astuple(reading)) for place, reading in enumerate(readings)],
        )
        for place, known in self.course(experiment).items():
            self._base.executemany(
                "DELETE FROM course WHERE experiment = ? AND condition = ? AND units = ?",
                [(experiment, place, units) for units in superfluous(known)],
            )

    def _prune(self, experiment: int) -> None:
        """Only what the judge has in its checkpoint: the rest is what it is put together from again."""
        while self._rows > self._bounds.rows or self._bytes > self._bounds.bytes:
            oldest = self._base.execute(
                "SELECT id, bytes FROM rows WHERE id <= (SELECT checkpoint_row FROM experiments WHERE id = ?) "
                "ORDER BY id LIMIT ?",
                (experiment, PRUNED_AT_ONCE),
            ).fetchall()
            if not oldest:
                return
            last, gone = 0, 0
            for number, size in oldest:
                if self._rows - gone <= self._bounds.rows and self._bytes <= self._bounds.bytes:
                    break
                last, gone, self._bytes = number, gone + 1, self._bytes - size
            self._rows -= gone
            self._base.execute("DELETE FROM rows WHERE id <= ?", (last,))

    def _measure(self) -> None:
        held = self._base.execute("SELECT COUNT(*), COALESCE(SUM(bytes), 0) FROM rows").fetchone()
        self._rows, self._bytes = int(held[0]), int(held[1])

    def _prepare(self) -> None:
        self._base.execute("PRAGMA foreign_keys = ON")
        (version,) = self._base.execute("PRAGMA user_version").fetchone()
        if version == 0:
            self._base.execute("PRAGMA journal_mode = WAL")
            self._base.executescript(f"BEGIN IMMEDIATE; {TABLES} PRAGMA user_version = {SCHEMA}; COMMIT;")
        elif version < SCHEMA:
            missing = "".join(tables for number, tables in NEWER.items() if number > version)
            self._base.executescript(f"BEGIN IMMEDIATE; {missing} PRAGMA user_version = {SCHEMA}; COMMIT;")
        elif version > SCHEMA:
            raise ShadowError(
                f"{self._file} was written by another version of stopgap.", "Take it away, or use that version."
            )
        # A crash of the machine may cost the last second; nothing can tear the file.
        self._base.execute("PRAGMA synchronous = NORMAL")
