"""The observer as a process: STATE NAME LEASE BEGUN. It observes one shadow until it is told to end."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from stopgap import background
from stopgap.store import Store

__all__ = ["main"]


def main(arguments: Sequence[str]) -> None:
    """
    Args:
        arguments: The state folder, the legacy model's name, and what `background.run` takes.
    """
    state, name, held, begun = Path(arguments[0]), arguments[1], int(arguments[2]), int(arguments[3])

    def observing(listens: background.Listens, ends: background.Event) -> None:
        from stopgap.observer.observation import observe  # noqa: PLC0415 - gRPC's threads do not survive a fork

        observe(name, Store(state), listens, ends)

    background.run(held, begun, observing)
