"""Accepts connections on one listening socket and answers their requests, a thread for each connection.

Threads and not an event loop: a run of TensorFlow blocks, and so does nothing else then: not the health check, not the
next caller, who gets the other core. The front keeps connections open and bounds their number, so threads are few and
long-lived.
"""

import select
import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from .http11 import BadRequest, Connection, Request, Response

__all__ = ["Server"]

_PATIENCE_S: Final = 60  # with a peer that neither goes on with its request nor takes its answer
_PATIENCE: Final = struct.pack("@ll", _PATIENCE_S, 0)  # as a struct timeval
_PATIENCE_WITH_THE_ONLY_ONE_S: Final = 5.0
_BEAT_S: Final = 1.0


class Server:
    """Serves `handle` on `listener`.

    Args:
        handle: Answers one request; called from several threads at once; must not raise.
        connections: How many connections are served at once; further ones wait in the socket's queue.
        keeps_alive: Whether a connection may carry several requests; else it must also bring its one soon, since
            others wait for its end.
        show_life: Called each second, or more often, from the thread that accepts, and while it drains.
    """

    def __init__(
        self,
        listener: socket.socket,
        handle: Callable[[Request], Response],
        *,
        connections: int,
        keeps_alive: bool,
        show_life: Callable[[], None],
        max_body_bytes: int,
    ) -> None:
        self._listener = listener
        self._handle = handle
        self._keeps_alive = keeps_alive
        self._show_life = show_life
        self._max_body_bytes = max_body_bytes
        self._places = threading.Semaphore(connections)
        self._streams: set[socket.socket] = set()
        self.draining = False

    def serve(self) -> None:
        """Accepts until an exception, from a signal's handler say, ends it."""
        callers = select.poll()
        callers.register(self._listener, select.POLLIN)
        while True:
            self._wait_for(lambda: self._places.acquire(timeout=_BEAT_S))
            self._wait_for(lambda: callers.poll(_BEAT_S * 1000))
            stream, _ = self._listener.accept()
            self._limit_patience(stream)
            self._streams.add(stream)
            try:
                threading.Thread(target=self._converse, args=(stream,), daemon=True).start()
            except RuntimeError:  # no task is left in this container; the front asks again
                self._leave(stream)
            except BaseException:  # a signal's, in this very moment: a drain would wait for whom nobody attends to
                self._leave(stream)
                raise

    def _wait_for(self, something: Callable[[], object]) -> None:
        self._show_life()
        while not something():
            self._show_life()

    def _limit_patience(self, stream: socket.socket) -> None:
        if not self._keeps_alive:
            stream.settimeout(_PATIENCE_WITH_THE_ONLY_ONE_S)
            return
        for direction in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):  # by the kernel: a poll for each call costs more
            stream.setsockopt(socket.SOL_SOCKET, direction, _PATIENCE)

    def drain(self, timeout_s: float) -> None:
        """Lets the requests under way finish, but takes no more; returns when all have, or after `timeout_s`."""
        self.draining = True
        self._listener.close()
        for stream in tuple(self._streams):
            with suppress(OSError):
                stream.shutdown(socket.SHUT_RD)  # what was received is still read and answered
        deadline = time.monotonic() + timeout_s
        while self._streams and time.monotonic() < deadline:
            self._show_life()
            time.sleep(0.01)

    def _converse(self, stream: socket.socket) -> None:
        try:
            # The peer left, or might as well have: nobody is there to be told.
            with suppress(ConnectionError, TimeoutError, BlockingIOError):
                self._answer_all(Connection(stream, self._max_body_bytes))
        finally:
            self._leave(stream)

    def _leave(self, stream: socket.socket) -> None:
        stream.close()
        self._streams.discard(stream)
        self._places.release()

    def _answer_all(self, connection: Connection) -> None:
        try:
            while (request := connection.read()) is not None:
                if connection.peer_left():  # its deadline has passed in the queue: the work would be for nobody
                    return
                response = self._handle(request)
                keep_alive = request.keep_alive and self._keeps_alive and not self.draining
                connection.write(response, keep_alive=keep_alive)
                if not keep_alive:
                    return
        except BadRequest as refused:
            connection.write(Response(refused.status, {}, (refused.text.encode(),)), keep_alive=False)
        except MemoryError:  # for the request itself; what happens after it was read is the handler's
            connection.write(Response(429, {}, (b"no memory is left for this request",)), keep_alive=False)
