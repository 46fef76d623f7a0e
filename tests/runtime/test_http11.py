"""The runtime's HTTP/1.1: what a peer sends is parsed whole, or refused before it costs memory."""

from __future__ import annotations

import resource
import socket
import struct
import threading
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from stopgap_runtime.http11 import BadRequest, Connection, Response


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    theirs.settimeout(5)
    ours.settimeout(5)
    with ours, theirs:
        yield ours, theirs


def test_a_chunked_request_is_read_whole_even_byte_by_byte(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    head = b"POST /x HTTP/1.1\r\nHost: h\r\nGrpc-Timeout: 1S\r\nTransfer-Encoding: chunked\r\n\r\n"
    raw = head + b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"

    def send() -> None:
        for i in range(len(raw)):
            theirs.sendall(raw[i : i + 1])

    sender = threading.Thread(target=send)
    sender.start()
    request = Connection(ours, 1000).read()
    sender.join()
    assert request is not None
    assert (request.method, request.path, request.body) == ("POST", "/x", b"abcde")
    assert request.headers["grpc-timeout"] == "1S"
    assert request.keep_alive


def test_two_requests_in_one_packet_are_answered_in_turn(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    theirs.sendall(b"GET /1 HTTP/1.1\r\nHost: h\r\n\r\nGET /2 HTTP/1.1\r\nHost: h\r\n\r\n")
    connection = Connection(ours, 1000)
    paths = [request.path for request in (connection.read(), connection.read()) if request]
    assert paths == ["/1", "/2"]


LARGE = bytes(range(256)) * (3 << 12)
LARGE_HEAD = b"POST / HTTP/1.1\r\nContent-Length: 4000000\r\n\r\n"


@pytest.mark.parametrize(
    "framing", [b"Content-Length: %d\r\n\r\n%s", b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n"]
)
def test_large_requests_are_read_whole_one_after_the_other(
    pair: tuple[socket.socket, socket.socket], framing: bytes
) -> None:
    ours, theirs = pair
    bodies = [LARGE, LARGE[::-1], b"small"]
    raw = b"GET /0 HTTP/1.1\r\nHost: h\r\n\r\n" + b"".join(
        b"POST /%d HTTP/1.1\r\nHost: h\r\n" % number + framing % (len(body), body)
        for number, body in enumerate(bodies, 1)
    )
    sender = threading.Thread(target=theirs.sendall, args=(raw,))
    sender.start()
    connection = Connection(ours, len(LARGE))
    requests = [request for request in (connection.read() for _ in range(4)) if request]
    sender.join()
    assert [request.path for request in requests] == ["/0", "/1", "/2", "/3"]
    assert [bytes(request.body) for request in requests] == [b"", *bodies]


def test_a_peer_that_leaves_within_a_large_body_has_asked_nothing(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair

    def send() -> None:
        theirs.sendall(b"POST / HTTP/1.1\r\nContent-Length: 4000000\r\n\r\n" + LARGE)
        theirs.shutdown(socket.SHUT_WR)

    sender = threading.Thread(target=send)
    sender.start()
    assert Connection(ours, 4_000_000).read() is None
    sender.join()


def test_a_closed_peer_ends_the_conversation(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    theirs.sendall(b"GET / HTTP/1.1\r\nHo")
    theirs.close()
    assert Connection(ours, 1000).read() is None


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"NONSENSE\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01", 400),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * (1 << 17), 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 2000\r\n\r\n" + b"a" * 2000, 413),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + b"X: y\r\n" * 40_000, 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 9000000\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 9000000\r\n\r\n12345", 400),
    ],
    ids=[
        "words",
        "tls",
        "endless head",
        "body over the limit",
        "endless trailers",
        "two lengths (smuggling)",
        "two lengths, a large one",
        "a length twice",
    ],
)
def test_what_is_no_acceptable_request_is_refused(
    pair: tuple[socket.socket, socket.socket], raw: bytes, status: int
) -> None:
    ours, theirs = pair

    def send() -> None:
        with suppress(OSError):  # we hang up on it
            theirs.sendall(raw)

    sender = threading.Thread(target=send)
    sender.start()
    with pytest.raises(BadRequest) as refused:
        Connection(ours, 1000).read()
    assert refused.value.status == status
    ours.shutdown(socket.SHUT_RDWR)
    sender.join()


def test_a_large_body_that_never_comes_takes_no_memory(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    theirs.sendall(b"POST / HTTP/1.1\r\nContent-Length: 1000000000\r\n\r\n")
    ours.settimeout(0.1)
    before = resident_mib()
    with pytest.raises(TimeoutError):
        Connection(ours, 1_000_000_000).read()
    assert resident_mib() - before < 100


def resident_mib() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() >> 20


def test_a_body_in_the_smallest_chunks_takes_no_more_than_another(pair: tuple[socket.socket, socket.socket]) -> None:
    """A Python object for each of them would take twenty times as much."""
    ours, theirs = pair
    head, chunks = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", b"2\r\nab\r\n" * 300_000
    sender = threading.Thread(target=theirs.sendall, args=(head + chunks + b"0\r\n\r\n",))
    tracemalloc.start()
    sender.start()
    request = Connection(ours, 600_000).read()
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    sender.join()
    assert request is not None
    assert request.body == b"ab" * 300_000
    assert most < 6_000_000


def test_no_more_requests_wait_than_a_hundred(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    theirs.sendall(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n" * 101)
    with pytest.raises(BadRequest, match="more than 100"):
        Connection(ours, 1000).read()


@pytest.mark.parametrize("sent", [b"P", b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nabc", LARGE_HEAD + b"abc"])
def test_silence_within_a_request_ends_it_and_silence_before_one_does_not(
    pair: tuple[socket.socket, socket.socket], sent: bytes
) -> None:
    ours, theirs = pair
    ours.setblocking(True)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", 0, 50_000))
    starts = threading.Timer(0.2, theirs.sendall, args=(sent,))
    starts.start()
    with pytest.raises(BadRequest) as refused:
        Connection(ours, 4_000_000).read()
    starts.join()
    assert refused.value.status == 408


def test_a_request_byte_by_byte_has_to_end_as_well(
    pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stopgap_runtime.http11._ARRIVAL_S", 0.1)
    ours, theirs = pair

    def send() -> None:
        with suppress(OSError):
            theirs.sendall(b"GET /")
            for _ in range(500):
                theirs.sendall(b"x")
                time.sleep(0.01)

    sender = threading.Thread(target=send)
    sender.start()
    with pytest.raises(BadRequest) as refused:
        Connection(ours, 1000).read()
    assert refused.value.status == 408
    ours.shutdown(socket.SHUT_RDWR)
    sender.join()


def test_an_answer_in_more_pieces_than_the_kernel_takes_at_once_arrives_whole(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = pair
    received = bytearray()

    def receive() -> None:
        while data := theirs.recv(1 << 20):
            received.extend(data)

    receiver = threading.Thread(target=receive)
    receiver.start()
    Connection(ours, 1000).write(Response(200, {}, (b"x" * 100,) * 3000), keep_alive=True)
    ours.shutdown(socket.SHUT_WR)
    receiver.join()
    assert received.endswith(b"\r\n\r\n" + b"x" * 300_000)


def test_a_peer_that_has_left_is_noticed(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    connection = Connection(ours, 1000)
    theirs.sendall(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
    assert connection.read() is not None
    assert not connection.peer_left()
    theirs.close()
    assert connection.peer_left()


@pytest.mark.parametrize("size", [10, 5 << 20], ids=["small", "in several writes"])
def test_trailers_follow_a_chunked_body(pair: tuple[socket.socket, socket.socket], size: int) -> None:
    ours, theirs = pair
    received = bytearray()

    def receive() -> None:
        while data := theirs.recv(1 << 20):
            received.extend(data)

    receiver = threading.Thread(target=receive)
    receiver.start()
    response = Response(200, {"content-type": "application/grpc"}, (b"a" * size, b"b"), trailers={"grpc-status": "0"})
    Connection(ours, 1000).write(response, keep_alive=True)
    ours.shutdown(socket.SHUT_WR)
    receiver.join()
    head, _, rest = bytes(received).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"transfer-encoding: chunked" in head
    assert rest == b"%x\r\n" % (size + 1) + b"a" * size + b"b\r\n0\r\ngrpc-status: 0\r\n\r\n"
