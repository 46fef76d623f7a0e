"""What a worker prints cannot forge the parent's lines, fill the log or block the worker."""

from __future__ import annotations

import os

import pytest
from stopgap_runtime.worker_log import WorkerLog, printable


def logged(*writes: bytes) -> list[str]:
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    lines: list[str] = []
    log = WorkerLog(reader, lines.append)
    for data in writes:
        os.write(writer, data)
        log.read()
    os.close(writer)
    log.close()
    return lines


def test_lines_come_whole_however_they_were_written() -> None:
    assert logged(b"one\ntw", b"o\nthree") == ["one", "two", "three"]


def test_control_characters_are_shown_and_not_obeyed() -> None:
    assert logged(b"\x1b[2Jgone\r[parent] forged\xff\n") == [r"\x1b[2Jgone\r[parent] forged\xff"]


def test_a_line_without_end_is_cut() -> None:
    lines = logged(*[b"x" * 60_000] * 4)
    assert all(len(line) <= 2048 for line in lines)


@pytest.mark.parametrize("piece", ["\0", "\x1b", "\u202e", "\U0010ffff", "x"])
def test_what_is_escaped_makes_no_line_longer_than_it_may_be(piece: str) -> None:
    """A byte becomes four characters, a character beyond the first plane ten."""
    assert len(printable(piece.encode() * 5000)) == 2048
    assert printable(b"\xff" * 5000)[:4] == r"\xff"


def test_a_worker_that_closes_its_output_is_waited_for_no_more() -> None:
    """A pipe at its end is always readable: waiting for it would be a loop without rest."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    log = WorkerLog(reader, print)
    assert log.descriptors == (reader,)
    os.close(writer)
    log.read()
    assert not log.descriptors
    log.close()


def test_a_flood_is_dropped_and_counted() -> None:
    lines = logged(*[b"flood\n" * 10_000] * 5)
    assert len(lines) < 1_000
    assert any(line.endswith("lines dropped)") for line in lines)
