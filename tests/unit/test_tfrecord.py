"""TFRecord files: what is written is read, and of a file that is not as it was written it is said where and how."""

from __future__ import annotations

import gzip
import resource
import signal
import stat
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from stopgap.errors import JournalError
from stopgap.journal import tfrecord
from stopgap.journal.crc32c import BLOCK, FEW, SHORT, crc32c
from stopgap.journal.tfrecord import Damage, TFRecordWriter, framed, read_records

CONTENTS = [b"", b"one", bytes(range(256)) * 9, b"\0" * 50, b"last"]


def bit_by_bit(content: bytes) -> int:
    """The definition."""
    register = 0xFFFFFFFF
    for value in content:
        register ^= value
        for _ in range(8):
            register = (register >> 1) ^ (0x82F63B78 if register & 1 else 0)
    return register ^ 0xFFFFFFFF


def whole(path: Path, compressed: Callable[[bytes], bytes] = bytes) -> Path:
    path.write_bytes(compressed(b"".join(map(framed, CONTENTS))))
    return path


def read(path: Path) -> list[bytes]:
    return [record.content for record in read_records(path)]


def read_up_to_damage(path: Path) -> tuple[list[bytes], Damage]:
    found: list[bytes] = []
    try:
        found.extend(record.content for record in read_records(path))
    except Damage as damage:
        return found, damage
    raise AssertionError("no damage was found")


def test_the_checksum_is_that_of_rfc_3720() -> None:
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(b"\0" * 32) == 0x8A9136AA
    assert crc32c(b"\xff" * 32) == 0x62A8AB43
    assert crc32c(bytes(range(32))) == 0x46DD794E


def test_the_checksum_is_the_same_whichever_way_it_is_found() -> None:
    drawn = np.random.default_rng(1).bytes(BLOCK * FEW * 3)
    edges = [
        *range(3 * SHORT),
        BLOCK - 1,
        BLOCK,
        BLOCK + 1,
        BLOCK * FEW,
        BLOCK * FEW + 1,
        BLOCK * (FEW + 3),
        len(drawn),
    ]
    for length in edges:
        assert crc32c(drawn[:length]) == bit_by_bit(drawn[:length]), length


@pytest.mark.parametrize(
    "compressed",
    [bytes, gzip.compress, zlib.compress, lambda content: gzip.compress(content[:40]) + gzip.compress(content[40:])],
    ids=["as it is", "gzip", "zlib", "two gzip members"],
)
def test_what_is_written_is_read(tmp_path: Path, compressed: Callable[[bytes], bytes]) -> None:
    path = whole(tmp_path / "file", compressed)
    assert read(path) == CONTENTS
    offsets = [record.offset for record in read_records(path)]
    assert [record.content for record in read_records(path, start=offsets[2])] == CONTENTS[2:]


def test_a_record_of_gzips_own_length_is_no_compressed_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(framed(b"x" * 0x8B1F))
    assert read(tmp_path / "file") == [b"x" * 0x8B1F]


def test_a_writer_goes_on_where_the_last_one_ended_and_nobody_else_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for content in CONTENTS:
        with TFRecordWriter(path) as writer:
            offset = writer.append(content)
            assert next(read_records(path, start=offset)).content == content
    assert read(path) == CONTENTS
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(JournalError, match="File exists"):
        TFRecordWriter(path, fresh=True)


def test_cut_off_anywhere_it_is_torn_and_all_before_is_read(tmp_path: Path) -> None:
    content = whole(tmp_path / "whole").read_bytes()
    ends = [record.end for record in read_records(tmp_path / "whole")]
    for length in range(1, len(content)):
        path = tmp_path / "cut"
        path.write_bytes(content[:length])
        complete = sum(end <= length for end in ends)
        if length in ends:
            assert read(path) == CONTENTS[:complete]
            continue
        found, damage = read_up_to_damage(path)
        assert found == CONTENTS[:complete]
        assert (damage.torn, damage.file, damage.offset) == (True, path, ends[complete - 1] if complete else 0)
        assert f"is torn at byte {damage.offset}" in str(damage)


@pytest.mark.parametrize("lost", range(1, 20))
def test_of_an_end_that_the_machine_has_lost_only_zeros_remain_and_that_is_torn(tmp_path: Path, lost: int) -> None:
    path = whole(tmp_path / "file")
    path.write_bytes(path.read_bytes()[:-lost] + b"\0" * 5000)
    found, damage = read_up_to_damage(path)
    assert (found, damage.torn) == (CONTENTS[:-1], True)


def test_a_changed_byte_is_found_wherever_it_stands(tmp_path: Path) -> None:
    content = whole(tmp_path / "file").read_bytes()
    drawn = np.random.default_rng(2)
    for place in (*range(120), *drawn.integers(120, len(content), 200).tolist(), len(content) - 1):
        changed = bytearray(content)
        changed[place] ^= int(drawn.integers(1, 256))
        (tmp_path / "changed").write_bytes(changed)
        found, damage = read_up_to_damage(tmp_path / "changed")
        assert found == CONTENTS[: len(found)]
        assert damage.offset <= place


def test_after_a_damaged_record_in_the_middle_one_may_go_on(tmp_path: Path) -> None:
    path = whole(tmp_path / "file")
    content = bytearray(path.read_bytes())
    content[content.index(b"one")] ^= 1
    path.write_bytes(content)
    found, damage = read_up_to_damage(path)
    assert (found, damage.torn, damage.offset) == ([b""], False, 16)
    assert damage.next_offset is not None
    assert [record.content for record in read_records(path, start=damage.next_offset)] == CONTENTS[2:]


def test_a_length_is_a_claim(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for claimed, torn in ((2**30, True), (2**40, False), (2**63, False)):
        length = tfrecord.LENGTH.pack(claimed)
        path.write_bytes(length + tfrecord.CHECKSUM.pack(tfrecord.masked(crc32c(length))) + b"few")
        assert read_up_to_damage(path)[1].torn is torn


@pytest.mark.parametrize("compress", [gzip.compress, zlib.compress])
def test_a_compressed_file_is_torn_or_damaged_too(tmp_path: Path, compress: Callable[[bytes], bytes]) -> None:
    path = whole(tmp_path / "file", compress)
    content = path.read_bytes()
    path.write_bytes(content[:-10])
    assert read_up_to_damage(path)[1].torn
    middle = len(content) // 2
    path.write_bytes(content[:middle] + bytes([content[middle] ^ 0xFF]) + content[middle + 1 :])
    assert not read_up_to_damage(path)[1].torn


def test_what_is_no_such_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("certainly no TFRecord", encoding="utf-8")
    assert "checksum of a record's length is another" in str(read_up_to_damage(tmp_path / "text")[1])
    with pytest.raises(JournalError, match="cannot be read: No such file"):
        read(tmp_path / "nowhere")
    (tmp_path / "empty").touch()
    assert read(tmp_path / "empty") == []


def test_a_record_that_does_not_fit_on_the_disk_leaves_the_others_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        with TFRecordWriter(path) as writer:
            writer.append(b"first")
            resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
            with pytest.raises(JournalError, match="cannot be written: File too large"):
                writer.append(b"x" * 5000)
            writer.append(b"second")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert read(path) == [b"first", b"second"]
