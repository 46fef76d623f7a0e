"""One of Envoy's connections, which show one request after another: HTTP/1.1, and one gRPC message in each.

What else came with a request, a caller's credentials say, ends here: it is neither kept nor handed on.
"""

from __future__ import annotations

import re
import socket
import struct
from collections.abc import Iterable
from typing import Protocol

import h11

__all__ = ["GONE", "Connection", "Taker"]

READ_BYTES = 1 << 18
# Envoy hands on at most 60 KiB of headers: https://www.envoyproxy.io/docs/envoy/latest/faq/configuration/resource_limits
HEAD_BYTES = 128 << 10
# What gRPC puts before a message: whether it is compressed, and its length.
FRAME = struct.Struct(">?I")

REQUEST_ID = b"x-request-id"
# A caller may have chosen it: what a log or a page could take for something else is none.
ID = re.compile(rb"[A-Za-z0-9][A-Za-z0-9._:/+=@-]{0,127}")
TAKEN = h11.Response(status_code=200, headers=[("content-length", "0")])

# What a connection that is of no more use raises.
GONE = (OSError, EOFError, h11.ProtocolError)


class Taker(Protocol):
    """Who is shown requests, and never waits."""

    @property
    def largest_bytes(self) -> int:
        """What a message may weigh."""

    def offer(self, content: bytes, request_id: str = "") -> None:
        """A message, and its request's own id; empty where it has none."""

    def refuse_large(self) -> None:
        """One that weighs more."""

    def refuse_unreadable(self) -> None:
        """One whose bytes are no message; a compressed one is none, and no model here takes it either."""


class Connection:
    """
    Args:
        connected: Its socket, which it closes.
        taker: Is shown each request when all of it is there.
    """

    def __init__(self, connected: socket.socket, taker: Taker) -> None:
        connected.setblocking(False)
        self._socket, self._taker = connected, taker
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_BYTES)
        self._forget()

    def read(self) -> bool:
        """Takes what is there; whether the rest of a request is still to come.

        Raises:
            OSError, EOFError, h11.ProtocolError: It is of no more use.
        """
        self._http.receive_data(self._received())
        while (event := self._http.next_event()) is not h11.NEED_DATA:
            if event is h11.PAUSED:  # it wants to speak something else from here on
                raise EOFError
            if isinstance(event, h11.Request):
                self._id = id_in(event.headers)
            elif isinstance(event, h11.Data):
                self._take(bytes(event.data))
            elif isinstance(event, h11.EndOfMessage):
                self._answer()  # first: where Envoy has given it up by now, it is nobody's
                self._show()
                self._forget()
        return self._http.their_state is h11.SEND_BODY

    def close(self) -> None:
        self._socket.close()

    def _received(self) -> bytes:
        received = self._socket.recv(READ_BYTES)
        if not received:
            raise EOFError
        return received

    def _take(self, part: bytes) -> None:
        """What is too large is not held until its end either."""
        self._length += len(part)
        if self._is_too_large():
            self._parts.clear()
        else:
            self._parts.append(part)

    def _is_too_large(self) -> bool:
        return self._length > FRAME.size + self._taker.largest_bytes

    def _show(self) -> None:
        if self._is_too_large():
            self._taker.refuse_large()
            return
        body = b"".join(self._parts)
        message = body[FRAME.size :]
        if body.startswith(FRAME.pack(False, len(message))):
            self._taker.offer(message, self._id)
        else:
            self._taker.refuse_unreadable()

    def _answer(self) -> None:
        answer = [self._http.send(event) or b"" for event in (TAKEN, h11.EndOfMessage())]
        self._socket.sendall(b"".join(answer))
        self._http.start_next_cycle()

    def _forget(self) -> None:
        self._id = ""
        self._length = 0
        self._parts: list[bytes] = []


def id_in(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The request's own; empty where it has none that can be one."""
    found = [value for name, value in headers if name == REQUEST_ID]
    return found[0].decode() if found and ID.fullmatch(found[0]) else ""
