"""Reading a journal, also while it is being written: its lines, and the logs that they stand for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from stopgap_protos.prediction_log_pb2 import PredictionLog

from stopgap.errors import JournalError
from stopgap.journal.index import AnswerLine, IndexLine
from stopgap.journal.logs import digest_of, kind_of, one_answer, parsed, read_logs
from stopgap.journal.segments import Folder, Removed, Segment
from stopgap.journal.tfrecord import Damage, read_records

__all__ = ["Entry", "Journal", "entries_in"]


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

    def redacted(self) -> str:
        """What was taken out before it was written, in a sentence; empty where nothing was."""
        some, all_, rules = 0, 0, set[str]()
        for line in self.lines():
            all_ += 1
            some += bool(line.redacted)
            rules.update(line.redacted)
        if not rules:
            return ""
        return (
            f"Of {all_} recorded requests {some} are not what users sent, or were answered: redacted by "
            f"{', '.join(sorted(rules))}. What was dropped or hashed cannot be asked again as it was."
        )

    def removed(self) -> list[Removed]:
        """The segments that are gone, and why."""
        return self._folder.removed()


def entries_in(recording: Path) -> Iterator[Entry]:
    """Of a journal's folder, or of a file of PredictionLogs: what an index would say is taken from the logs.

    There a request is known to have been answered by its answer alone, and when it came by the second.

    Raises:
        Damage: Something in it is not as it was written.
        JournalError: It cannot be read at all.
    """
    if recording.is_dir():
        yield from Journal(recording).entries()
        return
    for number, found in enumerate(read_logs(recording)):
        within = one_answer(found.log)
        answered = within is not None and within.HasField("response")
        yield Entry(
            IndexLine(
                id=str(number),
                offset=found.record.offset,
                end=found.record.end,
                arrived_s=float(found.log.log_metadata.timestamp_secs),
                kind=kind_of(found.log),
                digest="" if within is None else digest_of(within.request),
                legacy=AnswerLine("OK" if answered else "UNKNOWN"),
            ),
            found.log,
        )


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
