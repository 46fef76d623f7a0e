"""The HTTP/1.1 seam: a connection's bytes → requests, with h11 as the reference."""

from __future__ import annotations

import socket
import zlib
from random import Random

import h11
from stopgap_runtime.http11 import BadRequest, Connection, Request, Response, _Assembly

from tests.fuzz.target import Target

__all__ = ["HTTP"]

_LARGEST_BODY = 3 << 20
_FITS_A_SOCKET = 100_000

_Seen = tuple[str, str, bytes]


def _check(data: bytes) -> None:
    data = data[:_FITS_A_SOCKET]
    requests, status = _by_connection(data)
    assert status in (None, 400, 413), status
    pieces = _fed_in_pieces(data)
    assert pieces[: len(requests)] == requests[: len(pieces)], "the same bytes in pieces are other requests"
    reference = _by_h11(data)
    for ours, theirs in zip(requests, reference):
        assert ours == theirs, f"ours {ours!r}, h11's {theirs!r}"


def _by_connection(data: bytes) -> tuple[list[_Seen], int | None]:
    """The requests before the end or the refusal, and the refusal's status."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        for side in (ours, theirs):
            side.settimeout(10)
        theirs.sendall(data)
        theirs.shutdown(socket.SHUT_WR)
        connection = Connection(ours, _LARGEST_BODY)
        seen: list[_Seen] = []
        try:
            while (request := connection.read()) is not None:
                seen.append(_seen(request))
                connection.write(Response(200, {}, (b"ok",)), keep_alive=request.keep_alive)
                theirs.recv(1 << 16)
                if not request.keep_alive:
                    return seen, None
        except BadRequest as refused:
            connection.write(Response(refused.status, {}, (refused.text.encode(),)), keep_alive=False)
            return seen, refused.status
        return seen, None


def _fed_in_pieces(data: bytes) -> list[_Seen]:
    random = Random(zlib.crc32(data))  # noqa: S311 - to be drawn again, and no secret
    assembly = _Assembly(_LARGEST_BODY)
    start = 0
    try:
        while start < len(data) and not any(not request.keep_alive for request in assembly.complete):
            end = start + random.choice((1, 1, 2, 3, 10, 100, 5000))
            piece = data[start:end]
            start = end
            while assembly.room and piece:
                fits = min(len(piece), len(assembly.room))
                assembly.room[:fits] = piece[:fits]
                assembly.fill(fits)
                piece = piece[fits:]
            if piece:
                assembly.feed(piece)
    except BadRequest:
        pass
    seen = [_seen(request) for request in assembly.complete]
    closing = [place for place, request in enumerate(assembly.complete) if not request.keep_alive]
    return seen[: closing[0] + 1] if closing else seen


def _by_h11(data: bytes) -> list[_Seen]:
    """What h11 takes these bytes for, until it refuses something."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=_LARGEST_BODY)
    seen: list[_Seen] = []
    try:
        connection.receive_data(data)
        connection.receive_data(b"")
        while isinstance(head := connection.next_event(), h11.Request):
            body = b""
            while isinstance(part := connection.next_event(), h11.Data):
                body += part.data
            if not isinstance(part, h11.EndOfMessage):
                return seen
            seen.append((head.method.decode(), head.target.decode("latin-1"), body))
            if connection.our_state is not h11.SEND_RESPONSE:
                return seen
            connection.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
            connection.send(h11.EndOfMessage())
            connection.start_next_cycle()
    except (h11.RemoteProtocolError, h11.LocalProtocolError):
        pass
    return seen


def _seen(request: Request) -> _Seen:
    return request.method, request.path, bytes(request.body)


HTTP = Target(
    "http11",
    _check,
    seeds=(
        b"GET /healthz HTTP/1.1\r\nHost: t\r\n\r\n",
        b"POST /v1/models/m:predict HTTP/1.1\r\nhost: t\r\ncontent-length: 5\r\n\r\nhello",
        b"POST /x HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\nTrailer: a\r\n\r\n5\r\nhello\r\n"
        b"b;x=y\r\n, my friend\r\n0\r\na: b\r\n\r\n",
        b"GET /1 HTTP/1.1\r\nHost: t\r\n\r\nHEAD /2 HTTP/1.1\r\nHost: t\r\n\r\n"
        b"POST /3 HTTP/1.1\r\nHost: t\r\nContent-Length: 0\r\n\r\nGET /4 HTTP/1.0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc",
        b"POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 2000000\r\n\r\n" + b"x" * 1000,
    ),
    tokens=(
        *(b"\r\n", b"\n", b"\r", b"\0", b" ", b"\t", b":", b"0\r\n\r\n", b"ffffffffffffffff\r\n", b"\r\n\r\n"),
        *(b"Content-Length: 5\r\n", b"Content-Length: 18446744073709551616\r\n", b"Transfer-Encoding: chunked\r\n"),
        *(b"Transfer-Encoding: gzip, chunked\r\n", b"Transfer-Encoding: identity\r\n", b"Connection: close\r\n"),
        *(b"Connection: upgrade\r\nUpgrade: h2c\r\n", b"Expect: 100-continue\r\n", b"HTTP/1.0", b"HTTP/2.0", b"PUT "),
        *(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"CONNECT ", b" obs-fold", b"\xff", b"X" * 70_000, b"a: b\r\n" * 500),
        b"GET / HTTP/1.1\r\nHost: t\r\n\r\n" * 2000,
    ),
    bytes_for_each=400,
)
