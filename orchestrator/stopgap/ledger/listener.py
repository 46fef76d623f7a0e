"""The HTTP listener on which callers' programs say what came of an answer: of this machine alone, small, and bounded.

`POST /v1/feedback` with one JSON object answers 200, 400 for what is none, 404 for an answer that is not known (any
more), 409 where there was feedback already, 413 for a large body, 429 where too many ask at once. A page that a browser
shows can say nothing here: a Host that is not this address is refused, and so is what comes with an Origin.
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from socketserver import ThreadingMixIn
from typing import Any

from stopgap.errors import DataError, LedgerError
from stopgap.ledger.book import Feedback, Taken
from stopgap.ledger.feedback import LARGEST_BYTES, feedback_in

__all__ = ["AT_ONCE", "HOST", "Tell", "listening"]

HOST, PATH = "127.0.0.1", "/v1/feedback"
NAMES = {HOST, "localhost"}
AT_ONCE = 32  # connections
LIVES_S = 10.0  # a connection, however busy or slow
SWEPT_EVERY_S = 0.25
# Envoy and the ledger gather entries: what was answered this long ago may not be known yet.
KNOWN_WITHIN_S = 1.0
LOOK_EVERY_S = 0.1

Tell = Callable[[Feedback], Taken]

ANSWERS = {
    Taken.NOW: (200, "Taken."),
    Taken.BEFORE: (409, "There was feedback for that id already: the first counts."),
    Taken.UNKNOWN: (404, "That id is unknown: never given out by this split, or too long ago."),
}


class Server(ThreadingMixIn, HTTPServer):
    """A thread for each connection, of which there are few, and which all end in time."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 2 * AT_ONCE

    def __init__(self, port: int, tell: Tell) -> None:
        self.tell = tell
        self._alive: dict[socket.socket, float] = {}
        self._lock = threading.Lock()
        super().__init__((HOST, port), Handler)

    def server_bind(self) -> None:
        """Without asking a name server what this machine is called."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = HOST, self.server_address[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            full = len(self._alive) >= AT_ONCE
            if not full:
                self._alive[request] = time.monotonic() + LIVES_S
        if full:
            refuse(request)
            self.shutdown_request(request)
        else:
            super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._alive.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """Ends who has been here too long: who sends a byte a second would stay for ever."""
        now = time.monotonic()
        with self._lock:
            late = [connection for connection, until in self._alive.items() if until < now]
        for connection in late:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that has ended in the middle of something is nobody's fault here."""


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server_version, sys_version = "stopgap", ""
    timeout = LIVES_S
    server: Server

    def do_POST(self) -> None:
        """Feedback, or a refusal."""
        if self.path != PATH:
            self._answer(404, f"There is nothing but POST {PATH}.", goes_on=False)
        elif not self._is_for_us():
            self._answer(403, f"This listener is for programs of this machine, at {HOST}.", goes_on=False)
        elif (length := self._length()) is None:
            self._answer(411, "Content-Length must say how long the body is.", goes_on=False)
        elif length > LARGEST_BYTES:
            self._answer(413, f"The body is longer than {LARGEST_BYTES} bytes.", goes_on=False)
        else:
            self._take(self.rfile.read(length))

    def do_GET(self) -> None:
        """Nothing can be read here."""
        self._answer(405, f"There is nothing but POST {PATH}.", goes_on=False)

    do_PUT = do_DELETE = do_HEAD = do_OPTIONS = do_PATCH = do_GET  # noqa: N815 - as they are called there

    def _take(self, content: bytes) -> None:
        try:
            feedback = feedback_in(content)
            taken = told(self.server.tell, feedback)
        except DataError as error:
            self._answer(400, f"{error.problem} {error.remedy}")
        except LedgerError as error:
            self._answer(503, error.problem)
        else:
            self._answer(*ANSWERS[taken])

    def _is_for_us(self) -> bool:
        """Whether it is not a page of somebody's in a browser of this machine, whatever name that has for us."""
        name, _, port = self.headers.get("Host", "").rpartition(":")
        return name in NAMES and port == str(self.server.server_port) and "Origin" not in self.headers

    def _length(self) -> int | None:
        """None where that is not said, or said twice."""
        said = self.headers.get_all("Content-Length", [])
        if len(said) != 1 or not said[0].isdecimal() or "Transfer-Encoding" in self.headers:
            return None
        return int(said[0][:9])

    def _answer(self, status: int, text: str, *, goes_on: bool = True) -> None:
        content = json.dumps({"status": "ok"} if status == 200 else {"error": text}).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        if status == 405:
            self.send_header("Allow", "POST")
        if not goes_on:
            self.send_header("Connection", "close")  # what is left of the body is not read
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as it is called there
        """What strangers write belongs in no log."""


def told(tell: Tell, feedback: Feedback) -> Taken:
    """An answer that was given just now may not be known yet: it is looked for a little longer."""
    deadline = time.monotonic() + KNOWN_WITHIN_S
    while (taken := tell(feedback)) is Taken.UNKNOWN and time.monotonic() < deadline:
        time.sleep(LOOK_EVERY_S)
    return taken


def refuse(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.settimeout(0)
        text = b'{"error": "Too many ask at once."}'
        head = (
            f"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\nContent-Length: {len(text)}\r\nConnection: close\r\n"
        )
        connection.send(f"{head}Content-Type: application/json\r\n\r\n".encode() + text)


@contextmanager
def listening(port: int, tell: Tell) -> Iterator[int]:
    """Within the block it is there; gives its port, also where the kernel has chosen it.

    Raises:
        LedgerError: The port is taken.
    """
    try:
        server = Server(port, tell)
    except OSError as error:
        raise LedgerError(
            f"Port {port} of {HOST} cannot be listened on for feedback: {error.strerror}.",
            "Choose another: --feedback-port PORT",
        ) from error
    thread = threading.Thread(target=server.serve_forever, args=(SWEPT_EVERY_S,), name=f"feedback-{port}", daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
