"""What an observer has written down as others read it, and as much of it as is quickly read: its last experiment.

Whatever keeps them from that is an error of the observer's kind, so that nobody else's reading ends with it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

from stopgap.observer.accounts import totals_now
from stopgap.observer.counting import Totals
from stopgap.observer.results import Experiment, Results
from stopgap.observers import RESULTS, UNREADABLE, Kind
from stopgap.store import Store

__all__ = ["last_experiment", "reading", "totals_of"]


@contextmanager
def reading(kind: Kind[Any], name: str) -> Iterator[None]:
    """
    Raises:
        StopgapError: Of this kind: a file or a folder that is read in here cannot be.
    """
    try:
        yield
    except (OSError, sqlite3.Error, *UNREADABLE) as error:
        raise kind.error(
            f"What the {kind.process} of {name} has written cannot be read: {error}.",
            "Mend the disk, or the folder's permissions.",
        ) from error


def totals_of(kind: Kind[Any], name: str, store: Store) -> Totals:
    """Counts since it was begun, with what the front has counted up to now.

    Raises:
        StopgapError: Of this kind: they cannot be read.
    """
    with reading(kind, name):
        experiment = last_experiment(kind, name, store)
        return totals_now(experiment.counts if experiment else {}, kind.find(name, store), store)


def last_experiment(kind: Kind[Any], name: str, store: Store) -> Experiment | None:
    """None before there is any."""
    file = kind.folder_of(name, store) / RESULTS
    if not file.exists():
        return None
    with closing(Results(file, make=False)) as results:
        return results.newest()
