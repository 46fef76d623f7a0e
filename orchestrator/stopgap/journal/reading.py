"""Reading a journal, also while it is being written: its lines, and the logs that they stand for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from stopgap_protos.prediction_log_pb2 import PredictionLog

from stopgap.errors import JournalError
from stopgap.journal.index import IndexLine
from stopgap.journal.logs import parsed
from stopgap.journal.segments import Folder, Removed, Segment
from stopgap.journal.tfrecord import Damage, read_records

__all__ = ["Entry", "Journal"]


@dataclass(frozen=True)
class Entry:
    """One exchange as it is recorded."""

    line: IndexLine
    log: PredictionLog


class Journal:
    """
    Args:
        folder: One that a `Recorder` writes, or has written.

    Raises:
        JournalError: There is none.
    """

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise JournalError(f"There is no journal in {folder}.", "Name the folder that was recorded into.")
        self._folder = Folder(folder)

    def lines(self) -> Iterator[IndexLine]:
        """In the order in which they were written, without reading any record."""
        for segment in self._folder.segments():
            yield from segment.lines()

    def entries(self) -> Iterator[Entry]:
        """In the order in which they were written. A segment that is removed meanwhile is left out from there on.

        Raises:
            Damage: A record is not what was written, or is not there.
        """
        for segment in self._folder.segments():
            yield from entries_of(segment)

    def removed(self) -> list[Removed]:
        """The segments that are gone, and why."""
        return self._folder.removed()


def entries_of(segment: Segment) -> Iterator[Entry]:
    lines = segment.lines()
    try:
        stream = segment.records.open("rb")
    except FileNotFoundError:
        return
    with stream:  # kept open: what is removed meanwhile can be read to its end
        records = read_records(segment.records, stream=stream)
        for line in lines:
            record = next(records, None)
            log: Optional[PredictionLog] = None  # noqa: UP045
            if record is not None and (record.offset, record.end) == (line.offset, line.end):
                log = log_in(segment, line, record.content)
            if log is None:
                what = f"the index tells of a record of {line.end - line.offset} bytes there"
                raise Damage(segment.records, line.offset, what, torn=False)
            yield Entry(line, log)


def log_in(segment: Segment, line: IndexLine, content: bytes) -> PredictionLog:
    try:
        return parsed(content)
    except ValueError as error:
        raise Damage(segment.records, line.offset, str(error), torn=False, next_offset=line.end) from error
