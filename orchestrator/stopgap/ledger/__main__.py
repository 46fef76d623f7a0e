"""The ledger as a process: STATE PORT LEASE BEGUN. It keeps one front's books until it is told to end."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from stopgap import background
from stopgap.store import Store

__all__ = ["main"]


def main(arguments: Sequence[str]) -> None:
    """
    Args:
        arguments: The state folder, the front's port, and what `background.run` takes.
    """
    state, port, held, begun = Path(arguments[0]), int(arguments[1]), int(arguments[2]), int(arguments[3])

    def keeping(listens: background.Listens, ends: background.Event) -> None:
        from stopgap.ledger.keeping import keep  # noqa: PLC0415 - gRPC's threads do not survive a fork

        keep(port, Store(state), listens, ends)

    background.run(held, begun, keeping)
