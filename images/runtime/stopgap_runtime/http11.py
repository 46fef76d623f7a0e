"""Bytes ↔ HTTP/1.1 requests and responses on one blocking socket. Knows nothing of gRPC, JSON or models."""

from __future__ import annotations

import functools
import select
import socket
import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, Union

import httptools
import numpy as np

__all__ = ["BadRequest", "Connection", "Request", "Response"]

_HEAD_LIMIT: Final = 64 << 10
_SMALL_READ: Final = 64 << 10
_LARGE_READ: Final = 1 << 20
_BUFFERS_AT_ONCE: Final = 1024  # the kernel's IOV_MAX
_JOIN_LIMIT: Final = 64 << 10  # below this one copy is cheaper than a second buffer in the kernel call
_MOST_PIECES: Final = 1024  # of a body, kept as they came: a byte by itself takes more than forty
_MOST_WAITING: Final = 100  # requests that are there before the first of them is answered
_ARRIVAL_S: Final = 120.0  # the front sends a request when it has all of it

_REASONS: Final[Mapping[int, str]] = {
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    408: "Request Timeout",
    409: "Conflict",
    413: "Content Too Large",
    429: "Too Many Requests",
    499: "Client Closed Request",
    500: "Internal Server Error",
    501: "Not Implemented",
    503: "Service Unavailable",
    504: "Gateway Timeout",
}
_GO_ON: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


Body = Union[bytes, bytearray, memoryview]


class BadRequest(Exception):
    """What came is no acceptable HTTP/1.1; the connection cannot go on."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


class Request(NamedTuple):
    """One request, whole; header names are in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: Body
    keep_alive: bool


class Response(NamedTuple):
    """One response. With `trailers` it goes out chunked, as gRPC over HTTP/1.1 wants it; without, with a length."""

    status: int
    headers: Mapping[str, str]
    body: Sequence[bytes | memoryview] = ()
    trailers: Mapping[str, str] | None = None


class Connection:
    """The server's side of one connection.

    Args:
        max_body_bytes: A longer body raises `BadRequest` 413 before more of it is read.
    """

    def __init__(self, stream: socket.socket, max_body_bytes: int) -> None:
        self._stream = stream
        self._assembly = _Assembly(max_body_bytes)
        self._hang_up = select.poll()
        self._hang_up.register(stream, 0)  # nothing but what is always told: the peer has closed, or an error
        self._without_body = False

    def read(self) -> Request | None:
        """The next request, or None when the peer has closed.

        A `stream` with a timeout of its own (SO_RCVTIMEO) may be silent for longer between two requests, but not within
        one.

        Raises:
            BadRequest: What came is no HTTP/1.1, larger than allowed, or does not come to its end.
            OSError: The connection broke.
            MemoryError: There is none for this request.
        """
        self._without_body = False
        assembly = self._assembly
        while not assembly.complete:
            if assembly.is_awaited:
                assembly.is_awaited = False
                self._stream.sendall(_GO_ON)
            if not self._receive(assembly):
                return None
        request = assembly.complete.popleft()
        self._without_body = request.method == "HEAD"
        return request

    def _receive(self, assembly: _Assembly) -> bool:
        """Takes what has come; False when the peer has closed."""
        try:
            if assembly.room:
                received = self._stream.recv_into(assembly.room)
                assembly.fill(received)
                return bool(received)
            data = self._stream.recv(_LARGE_READ if assembly.in_body else _SMALL_READ)
        except BlockingIOError as error:
            if assembly.has_begun:
                raise BadRequest(408, "the request does not come to its end") from error
            return True
        if data:
            assembly.feed(data)
        return bool(data)

    def peer_left(self) -> bool:
        """Whether nobody waits for an answer any more."""
        return bool(self._hang_up.poll(0))

    def write(self, response: Response, *, keep_alive: bool) -> None:
        """Sends `response` to the request last read; with `keep_alive` False the peer is told that it was the last.

        To a HEAD go the headers alone.

        Raises:
            OSError: The connection broke.
        """
        buffers = list(_serialised(response, keep_alive=keep_alive))
        if self._without_body:
            del buffers[1:]
        if sum(map(len, buffers)) <= _JOIN_LIMIT:
            self._stream.sendall(b"".join(buffers))
            return
        pending = [memoryview(buffer) for buffer in buffers]
        while pending:
            sent = self._stream.sendmsg(pending[:_BUFFERS_AT_ONCE])
            while pending and sent >= len(pending[0]):
                sent -= len(pending.pop(0))
            if sent:
                pending[0] = pending[0][sent:]


def _serialised(response: Response, *, keep_alive: bool) -> Sequence[bytes | memoryview]:
    length = sum(map(len, response.body))
    fields = tuple(response.headers.items())
    if not keep_alive:
        fields += (("connection", "close"),)
    if response.trailers is None:
        return [_head(response.status, (*fields, ("content-length", str(length)))), *response.body]
    head = _head(response.status, (*fields, ("transfer-encoding", "chunked"))) + b"%x\r\n" % length
    return [head, *response.body, b"\r\n0\r\n" + _fields(tuple(response.trailers.items())) + b"\r\n"]


@functools.lru_cache(maxsize=64)
def _head(status: int, headers: tuple[tuple[str, str], ...]) -> bytes:
    return b"HTTP/1.1 %d %s\r\n" % (status, _REASONS[status].encode()) + _fields(headers) + b"\r\n"


@functools.lru_cache(maxsize=64)
def _fields(headers: tuple[tuple[str, str], ...]) -> bytes:
    return "".join(f"{name}: {value}\r\n" for name, value in headers).encode("latin-1")


class _Assembly:
    """Requests as httptools' parser reports them, piece by piece.

    Attributes:
        in_body: A head is there, but not yet what belongs to it.
        has_begun: Some of a request is there, and not yet all of it.
        is_awaited: The peer sends no body before it is told to go on.
        room: Where the rest of a large body belongs, if its length is known: received there, it is not copied again.
    """

    def __init__(self, max_body_bytes: int) -> None:
        self.complete: deque[Request] = deque()
        self.in_body = False
        self.is_awaited = False
        self.room = memoryview(b"")
        self._max_body_bytes = max_body_bytes
        self._began = 0.0
        self._parser = httptools.HttpRequestParser(self)
        self._begin()

    @property
    def has_begun(self) -> bool:
        return self._began > 0

    def feed(self, data: bytes) -> None:
        self._check_arrival()
        if not self.in_body:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserCallbackError as error:
            cause = error.__context__
            raise cause if isinstance(cause, BadRequest) else BadRequest(400, "malformed HTTP request") from error
        except httptools.HttpParserUpgrade as error:
            raise BadRequest(400, "protocol upgrades are not supported") from error
        except httptools.HttpParserError as error:
            raise BadRequest(400, "malformed HTTP request") from error
        if not self.in_body and self._head_bytes > _HEAD_LIMIT:
            raise BadRequest(400, "the request's head is too large")
        if self._announced > _LARGE_READ and self.in_body:
            self._make_room()

    def fill(self, received: int) -> None:
        """Takes the first bytes of `room` as received."""
        self._check_arrival()
        self.room = self.room[received:]
        if not self.room:
            self._complete(self._large)
            self._parser = httptools.HttpRequestParser(self)

    def _make_room(self) -> None:
        """For a body whose end need not be looked for: the parser sees no more of it, and another the next request.

        What was announced and never comes takes no memory: the kernel gives it when it is written to.
        """
        self._large = np.empty(self._announced, np.uint8).data
        self._large[: self._body_bytes] = b"".join([self._gathered, *self._body])
        self.room = self._large[self._body_bytes :]

    def _check_arrival(self) -> None:
        """Who sends byte by byte may not do so for ever."""
        if not self._began:
            self._began = time.monotonic()
        elif time.monotonic() - self._began > _ARRIVAL_S:
            raise BadRequest(408, f"the request has not come to its end within {_ARRIVAL_S:g} s")

    def _begin(self) -> None:
        self._head_bytes = 0
        self._url: list[bytes] = []
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._gathered = bytearray()
        self._body_bytes = self._announced = 0
        self._large = self.room = memoryview(b"")
        self._began = 0.0

    # httptools calls these by name.

    def on_url(self, url: bytes) -> None:
        self._url.append(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.in_body:  # a trailer
            self._head_bytes += len(name) + len(value)
            if self._head_bytes > _HEAD_LIMIT:
                raise BadRequest(400, "the request's trailers are too large")
            return  # counted and dropped: what has been decided by the headers stays so
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self.in_body = True
        announced = self._headers.get("content-length", "")
        self._announced = int(announced) if announced.isdecimal() else 0
        if self._announced > self._max_body_bytes:
            raise self._too_large()
        self.is_awaited = self._headers.get("expect", "").lower() == "100-continue"

    def on_body(self, body: bytes) -> None:
        self.is_awaited = False
        self._body_bytes += len(body)
        if self._body_bytes > self._max_body_bytes:
            raise self._too_large()
        self._body.append(body)
        if len(self._body) == _MOST_PIECES:
            self._gathered += b"".join(self._body)
            self._body.clear()

    def on_message_complete(self) -> None:
        if len(self.complete) == _MOST_WAITING:
            raise BadRequest(400, f"more than {_MOST_WAITING} requests at once")
        is_whole = len(self._body) == 1 and not self._gathered
        self._complete(self._body[0] if is_whole else b"".join([self._gathered, *self._body]))

    def _complete(self, body: Body) -> None:
        self.complete.append(
            Request(
                method=self._parser.get_method().decode("latin-1"),
                path=b"".join(self._url).decode("latin-1"),
                headers=self._headers,
                body=body,
                keep_alive=self._parser.should_keep_alive(),
            )
        )
        self.in_body = self.is_awaited = False
        self._begin()

    def _too_large(self) -> BadRequest:
        return BadRequest(413, f"the request's body is over the limit of {self._max_body_bytes} bytes")
