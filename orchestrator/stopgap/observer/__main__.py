"""An observer as a process, whatever its kind: STATE KIND NAME LEASE BEGUN."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path

from stopgap import background
from stopgap.recordings import RECORDINGS
from stopgap.shadows import SHADOWS
from stopgap.store import Store

__all__ = ["main"]

# By kind: where its `observe` is.
WORK = {SHADOWS.word: "stopgap.observer.observation", RECORDINGS.word: "stopgap.observer.recording"}


def main(arguments: Sequence[str]) -> None:
    """
    Args:
        arguments: The state folder, the observer's kind, the legacy model's name, and what `background.run` takes.
    """
    state, kind, name = Path(arguments[0]), arguments[1], arguments[2]
    held, begun = map(int, arguments[3:])

    def observing(listens: background.Listens, ends: background.Event) -> None:
        # After the fork: gRPC's threads do not survive one.
        importlib.import_module(WORK[kind]).observe(name, Store(state), listens, ends)

    background.run(held, begun, observing, when_idle=True)
