"""The Unix socket on which Envoy shows requests: one thread reads all of its connections.

Between two looks it pauses, and waits for none of them, unless they come in a burst. So a copy wakes nobody while
requests keep coming: to wake an idle processor costs Envoy more than the copy itself, and that at the moment when the
user's own request goes out.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from stopgap.observer.connection import GONE, Connection, Taker

__all__ = ["receiving"]

PAUSE_S = 0.02
# So many at once are a burst. Who would pause then let copies pile up, and the processors are awake already.
MANY = 8
# As many as Envoy opens.
WAITING_CONNECTIONS = 64


class Receiver:
    """
    Args:
        listener: Where Envoy connects.
        ends: Can be read when it is to end.
        taker: Is shown all that comes.
    """

    def __init__(self, listener: socket.socket, ends: socket.socket, taker: Taker) -> None:
        self._listener, self._taker = listener, taker
        self._connections: set[Connection] = set()
        self._ended = False
        self._selector = selectors.DefaultSelector()
        # With each socket, what to do when there is something: it says whether more is about to come.
        self._selector.register(listener, selectors.EVENT_READ, self._meet)
        self._selector.register(ends, selectors.EVENT_READ, self._end)

    def serve(self) -> None:
        """Until it is to end; then no connection is left."""
        patience_s: float | None = None
        while not self._ended:
            ready = self._selector.select(patience_s)
            unfinished = [key for key, _ in ready if key.data()]
            if unfinished or len(ready) >= MANY:  # it is taken as it comes
                patience_s = PAUSE_S
            elif ready:
                time.sleep(PAUSE_S)
                patience_s = 0
            else:
                patience_s = None
        for connection in self._connections:
            connection.close()
        self._selector.close()

    def _meet(self) -> bool:
        """All who wait; each has something to say."""
        with contextlib.suppress(BlockingIOError):
            while True:
                connected, _ = self._listener.accept()
                connection = Connection(connected, self._taker)
                self._connections.add(connection)
                self._selector.register(connected, selectors.EVENT_READ, partial(self._read, connected, connection))
        return True

    def _read(self, connected: socket.socket, connection: Connection) -> bool:
        try:
            return connection.read()
        except GONE:
            self._selector.unregister(connected)
            self._connections.remove(connection)
            connection.close()
            return False

    def _end(self) -> bool:
        self._ended = True
        return False


@contextmanager
def receiving(path: Path, taker: Taker, at_end: Callable[[], None]) -> Iterator[None]:
    """Within the block the socket is there; Envoy's user may connect to it, whom the folder alone lets in.

    Args:
        at_end: Called when nothing is received any more, by a fault of its own too.

    Raises:
        OSError: It cannot be bound.
    """
    told, ends = socket.socketpair()
    with told, ends, listening(path) as listener:
        receiver = threading.Thread(
            target=serving, args=(Receiver(listener, ends, taker), at_end), name="receiver", daemon=True
        )
        receiver.start()
        try:
            yield
        finally:
            told.send(b"\0")
            receiver.join()


def serving(receiver: Receiver, at_end: Callable[[], None]) -> None:
    try:
        receiver.serve()
    finally:
        at_end()


@contextmanager
def listening(path: Path) -> Iterator[socket.socket]:
    path.unlink(missing_ok=True)
    # A socket's path has 107 bytes at most, and the state folder's may have more.
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(f"/proc/self/fd/{folder}/{path.name}")
            path.chmod(0o666)
            listener.listen(WAITING_CONNECTIONS)
            listener.setblocking(False)
            yield listener
    finally:
        path.unlink(missing_ok=True)
        os.close(folder)
