"""The folder of a journal: numbered segments, each a file of records and its index, and which of them were removed.

<folder>/00000001.tfrecord    PredictionLogs
<folder>/00000001.jsonl       a line for each
<folder>/removed.jsonl        a line for each segment that is gone, and why
<folder>/key                  what digests of hashed values are made with
<folder>/lock                 who holds it may write
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from stopgap.errors import JournalError
from stopgap.journal.index import IndexLine, line_in

__all__ = ["Folder", "Held", "Removed", "Segment"]

KEY_BYTES = 32
QUOTA, AGE = "quota", "age"


@dataclass(frozen=True)
class Removed:
    """A segment that is gone.

    Attributes:
        why: `quota` or `age`.
    """

    segment: int
    records: int
    bytes: int
    why: str


@dataclass(frozen=True)
class Held:
    """How much a journal has.

    Attributes:
        ever: How many records it has had, with those that are gone.
    """

    records: int
    bytes: int
    ever: int


@dataclass(frozen=True)
class Segment:
    """One file of records, and its index."""

    folder: Path
    number: int

    @property
    def records(self) -> Path:
        return self.folder / f"{self.number:08}.tfrecord"

    @property
    def index(self) -> Path:
        return self.folder / f"{self.number:08}.jsonl"

    def lines(self) -> list[IndexLine]:
        """Those that are whole; none where there is no index, as after a removal."""
        try:
            texts = self.index.read_bytes().splitlines(keepends=True)
        except FileNotFoundError:
            return []
        return [line for line in map(line_in, texts) if line is not None]

    def count(self) -> int:
        """How many lines there are, without reading what they say."""
        try:
            return self.index.read_bytes().count(b"\n")
        except FileNotFoundError:
            return 0

    def size(self) -> int:
        """In bytes, both files."""
        return sum(size_of(file) for file in (self.records, self.index))

    def mend(self) -> None:
        """Takes away what a writer that was killed has left of a last record without its line, or the reverse.

        Only for whoever holds the journal's lock.

        Raises:
            Damage: Something before the end has been altered.
        """
        end = whole_up_to(self.records)
        lines = self.lines()
        kept = [line for line in lines if line.end <= end]
        content = b"".join(line.written() for line in kept)
        if size_of(self.records) > (kept[-1].end if kept else 0):
            os.truncate(self.records, kept[-1].end if kept else 0)
        if size_of(self.index) != len(content):
            write_whole(self.index, content)


class Folder:
    """Where a journal lies; read by whoever likes, written by one process at a time.

    Args:
        path: Made where it is missing, with mode 0700, if there is somebody to write.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def make(self) -> None:
        """
        Raises:
            JournalError: It cannot be made.
        """
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.path.chmod(0o700)
        except OSError as error:
            raise JournalError(f"{self.path} cannot be made: {error.strerror or error}.") from error

    def is_one(self) -> bool:
        """Whether a journal was ever begun there."""
        return self.lock.is_file()

    def held(self) -> Held:
        """As it is just now."""
        segments = self.segments()
        records = sum(segment.count() for segment in segments)
        size = sum(segment.size() for segment in segments)
        return Held(records, size, records + sum(each.records for each in self.removed()))

    def segments(self) -> list[Segment]:
        """Oldest first."""
        removed = {each.segment for each in self.removed()}
        found = sorted(int(file.stem) for file in self.path.glob("[0-9]*.tfrecord") if file.stem.isdecimal())
        return [Segment(self.path, number) for number in found if number not in removed]

    def fresh_segment(self) -> Segment:
        """The one after all that ever were."""
        numbers = [segment.number for segment in self.segments()] + [each.segment for each in self.removed()]
        return Segment(self.path, max(numbers, default=0) + 1)

    def removed(self) -> list[Removed]:
        """All that are gone, oldest removal first."""
        try:
            texts = self._removals.read_bytes().splitlines(keepends=True)
        except FileNotFoundError:
            return []
        whole = [text for text in texts if text.endswith(b"\n")]
        try:
            return [Removed(**json.loads(text)) for text in whole]
        except (ValueError, TypeError) as error:
            raise JournalError(f"{self._removals} is damaged: {error}.") from error

    def remove(self, segment: Segment, why: str) -> Removed:
        """Counts it, then removes it; who is killed between the two has it finished by `finish_removals`."""
        removed = Removed(segment.number, len(segment.lines()), segment.size(), why)
        append_whole(self._removals, json.dumps(asdict(removed)).encode() + b"\n")
        self._unlink(removed)
        return removed

    def finish_removals(self) -> None:
        for removed in self.removed():
            self._unlink(removed)

    def key(self) -> bytes:
        """Made when it is first asked for."""
        file = self.path / "key"
        with contextlib.suppress(FileNotFoundError):
            return file.read_bytes()
        write_whole(file, secrets.token_bytes(KEY_BYTES))
        return file.read_bytes()

    @property
    def lock(self) -> Path:
        return self.path / "lock"

    @property
    def _removals(self) -> Path:
        return self.path / "removed.jsonl"

    def _unlink(self, removed: Removed) -> None:
        segment = Segment(self.path, removed.segment)
        segment.records.unlink(missing_ok=True)
        segment.index.unlink(missing_ok=True)


def whole_up_to(records: Path) -> int:
    """Where the last whole record ends."""
    # Who only asks what there is need not wait for NumPy.
    from stopgap.journal.tfrecord import Damage, read_records  # noqa: PLC0415

    end = 0
    try:
        for record in read_records(records):
            end = record.end
    except Damage as damage:
        if not damage.torn:
            raise
    return end


def size_of(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0


def private(file: Path, flags: int) -> int:
    return os.open(file, flags | os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)


@contextlib.contextmanager
def opened(file: Path, flags: int) -> Iterator[int]:
    descriptor = private(file, flags)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def write_whole(file: Path, content: bytes) -> None:
    """All of it or nothing: by rename."""
    partial = file.with_name(f"{file.name}.partial")
    with opened(partial, os.O_TRUNC) as descriptor:
        write_all(descriptor, content)
        os.fsync(descriptor)
    partial.replace(file)


def append_whole(file: Path, line: bytes) -> None:
    """After what is whole in it: a torn line at its end is overwritten."""
    try:
        kept = file.read_bytes()
    except FileNotFoundError:
        kept = b""
    end = kept.rfind(b"\n") + 1
    with opened(file, 0) as descriptor:
        os.ftruncate(descriptor, end)
        os.lseek(descriptor, end, os.SEEK_SET)
        write_all(descriptor, line)
        os.fsync(descriptor)


def write_all(descriptor: int, content: bytes) -> None:
    left = memoryview(content)
    while left:
        left = left[os.write(descriptor, left) :]
