"""One observer's life, whatever it makes of requests: they come in, are asked about, and it ends when it is told to.

One thread writes, so that little it has needs a lock; others ask, which is waiting mostly.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

from stopgap.observer.receiver import receiving
from stopgap.observer.tap import Tap
from stopgap.observers import Wanted
from stopgap.store import Store

__all__ = ["Work", "at_work"]


class Work(Protocol):
    """What one kind does; all but `ask` is called by one thread alone."""

    def new_tap(self) -> Tap:
        """As it is wanted."""

    def ask(self, tap: Tap) -> None:
        """One thread's work, until the tap is closed."""

    def go_on(self, tap: Tap) -> None:
        """A second of it: writes down what there is."""

    def stop_asking(self) -> None:
        """Calls in flight are cancelled."""

    def finish(self, tap: Tap) -> None:
        """What is known by now is written down."""


def at_work(work: Work, wanted: Wanted, store: Store, listens: Callable[[], None], ends: threading.Event) -> None:
    """Returns when it is told to end, with all written down.

    Args:
        listens: Called once requests are taken.
        ends: When to end.

    Raises:
        StopgapError: Of the kind of what is wrong.
    """
    tap = work.new_tap()
    askers = [
        threading.Thread(target=asking, args=(work, tap, ends), name=f"asker-{number}", daemon=True)
        for number in range(wanted.in_flight)
    ]
    for asker in askers:
        asker.start()
    port = store.deployment(wanted.name).front.grpc_port
    store.make_front_folder(port)
    with receiving(store.observer_socket(port, wanted.name, wanted.kind), tap, ends.set):
        listens()
        while not ends.is_set():
            work.go_on(tap)
    tap.close()
    work.stop_asking()
    for asker in askers:
        asker.join(timeout=1)
    work.finish(tap)


def asking(work: Work, tap: Tap, ends: threading.Event) -> None:
    """Who asks must not end alone: all that came would be dropped while the observer seemed to live."""
    try:
        work.ask(tap)
    finally:
        ends.set()
