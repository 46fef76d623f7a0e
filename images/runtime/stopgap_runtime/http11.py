"""Bytes ↔ HTTP/1.1 requests and responses on one blocking socket. Knows nothing of gRPC, JSON or models."""

from __future__ import annotations

import functools
import select
import socket
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import httptools

__all__ = ["BadRequest", "Connection", "Request", "Response"]

_HEAD_LIMIT: Final = 64 << 10
_SMALL_READ: Final = 64 << 10
_LARGE_READ: Final = 1 << 20
_BUFFERS_AT_ONCE: Final = 1024  # the kernel's IOV_MAX
_JOIN_LIMIT: Final = 64 << 10  # below this one copy is cheaper than a second buffer in the kernel call

_REASONS: Final[Mapping[int, str]] = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    413: "Content Too Large",
    415: "Unsupported Media Type",
    503: "Service Unavailable",
}


class BadRequest(Exception):
    """What came is no acceptable HTTP/1.1; the connection cannot go on."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


@dataclass(frozen=True)
class Request:
    """One request, whole; header names are in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    keep_alive: bool


@dataclass(frozen=True)
class Response:
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

    def read(self) -> Request | None:
        """The next request, or None when the peer has closed.

        Raises:
            BadRequest: What came is no HTTP/1.1, or larger than allowed.
            OSError: The connection broke.
        """
        assembly = self._assembly
        while not assembly.complete:
            data = self._stream.recv(_LARGE_READ if assembly.in_body else _SMALL_READ)
            if not data:
                return None
            assembly.feed(data)
        return assembly.complete.popleft()

    def peer_left(self) -> bool:
        """Whether nobody waits for an answer any more."""
        return bool(self._hang_up.poll(0))

    def write(self, response: Response, *, keep_alive: bool) -> None:
        """Sends `response`; with `keep_alive` False the peer is told that it was the last.

        Raises:
            OSError: The connection broke.
        """
        buffers = list(_serialised(response, keep_alive=keep_alive))
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
    headers = dict(response.headers)
    if not keep_alive:
        headers["connection"] = "close"
    length = sum(map(len, response.body))
    if response.trailers is None:
        headers["content-length"] = str(length)
        return [_head(response.status, tuple(headers.items())), *response.body]
    headers["transfer-encoding"] = "chunked"
    head = _head(response.status, tuple(headers.items())) + b"%x\r\n" % length
    return [head, *response.body, b"\r\n0\r\n" + _fields(response.trailers.items()) + b"\r\n"]


@functools.lru_cache(maxsize=64)
def _head(status: int, headers: tuple[tuple[str, str], ...]) -> bytes:
    return b"HTTP/1.1 %d %s\r\n" % (status, _REASONS[status].encode()) + _fields(headers) + b"\r\n"


def _fields(headers: Iterable[tuple[str, str]]) -> bytes:
    return "".join(f"{name}: {value}\r\n" for name, value in headers).encode("latin-1")


class _Assembly:
    """Requests as httptools' parser reports them, piece by piece."""

    def __init__(self, max_body_bytes: int) -> None:
        self.complete: deque[Request] = deque()
        self.in_body = False
        self._max_body_bytes = max_body_bytes
        self._parser = httptools.HttpRequestParser(self)
        self._begin()

    def feed(self, data: bytes) -> None:
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

    def _begin(self) -> None:
        self._head_bytes = 0
        self._url: list[bytes] = []
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._body_bytes = 0

    # httptools calls these by name.

    def on_url(self, url: bytes) -> None:
        self._url.append(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.in_body:  # a trailer
            self._head_bytes += len(name) + len(value)
            if self._head_bytes > _HEAD_LIMIT:
                raise BadRequest(400, "the request's trailers are too large")
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self.in_body = True

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        if self._body_bytes > self._max_body_bytes:
            raise BadRequest(413, f"the request's body is over the limit of {self._max_body_bytes} bytes")
        self._body.append(body)

    def on_message_complete(self) -> None:
        self.complete.append(
            Request(
                method=self._parser.get_method().decode("latin-1"),
                path=b"".join(self._url).decode("latin-1"),
                headers=self._headers,
                body=self._body[0] if len(self._body) == 1 else b"".join(self._body),
                keep_alive=self._parser.should_keep_alive(),
            )
        )
        self.in_body = False
        self._begin()
