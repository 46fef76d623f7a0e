"""The page's own listener: on the loopback, for who knows its address and nobody else, and for one page alone."""

from __future__ import annotations

import hmac
import secrets
import socket
import socketserver
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from stopgap.errors import DeploymentError

__all__ = ["HEADERS", "Reply", "Server", "new_token", "served_at"]

HOST: Final = "127.0.0.1"
NAMES: Final = ("127.0.0.1", "localhost", "[::1]")  # by which a browser may ask, through a tunnel too
MOST_CONNECTIONS: Final = 32
SILENCE_S: Final = 5.0
LONGEST_S: Final = 20.0  # of a request, and of taking an answer, however slowly either goes on
POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
        "form-action 'none'",
    )
)
HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


@dataclass(frozen=True)
class Reply:
    """What is said to one request."""

    status: int
    kind: str
    content: bytes


Pages = Mapping[str, Callable[[], Reply]]
NOTHING: Final = Reply(404, "text/plain; charset=utf-8", b"There is nothing here.\n")
ELSEWHERE: Final = Reply(421, "text/plain; charset=utf-8", b"This is asked for by another name.\n")
NOT_SO: Final = Reply(405, "text/plain; charset=utf-8", b"This can be looked at, and nothing else.\n")
UNREADABLE: Final = Reply(400, "text/plain; charset=utf-8", b"That is no request.\n")


def new_token() -> str:
    """Which nobody guesses: the other users of this machine can reach the listener as well."""
    return secrets.token_urlsafe(24)


class Server(ThreadingHTTPServer):
    """Up once it is made: who connects is answered as soon as it serves.

    Args:
        port: With 0 the kernel chooses one.
        token: The first part of each path.
        pages: By the rest of the path, what gives it.

    Raises:
        OSError: The port is taken.
    """

    daemon_threads = True
    block_on_close = False
    request_queue_size = MOST_CONNECTIONS

    def __init__(self, port: int, token: str, pages: Pages) -> None:
        self.prefix, self.pages = f"/{token}/", pages
        self._room = threading.Semaphore(MOST_CONNECTIONS)
        super().__init__((HOST, port), Handler)

    def server_bind(self) -> None:
        """As `HTTPServer` does it, but for asking the name service who we are."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = HOST, self.server_address[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        """Who comes when the room is full is turned away."""
        if not self._room.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Leaves its place to the next."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing: whoever goes away in the middle is no error."""


class Handler(BaseHTTPRequestHandler):
    """One request on each connection."""

    server: Server
    timeout = SILENCE_S

    def handle(self) -> None:
        """Reads it within a time, and answers."""
        self._end = ending(self.connection)
        try:
            super().handle()
        finally:
            self._end.cancel()

    def do_GET(self) -> None:
        self._end.cancel()  # how long an answer takes to be made is not the caller's doing
        self._say(self._reply())

    def do_HEAD(self) -> None:
        self.do_GET()

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:  # noqa: ARG002 - its signature
        """What it cannot read, or has no method for, is said with the same headers, and without an echo."""
        self._say(NOT_SO if code == 501 else UNREADABLE)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its signature
        """Nothing: a request's line has the token in it."""

    def version_string(self) -> str:
        return "stopgap"

    def _reply(self) -> Reply:
        if not self._is_meant():
            return ELSEWHERE
        path, prefix = self.path.partition("?")[0], self.server.prefix
        if not hmac.compare_digest(path[: len(prefix)].encode("utf-8", "replace"), prefix.encode("ascii")):
            return NOTHING
        page = self.server.pages.get(path[len(prefix) :])
        return page() if page else NOTHING

    def _is_meant(self) -> bool:
        """A name that leads here by somebody else's doing, which a page of theirs may then ask, is none of ours."""
        hosts = self.headers.get_all("Host", [])
        return len(hosts) == 1 and hosts[0].lower() in {f"{name}:{self.server.server_port}" for name in NAMES}

    def _say(self, reply: Reply) -> None:
        self._end.cancel()
        self._end = ending(self.connection)
        self.request_version = self.protocol_version  # an HTTP/0.9 would be told no headers
        self.send_response(reply.status)
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Type", reply.kind)
        self.send_header("Content-Length", str(len(reply.content)))
        if reply.status == 405:
            self.send_header("Allow", "GET, HEAD")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(reply.content)


def ending(connection: socket.socket) -> threading.Timer:
    """Cuts it when its time is up."""
    timer = threading.Timer(LONGEST_S, cut, (connection,))
    timer.daemon = True
    timer.start()
    return timer


def cut(request: socket.socket) -> None:
    """Whatever is waiting for it wakes up."""
    try:
        request.shutdown(socket.SHUT_RDWR)
    except OSError:
        return


def served_at(port: int, token: str, pages: Pages) -> tuple[Server, str]:
    """A server, and the address to be opened.

    Raises:
        DeploymentError: The port is taken.
    """
    try:
        server = Server(port, token, pages)
    except OSError as error:
        raise DeploymentError(
            f"{HOST}:{port} cannot be listened on: {error.strerror}.", "Choose another: --port PORT, or 0 for any."
        ) from error
    return server, f"http://{HOST}:{server.server_port}/{token}/"
