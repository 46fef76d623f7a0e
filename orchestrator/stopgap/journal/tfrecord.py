"""TFRecord: byte strings in a file, each with its length and two checksums. Knows nothing of what is in them.

For each record (TensorFlow, `core/lib/io/record_writer.h`): its length as a little-endian uint64, the masked CRC-32C of
those eight bytes, the bytes, and their masked CRC-32C. A file may be compressed whole, with gzip or zlib.
"""

from __future__ import annotations

import contextlib
import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Protocol

from stopgap.errors import JournalError
from stopgap.journal.crc32c import Buffer, crc32c

__all__ = ["Damage", "Record", "TFRecordWriter", "framed", "read_records"]

LENGTH, CHECKSUM = struct.Struct("<Q"), struct.Struct("<I")
HEADER_BYTES = LENGTH.size + CHECKSUM.size
FRAME_BYTES = HEADER_BYTES + CHECKSUM.size
MASK_DELTA = 0xA282EAD8
MOST_RECORD_BYTES = 2**31 - 1  # of a protobuf message, which is all that ever is in one
CHUNK_BYTES = 1 << 20
GZIP_MAGIC = b"\x1f\x8b"
ZLIB_MAGICS = (b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda")
EITHER_HEADER = 32 + zlib.MAX_WBITS  # zlib's word for: gzip or zlib, as it begins


@dataclass(frozen=True)
class Record:
    """One record.

    Attributes:
        content: Its bytes.
        offset: Where its header begins; of a compressed file, in what that unfolds to.
    """

    content: bytes
    offset: int

    @property
    def end(self) -> int:
        """Where the next one begins."""
        return self.offset + FRAME_BYTES + len(self.content)


class Damage(JournalError):
    """A file that cannot be read on from here.

    Attributes:
        file: Which.
        offset: Where the damaged record begins: all before it is whole.
        torn: The file just ends there, as one does whose writer was killed, or of whose end the machine has kept only
            zeros. Otherwise what stands there has been altered.
        next_offset: Where the next record begins; None where that is not known, or there is none.
    """

    def __init__(self, file: Path, offset: int, what: str, *, torn: bool, next_offset: int | None = None) -> None:
        self.file, self.offset, self.torn, self.next_offset = file, offset, torn, next_offset
        remedy = "Whoever wrote it was stopped there; what stands before is whole." if torn else "Record it again."
        super().__init__(f"{file} is {'torn' if torn else 'damaged'} at byte {offset}: {what}.", remedy)


def read_records(
    file: str | Path,
    start: int = 0,
    most_bytes: int = MOST_RECORD_BYTES,
    stream: BinaryIO | None = None,
) -> Iterator[Record]:
    """The records of a file, one after the other, and never more of it in memory than the one.

    Args:
        file: As it is, or compressed whole with gzip or zlib, which is found out.
        start: Where to begin: the offset or the end of a record.
        most_bytes: Of one record; a longer one is damage.
        stream: The same file, where it is open already.

    Raises:
        Damage: Something is not as it was written; what was given out before is.
        JournalError: The file cannot be read at all.
    """
    path = Path(file)
    try:
        with contextlib.nullcontext(stream) if stream else path.open("rb") as opened:
            yield from _Reader(path, opened, most_bytes).records(start)
    except OSError as error:
        raise JournalError(f"{path} cannot be read: {error.strerror or error}.") from error


class _Source(Protocol):
    def read(self, count: int, /) -> bytes:
        """So many bytes; fewer only where there are no more."""


class _Reader:
    def __init__(self, path: Path, stream: BinaryIO, most_bytes: int) -> None:
        self._path, self._most_bytes = path, most_bytes
        start = stream.read(HEADER_BYTES)
        stream.seek(0)
        self._compressed = is_compressed(start)
        self._source: _Source = _Unfolded(path, stream) if self._compressed else stream

    def records(self, start: int) -> Iterator[Record]:
        self._skip(start)
        offset = start
        while True:
            header = self._take(HEADER_BYTES)
            if not header:
                return
            record = Record(self._content(offset, header), offset)
            yield record
            offset = record.end

    def _content(self, offset: int, header: bytes) -> bytes:
        if len(header) < HEADER_BYTES:
            raise Damage(self._path, offset, f"it ends {len(header)} bytes into a record's header", torn=True)
        if not is_header(header):
            zeros = not header[-1] and self._only_zeros_follow()
            what = (
                "from within a record's header on it is all zeros"
                if zeros
                else "the checksum of a record's length is another"
            )
            raise Damage(self._path, offset, what, torn=zeros)
        (length,) = LENGTH.unpack_from(header)
        if length > self._most_bytes:
            raise Damage(self._path, offset, f"a record of {length} bytes is more than {self._most_bytes}", torn=False)
        content, footer = self._take(length), self._take(CHECKSUM.size)
        if len(content) + len(footer) < length + CHECKSUM.size:
            what = f"it ends {len(content) + len(footer)} bytes into a record of {length}"
            raise Damage(self._path, offset, what, torn=True)
        if CHECKSUM.unpack(footer) != (masked(crc32c(content)),):
            self._refuse_content(offset, length, content, footer)
        return content

    def _refuse_content(self, offset: int, length: int, content: bytes, footer: bytes) -> None:
        next_offset = offset + FRAME_BYTES + length
        if not footer[-1] and self._only_zeros_follow():
            kept = len(content.rstrip(b"\0"))
            raise Damage(self._path, offset, f"{kept} bytes into a record it is all zeros", torn=True)
        what = f"the checksum of a record of {length} bytes is another"
        raise Damage(self._path, offset, what, torn=False, next_offset=next_offset)

    def _take(self, count: int) -> bytes:
        """In chunks: a length in a file is a claim, and no reason to set memory aside for it."""
        if count <= CHUNK_BYTES:
            return self._source.read(count)
        parts, missing = [], count
        while missing:
            part = self._source.read(min(missing, CHUNK_BYTES))
            if not part:
                break
            parts.append(part)
            missing -= len(part)
        return b"".join(parts)

    def _only_zeros_follow(self) -> bool:
        while part := self._source.read(CHUNK_BYTES):
            if any(part):
                return False
        return True

    def _skip(self, count: int) -> None:
        if not self._compressed and count:
            self._source.seek(count)  # type: ignore[attr-defined]  # it is the file itself
            return
        while count:
            count -= len(self._source.read(min(count, CHUNK_BYTES))) or count


class _Unfolded:
    """What a compressed file unfolds to, as far as it is read. Several gzip members in a row are one file."""

    def __init__(self, path: Path, stream: BinaryIO) -> None:
        self._path, self._stream = path, stream
        self._unfolding = zlib.decompressobj(EITHER_HEADER)
        self._folded = b""
        self._given = 0

    def read(self, count: int, /) -> bytes:
        parts, missing = [], count
        while missing:
            part = self._some(missing)
            if not part:
                break
            parts.append(part)
            missing -= len(part)
            self._given += len(part)
        return b"".join(parts)

    def _some(self, most: int) -> bytes:
        while True:
            if self._unfolding.eof:
                self._folded = self._unfolding.unused_data or self._stream.read(CHUNK_BYTES)
                if not self._folded:
                    return b""
                self._unfolding = zlib.decompressobj(EITHER_HEADER)
            self._folded = self._folded or self._stream.read(CHUNK_BYTES)
            ended = not self._folded
            try:
                part = self._unfolding.decompress(self._folded, most)
            except zlib.error as error:
                raise Damage(self._path, self._given, f"it cannot be unfolded: {error}", torn=False) from error
            self._folded = self._unfolding.unconsumed_tail
            if part or (ended and self._unfolding.eof):
                return part
            if ended:
                raise Damage(self._path, self._given, "its compression has no end", torn=True)


class TFRecordWriter:
    """Writes records to the end of a file that only its owner can read; a context manager.

    Each record is handed to the kernel as it is appended: a process that is killed loses none, a machine that loses its
    power those since the last `sync`.
    """

    def __init__(self, file: str | Path, *, fresh: bool = False) -> None:
        """
        Args:
            file: It is made where it is not there, with mode 0600. Its folder has to be there.
            fresh: There may be none yet.

        Raises:
            JournalError: The file cannot be made or opened.
        """
        self.path = Path(file)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | (os.O_EXCL if fresh else 0)
        try:
            self._file = os.open(self.path, flags, 0o600)
            self.size = os.fstat(self._file).st_size
        except OSError as error:
            raise self._refused(error) from error

    def append(self, content: Buffer) -> int:
        """Writes a record, whole or not at all, and says at which offset it begins.

        Raises:
            JournalError: It could not be written: the disk is full, say.
        """
        begin = self.size
        record = memoryview(framed(content))
        written = 0
        try:
            while written < len(record):
                written += os.write(self._file, record[written:])
        except OSError as error:
            os.ftruncate(self._file, begin)  # what comes after a half would not be found
            raise self._refused(error) from error
        self.size += written
        return begin

    def cut(self, offset: int) -> None:
        """Takes back the records from that offset on."""
        os.ftruncate(self._file, offset)
        self.size = offset

    def sync(self) -> None:
        """Returns when all that was written is on the disk."""
        os.fsync(self._file)

    def close(self) -> None:
        """Once or more often."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def __enter__(self) -> TFRecordWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _refused(self, error: OSError) -> JournalError:
        return JournalError(f"{self.path} cannot be written: {error.strerror or error}.")


def framed(content: Buffer) -> bytes:
    """A record as it stands in a file."""
    length = LENGTH.pack(len(content))
    checksums = (CHECKSUM.pack(masked(crc32c(part))) for part in (length, content))
    return b"".join((length, next(checksums), content, next(checksums)))


def masked(checksum: int) -> int:
    """As it is stored: the checksum of bytes that hold their own checksum would be of little use."""
    return (((checksum >> 15) | (checksum << 17)) + MASK_DELTA) & 0xFFFFFFFF


def is_header(start: bytes) -> bool:
    """Whether a record may begin so: 12 bytes, of which the last four are the checksum of the first eight."""
    return len(start) >= HEADER_BYTES and CHECKSUM.unpack_from(start, LENGTH.size) == (
        masked(crc32c(start[: LENGTH.size])),
    )


def is_compressed(start: bytes) -> bool:
    """By a file's first 12 bytes: a record's own length may look like gzip's mark, but then its checksum is right."""
    return not is_header(start) and (start.startswith(GZIP_MAGIC) or start.startswith(ZLIB_MAGICS))
