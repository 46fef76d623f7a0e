"""Writing a journal: each exchange as a record and a line, in segments that are rotated, and removed when they must go.

What a process that is killed leaves behind is mended by the next one, which loses at most the record that was being
written. A machine that loses its power loses what came after the last `sync`, which is at most a second old.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Optional

from google.protobuf.message import Message

from stopgap.errors import JournalError
from stopgap.journal.index import AnswerLine, IndexLine
from stopgap.journal.logs import digest_of, kind_of, new_log, one_answer
from stopgap.journal.redaction import Redaction, Rule
from stopgap.journal.segments import AGE, QUOTA, Folder, Held, Removed, Segment, private, write_all
from stopgap.journal.tfrecord import TFRecordWriter

__all__ = ["Bounds", "Exchange", "Recorder", "Reply"]

MIB = 1 << 20
# A segment goes as a whole, so it must not hold what came over too long a time.
SEGMENTS_IN_AN_AGE = 10


@dataclass(frozen=True)
class Bounds:
    """How much is kept.

    Attributes:
        segment_bytes: After so many a segment is full: its records, without the index.
        most_bytes: Of all segments and their indexes; beyond, the oldest segment goes first. None: no bound.
        most_age_s: A segment goes whose newest record is older. None: no bound.
        sync_every_s: How often what was written is brought to the disk.
    """

    segment_bytes: int = 64 * MIB
    most_bytes: Optional[int] = 1024 * MIB  # noqa: UP045 - dataclasses are looked into at run time, by Python 3.9 too
    most_age_s: Optional[float] = None  # noqa: UP045
    sync_every_s: float = 1.0

    def __post_init__(self) -> None:
        """
        Raises:
            JournalError: They cannot be kept.
        """
        if self.segment_bytes <= 0 or (self.most_age_s is not None and self.most_age_s <= 0):
            raise JournalError("A segment's size and its age must be above 0.")
        if self.most_bytes is not None and self.most_bytes < 2 * self.segment_bytes:
            raise JournalError(
                f"A quota of {self.most_bytes} bytes holds no two segments of {self.segment_bytes}.",
                "Make the segments smaller, or the quota larger.",
            )


@dataclass(frozen=True)
class Reply:
    """What a model said to a request.

    Attributes:
        response: None where it failed.
        status: gRPC's name.
        latency_s: None where nobody measured.
    """

    response: Optional[Message] = None  # noqa: UP045
    status: str = "OK"
    latency_s: Optional[float] = None  # noqa: UP045


@dataclass(frozen=True)
class Exchange:
    """One request, and what was said to it.

    Attributes:
        id: The request's own.
        request: See `new_log`; neither it nor a response is changed.
        arrived_s: In seconds since 1970.
        legacy: Its response is written into the log.
        candidate: Its response's digest is written into the index; None where it was not asked.
        key: What it is a unit of, where that was said. It is written as it is.
    """

    id: str
    request: Message
    arrived_s: float
    legacy: Reply
    candidate: Optional[Reply] = None  # noqa: UP045
    key: str = ""


class Recorder:
    """Writes a journal; a context manager; from several threads if need be.

    Args:
        folder: The journal's, made where it is missing, for its owner alone.
        bounds: How much is kept.
        rules: What is taken out before anything is written.
        sampling_rate: Which share of the requests is recorded; written into each log. It may be set meanwhile.
        clock: Seconds since 1970.

    Raises:
        JournalError: Another process writes it, or it cannot be written.
        Damage: Its last segment has been altered.
    """

    def __init__(
        self,
        folder: Path,
        bounds: Bounds = Bounds(),
        rules: Sequence[Rule] = (),
        sampling_rate: float = 1.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._folder, self._bounds, self._clock = Folder(folder), bounds, clock
        self.sampling_rate = sampling_rate
        self._folder.make()
        self._turn = threading.Lock()
        self._lock = taken(self._folder)
        self._open: _OpenSegment | None = None
        try:
            self._redaction = Redaction(rules, self._folder.key())
            self._folder.finish_removals()
            self._closed = {segment: _Past.of(segment) for segment in self._mended()}
        except OSError as error:
            os.close(self._lock)
            raise JournalError(f"{folder} cannot be written: {error.strerror or error}.") from error
        except BaseException:
            os.close(self._lock)
            raise

    def record(self, exchange: Exchange) -> IndexLine:
        """Takes out what has to be, and writes the rest.

        Returns:
            The line that was written.

        Raises:
            JournalError: It cannot be written; then nothing of it is.
        """
        legacy, candidate = exchange.legacy, exchange.candidate
        log = new_log(
            exchange.request, legacy.response, timestamp_s=exchange.arrived_s, sampling_rate=self.sampling_rate
        )
        redacted = self._redaction.apply(log)
        within = one_answer(log)
        assert within is not None  # noqa: S101 - a new log has one
        candidates = None if candidate is None else answer_line(candidate, self._as_recorded(exchange, candidate))
        content = log.SerializeToString(deterministic=True)
        with self._turn:
            segment = self._segment_for(len(content), exchange.arrived_s)
            try:
                line = segment.append(
                    content,
                    lambda offset, end: IndexLine(
                        id=exchange.id,
                        offset=offset,
                        end=end,
                        arrived_s=exchange.arrived_s,
                        kind=kind_of(log),
                        digest=digest_of(within.request),
                        legacy=answer_line(legacy, within.response if within.HasField("response") else None),
                        key=exchange.key,
                        candidate=candidates,
                        redacted=redacted,
                    ),
                )
                segment.sync_if_due(self._bounds.sync_every_s)
            except OSError as error:
                raise JournalError(f"{segment.place} cannot be written: {error.strerror or error}.") from error
            self._keep_within_bounds()
        return line

    def tidy(self) -> None:
        """Removes what has become too old, and brings to the disk what was written; for times without a request."""
        with self._turn:
            if self._open is not None:
                self._open.sync()
            self._rotate_when_old()
            self._keep_within_bounds()

    def removed(self) -> list[Removed]:
        """All segments that are gone since the journal began."""
        return self._folder.removed()

    def held(self) -> Held:
        """What the journal has, and has had."""
        return self._folder.held()

    def is_there(self) -> bool:
        """Whether what is written can be found: not, once somebody has taken the files away under our hands."""
        with self._turn:
            return self._lock >= 0 and os.fstat(self._lock).st_nlink > 0

    def close(self) -> None:
        """Once or more often."""
        with self._turn:
            if self._lock < 0:
                return
            if self._open is not None:
                self._open.close()
            os.close(self._lock)
            self._lock = -1

    def __enter__(self) -> Recorder:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _mended(self) -> list[Segment]:
        """Only the newest one can have an end that is not whole: it is synced before the next one is begun."""
        segments = self._folder.segments()
        if segments:
            segments[-1].mend()
        return segments

    def _as_recorded(self, exchange: Exchange, reply: Reply) -> Message | None:
        """A candidate's response as it would stand in a log: under the same rules."""
        if reply.response is None:
            return None
        log = new_log(exchange.request, reply.response, timestamp_s=exchange.arrived_s)
        self._redaction.apply(log)
        within = one_answer(log)
        return None if within is None else within.response

    def _segment_for(self, content_bytes: int, now_s: float) -> _OpenSegment:
        if self._lock < 0:
            raise JournalError(f"{self._folder.path} is closed.")
        if self._open is not None and self._open.size and self._open.size + content_bytes > self._bounds.segment_bytes:
            self._rotate()
        self._rotate_when_old()
        if self._open is None:
            self._open = _OpenSegment(self._folder.fresh_segment(), now_s)
        return self._open

    def _rotate_when_old(self) -> None:
        most_age_s = self._bounds.most_age_s
        if self._open is None or most_age_s is None:
            return
        if self._clock() - self._open.began_s > most_age_s / SEGMENTS_IN_AN_AGE:
            self._rotate()

    def _rotate(self) -> None:
        if self._open is not None:
            past = self._open.close()
            self._closed[self._open.place] = past
            self._open = None

    def _keep_within_bounds(self) -> None:
        bounds = self._bounds
        now_s = self._clock()
        if bounds.most_age_s is not None:
            for segment, past in list(self._closed.items()):
                if now_s - past.newest_s > bounds.most_age_s:
                    self._remove(segment, AGE)
        if bounds.most_bytes is not None:
            open_bytes = self._open.both_bytes if self._open is not None else 0
            while self._closed and open_bytes + sum(past.bytes for past in self._closed.values()) > bounds.most_bytes:
                self._remove(min(self._closed, key=lambda segment: segment.number), QUOTA)

    def _remove(self, segment: Segment, why: str) -> None:
        self._folder.remove(segment, why)
        del self._closed[segment]


@dataclass(frozen=True)
class _Past:
    """What is known of a segment that is closed."""

    bytes: int
    newest_s: float

    @classmethod
    def of(cls, segment: Segment) -> _Past:
        lines = segment.lines()
        newest_s = max((line.arrived_s for line in lines), default=segment.records.stat().st_mtime)
        return cls(segment.size(), newest_s)


class _OpenSegment:
    """The one that is being written: first the record, then its line, so that a line always has its record."""

    def __init__(self, place: Segment, began_s: float) -> None:
        self.place, self.began_s = place, began_s
        self._newest_s = began_s
        self._records = TFRecordWriter(place.records, fresh=True)
        self._index = private(place.index, os.O_APPEND)
        self._index_bytes = 0
        self._synced = time.monotonic()

    @property
    def size(self) -> int:
        """Of its records, in bytes."""
        return self._records.size

    @property
    def both_bytes(self) -> int:
        return self.size + self._index_bytes

    def append(self, content: bytes, line_at: Callable[[int, int], IndexLine]) -> IndexLine:
        offset = self._records.append(content)
        line = line_at(offset, self._records.size)
        try:
            write_all(self._index, line.written())
        except OSError:
            os.ftruncate(self._index, self._index_bytes)
            self._records.cut(offset)
            raise
        self._index_bytes += len(line.written())
        self._newest_s = max(self._newest_s, line.arrived_s)
        return line

    def sync_if_due(self, every_s: float) -> None:
        if time.monotonic() - self._synced >= every_s:
            self.sync()

    def sync(self) -> None:
        self._records.sync()
        os.fsync(self._index)
        self._synced = time.monotonic()

    def close(self) -> _Past:
        self.sync()
        self._records.close()
        os.close(self._index)
        return _Past(self.both_bytes, self._newest_s)


def taken(folder: Folder) -> int:
    """The lock's descriptor: the kernel gives it back when this process ends, however it does."""
    try:
        descriptor = private(folder.lock, 0)
    except OSError as error:
        raise JournalError(f"{folder.path} cannot be written: {error.strerror or error}.") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise JournalError(
            f"Another process is recording into {folder.path}.", f"Look which: fuser {folder.lock}"
        ) from error
    return descriptor


def answer_line(reply: Reply, response: Message | None) -> AnswerLine:
    """Of a response as it is recorded."""
    return AnswerLine(reply.status, reply.latency_s, "" if response is None else digest_of(response))
