"""A candidate on another machine, played on this one: what it costs is not what its shadow costs."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any, Final

from stopgap.giving_way import give_way, give_way_altogether

from tests.relay import relayed

__all__ = ["Elsewhere", "elsewhere"]

TAKES_S: Final = 30.0


class Elsewhere:
    """The candidate, and what is to become of it.

    Attributes:
        address: Where it listens, a model's name after it.
    """

    def __init__(self, connection: Connection, address: str) -> None:
        self._connection = connection
        self.address = address

    def answer_later(self, by_s: float) -> None:
        """From the next request on."""
        self._connection.send(by_s)

    def stop(self) -> None:
        """Nobody listens any more.

        Raises:
            RuntimeError: It does not end.
        """
        self._connection.send(None)
        told(self._connection)


@contextmanager
def elsewhere(address: str, twin: str) -> Iterator[Elsewhere]:
    """Answers as the model `twin` at this address does, in a process that gives way to all others.

    Raises:
        RuntimeError: It does not start.
    """
    spawned = multiprocessing.get_context("spawn")
    ours, theirs = spawned.Pipe()
    process = spawned.Process(target=play, args=(theirs, address, twin), daemon=True)
    process.start()
    theirs.close()
    try:
        yield Elsewhere(ours, told(ours))
    finally:
        ours.close()
        process.join(TAKES_S)
        process.kill()


def told(connection: Connection) -> str:
    """What the candidate's process says next."""
    with contextlib.suppress(EOFError):
        if connection.poll(TAKES_S):
            return str(connection.recv())
    raise RuntimeError(f"the candidate's process has ended, or says nothing for {TAKES_S:.0f} s")


def play(connection: Connection, address: str, twin: str) -> None:
    """Until the other end is closed."""
    os.setsid()  # else all of the measurement's session would give way with it
    give_way()
    with relayed(address, twin) as relay:
        relay.channel = Remembering(relay.channel)
        connection.send(relay.address)
        give_way_altogether()
        while True:
            try:
                by_s = connection.recv()
            except EOFError:
                return
            if by_s is None:
                relay.stop()
                connection.send("stopped")
            else:
                relay.slower_s = by_s


class Remembering:
    """A channel that asks once, so that the model asked costs what is measured nothing.

    Args:
        channel: Which to ask.
    """

    def __init__(self, channel: Any) -> None:
        self._channel = channel
        self._answers: dict[tuple[str, bytes], bytes] = {}

    def unary_unary(self, method: str) -> Callable[..., bytes]:
        def ask(message: bytes, timeout: float) -> bytes:
            if (method, message) not in self._answers:
                self._answers[method, message] = self._channel.unary_unary(method)(message, timeout=timeout)
            return self._answers[method, message]

        return ask
