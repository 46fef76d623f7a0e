"""All answers of a comparison in a file that is only appended to: whoever is killed goes on where that ends.

A TFRecord: the first record is what the answers belong to, as JSON; each further one holds both answers to one case, in
the data's order. What stands behind the last whole record, or behind one that was altered, is cut away and asked again.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import struct
import time
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from types import TracebackType

from google.protobuf.message import DecodeError

from stopgap.asking.answers import packed, unpacked
from stopgap.comparison.pairs import Answer
from stopgap.errors import DataError, JournalError, PredictionError
from stopgap.journal.tfrecord import TFRecordWriter, read_records

__all__ = ["AnswersFile", "answers_kept"]

FORMAT = 1
SYNC_EVERY_S = 1.0


class AnswersFile:
    """The answers to a comparison, to be used in a `with`, by one process at a time.

    Args:
        path: Where they lie; made, with its folder, where it is not there.
        belongs_to: What they are answers to, by name: the digests of both models, of the data, … An existing file that
            belongs to anything else is begun anew.
        restart: Begin anew in any case.

    Attributes:
        belongs_to: With the form of the file.
        count: How many cases are answered.
        begun_anew: What has changed since, by the names of `belongs_to`; empty where nothing has.
        cut_bytes: How many bytes at its end were no whole record.

    Raises:
        DataError: Another process has it, or it cannot be written.
    """

    def __init__(self, path: Path, belongs_to: Mapping[str, str], *, restart: bool = False) -> None:
        self.path = path
        self.count = 0
        self.cut_bytes = 0
        self.begun_anew: tuple[str, ...] = ()
        self._next_sync = 0.0
        self.belongs_to: dict[str, str] = {"format": str(FORMAT), **belongs_to}
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._writer = TFRecordWriter(path)
            try:
                self._lock = self._locked()
            except BaseException:
                self._writer.close()
                raise
            self._take_over(restart=restart)
        except OSError as error:
            raise DataError(
                f"The answers {path} cannot be kept: {error.strerror}.", "Make room, or mend the permissions."
            ) from error

    def __enter__(self) -> AnswersFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):
            self._writer.sync()
        self._writer.close()
        os.close(self._lock)

    def kept(self) -> Iterator[tuple[Answer, Answer]]:
        """What was answered before, case by case from the first on, as the file is now."""
        for record in islice(read_records(self.path), 1, self.count + 1):
            _, legacy, candidate = unpacked(record.content)
            yield legacy, candidate

    def append(self, legacy: Answer, candidate: Answer) -> None:
        """Keeps the answers to the next case. They outlive this process at once, a loss of power after a second.

        Raises:
            JournalError: The disk is full, say.
            PredictionError: An output is of a data type that TensorFlow has not.
        """
        self._writer.append(packed(self.count, legacy, candidate))
        self.count += 1
        if time.monotonic() > self._next_sync:
            self._writer.sync()
            self._next_sync = time.monotonic() + SYNC_EVERY_S

    def _locked(self) -> int:
        descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(descriptor)
            raise DataError(
                "Another stopgap is making the same comparison just now.", "Wait until it is done, then try again."
            ) from error
        return descriptor

    def _take_over(self, *, restart: bool) -> None:
        belonged_to, whole_bytes, count = whole_in(self.path)
        if belonged_to is not None:
            self.begun_anew = tuple(name for name, value in self.belongs_to.items() if belonged_to.get(name) != value)
        if restart or belonged_to is None or self.begun_anew:
            self._cut_to(0)
            self._writer.append(json.dumps(self.belongs_to).encode())
            self._writer.sync()
            return
        self.count = count
        self.cut_bytes = self._writer.size - whole_bytes
        self._cut_to(whole_bytes)

    def _cut_to(self, size: int) -> None:
        if size != self._writer.size:
            os.truncate(self.path, size)
            self._writer.size = size


def answers_kept(path: Path, belongs_to: Mapping[str, str]) -> int:
    """How many cases are answered in a file that belongs to this, and is left as it is; 0 where there is none."""
    belonged_to, _, count = whole_in(path)
    return count if belonged_to == {"format": str(FORMAT), **belongs_to} else 0


def whole_in(path: Path) -> tuple[dict[str, str] | None, int, int]:
    """What a file belongs to, None where it does not say; where its last whole record ends; how many answers it has."""
    belongs_to, end, count = None, 0, 0
    with contextlib.suppress(JournalError, *UNREADABLE):
        for record in read_records(path):
            if belongs_to is None:
                belongs_to = dict(json.loads(record.content))
            elif unpacked(record.content)[0] != count:
                break
            else:
                count += 1
            end = record.end
    return belongs_to, end, count


# What a record that is none of ours makes its reader raise.
UNREADABLE = (ValueError, TypeError, struct.error, DecodeError, PredictionError)
