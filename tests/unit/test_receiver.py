"""The socket on which Envoy shows requests, spoken to as Envoy speaks to it: HTTP/1.1 over a Unix socket."""

from __future__ import annotations

import os
import resource
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from stopgap.observer.connection import id_in
from stopgap.observer.receiver import receiving

LARGEST = 1 << 20
UUID = b"4f9e7c1a-0b7e-4b6e-8d0c-1f2a3b4c5d6e"


class Shown:
    """What was taken, in its order."""

    largest_bytes = LARGEST

    def __init__(self) -> None:
        self.seen: list[tuple[bytes, str]] = []
        self.large = self.unreadable = 0

    def offer(self, content: bytes, request_id: str = "") -> None:
        self.seen.append((content, request_id))

    def refuse_large(self) -> None:
        self.large += 1

    def refuse_unreadable(self) -> None:
        self.unreadable += 1


@contextmanager
def receiver(folder: Path) -> Iterator[tuple[Shown, Callable[[], socket.socket]]]:
    taker, path, ended = Shown(), folder / "ranker.sock", threading.Event()

    def connected() -> socket.socket:
        made = socket.socket(socket.AF_UNIX)
        made.settimeout(10)
        made.connect(str(path))
        return made

    with receiving(path, taker, ended.set):
        yield taker, connected
        assert not ended.is_set()
    assert ended.is_set()
    assert not path.exists()


def framed(message: bytes) -> bytes:
    return b"\0" + len(message).to_bytes(4, "big") + message


def request(body: bytes, *headers: bytes) -> bytes:
    """As Envoy sends one on whose length it was not told."""
    head = [b"POST /tensorflow.serving.PredictionService/Predict HTTP/1.1", b"host: a", b"transfer-encoding: chunked"]
    chunk = b"%x\r\n%s\r\n" % (len(body), body) if body else b""
    return b"\r\n".join([*head, *headers, b"", b""]) + chunk + b"0\r\n\r\n"


def answered(connection: socket.socket, answers: int = 1) -> None:
    """Reads as many answers, all of them a plain 200."""
    received = b""
    while received.count(b"\r\n\r\n") < answers:
        received += (part := connection.recv(1 << 16))
        assert part, f"closed after {received!r}"
    assert received.count(b"HTTP/1.1 200 ") == answers


def closed(connection: socket.socket) -> bool:
    with suppress(ConnectionError):
        return connection.recv(1) == b""
    return True


def test_of_what_comes_with_a_request_its_id_alone_goes_on(tmp_path: Path) -> None:
    with receiver(tmp_path) as (taken, connected), connected() as connection:
        connection.sendall(request(framed(b"one"), b"authorization: Bearer of-a-user", b"x-request-id: a-1"))
        answered(connection)
        connection.sendall(request(framed(b"two")))
        answered(connection)
    assert taken.seen == [(b"one", "a-1"), (b"two", "")]


@pytest.mark.parametrize(
    "hostile", [b"", b"a b", b"-rf", b"a\nb", b"x" * 129, b"<script>", b'"', b"\x80binary", b"\xc3\xbc"]
)
def test_an_id_that_is_something_else_is_none(hostile: bytes) -> None:
    assert id_in([(b"x-request-id", hostile)]) == ""
    assert id_in([(b"x-request-id", UUID), (b"other", hostile)]) == UUID.decode()


def test_as_many_connections_as_envoy_has_are_read_at_once(tmp_path: Path) -> None:
    with receiver(tmp_path) as (taken, connected):
        connections = [connected() for _ in range(64)]
        for number, connection in enumerate(connections):
            connection.sendall(request(framed(b"%d" % number)))
        for connection in connections:
            answered(connection)
            connection.close()
    assert sorted(int(content) for content, _ in taken.seen) == list(range(64))


def test_a_large_request_is_taken_without_a_pause_between_its_parts(tmp_path: Path) -> None:
    content = os.urandom(LARGEST)
    with receiver(tmp_path) as (taken, connected), connected() as connection:
        connection.sendall(request(framed(content)))
        answered(connection)
    assert taken.seen == [(content, "")]


def test_what_is_too_large_is_counted_and_not_held(tmp_path: Path) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    part = b"%x\r\n%s\r\n" % (LARGEST, b"x" * LARGEST)
    head, _, _ = request(b"").partition(b"0\r\n\r\n")
    with receiver(tmp_path) as (taken, connected), connected() as connection:
        connection.sendall(head)
        for _ in range(200):
            connection.sendall(part)
        connection.sendall(b"0\r\n\r\n")
        answered(connection)
        connection.sendall(request(framed(b"small")))
        answered(connection)
    assert (taken.large, taken.seen) == (1, [(b"small", "")])
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 << 10


@pytest.mark.parametrize("body", [b"", b"\0", b"\0\0\0\0\1", framed(b"ab")[:-1], framed(b"ab") + b"c", b"\1\0\0\0\2ab"])
def test_what_is_no_message_is_counted(tmp_path: Path, body: bytes) -> None:
    with receiver(tmp_path) as (taken, connected), connected() as connection:
        connection.sendall(request(body))
        answered(connection)
    assert (taken.unreadable, taken.seen) == (1, [])


@pytest.mark.parametrize(
    "sent", [b"", b"POST", request(framed(b"cut"))[:-3], b"\x16\x03\x01\x02", b"GET / HTTP/9\r\n\r\n", b"a" * (1 << 20)]
)
def test_a_connection_that_breaks_off_or_speaks_something_else_harms_no_other(tmp_path: Path, sent: bytes) -> None:
    with receiver(tmp_path) as (taken, connected), connected() as well, connected() as broken:
        with suppress(ConnectionError):
            broken.sendall(sent)
            broken.shutdown(socket.SHUT_WR)
        assert closed(broken)
        well.sendall(request(framed(b"well")))
        answered(well)
    assert taken.seen == [(b"well", "")]


def test_one_that_is_slow_keeps_no_other_waiting(tmp_path: Path) -> None:
    whole = request(framed(b"slow"))
    with receiver(tmp_path) as (taken, connected), connected() as slow, connected() as well:
        slow.sendall(whole[:-4])
        well.sendall(request(framed(b"well")))
        answered(well)
        slow.sendall(whole[-4:])
        answered(slow)
    assert [content for content, _ in taken.seen] == [b"well", b"slow"]


def test_nobody_is_kept_waiting_for_its_end_by_who_is_connected(tmp_path: Path) -> None:
    with receiver(tmp_path) as (_, connected):
        connection = connected()
        connection.sendall(b"POST / HTTP/1.1\r\n")
        begun = time.monotonic()
    assert time.monotonic() - begun < 5
    assert closed(connection)
    connection.close()


def test_requests_that_keep_coming_find_nobody_who_waits_for_them(tmp_path: Path) -> None:
    """It looks every twenty milliseconds, so a hundred in a second make some fifty turns and not a hundred."""
    with receiver(tmp_path) as (_, connected), connected() as connection:
        connection.sendall(request(framed(b"first")))
        answered(connection)
        waits = [_moment_of_answer(connection) for _ in range(20)]
    assert sorted(waits)[10] > 0.01


def _moment_of_answer(connection: socket.socket) -> float:
    begun = time.monotonic()
    connection.sendall(request(framed(b"next")))
    answered(connection)
    return time.monotonic() - begun
