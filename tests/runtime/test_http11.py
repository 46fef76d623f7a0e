"""The runtime's HTTP/1.1: what a peer sends is parsed whole, or refused before it costs memory."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress

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
    ],
    ids=["words", "tls", "endless head", "body over the limit", "endless trailers", "two lengths (smuggling)"],
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
