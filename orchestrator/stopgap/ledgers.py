"""Ledgers: which front needs one, where its books lie, and its process. Knows nothing of what is in a book.

A front has a ledger for as long as the callers of one of its models are split: that is what the hand-overs say, and
nothing else is written down about it. It is one process for all splits of a front, since what Envoy tells it comes by
the front's listeners, which are the same for all.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

from stopgap import background
from stopgap.errors import DeploymentError, LedgerError
from stopgap.settings import check_name
from stopgap.stages import HandOver, Stage
from stopgap.store import Store

__all__ = ["amiss", "book_file", "follow", "is_kept", "recover_ledgers", "splits_behind", "start_anew"]

# Apart from each other, since a model may be called as a front's folder is.
BOOKS, FRONTS = Path("ledgers", "books"), Path("ledgers", "fronts")
LOG = "ledger.log"
PROGRAM = "stopgap.ledger.__main__"


def splits_behind(port: int, store: Store) -> tuple[HandOver, ...]:
    """Those whose callers are split now.

    Raises:
        DeploymentError: A record cannot be read.
    """
    return tuple(record for record in store.hand_overs_behind(port) if record.stage is Stage.SPLIT)


def book_file(name: str, store: Store) -> Path:
    """The book of a legacy model's latest split."""
    return store.folder / BOOKS / f"{check_name(name)}.sqlite3"


def folder_of(port: int, store: Store) -> Path:
    return store.folder / FRONTS / str(port)


def is_kept(port: int, store: Store) -> bool:
    """Whether that front's ledger lives."""
    return background.runs(folder_of(port, store))


def follow(port: int, store: Store) -> bool:
    """Starts the front's ledger where a split needs it, and ends it where none does; whether it has started one.

    Raises:
        LedgerError: It refuses, with its reason.
        DeploymentError: A hand-over cannot be read.
    """
    folder = folder_of(port, store)
    if not splits_behind(port, store):
        background.end(folder)
        return False
    try:
        for needed in (folder, store.folder / BOOKS):
            needed.mkdir(parents=True, exist_ok=True, mode=0o700)
        return background.start(folder, LOG, PROGRAM, str(store.folder), str(port))
    except background.Refused as error:
        raise LedgerError(f"The ledger does not come: {error.problem}", error.remedy) from error
    except OSError as error:
        raise LedgerError(
            f"The folder {folder} cannot be used: {error.strerror}.", "Make room or mend its permissions."
        ) from error


def start_anew(port: int, store: Store) -> None:
    """So that it listens where it should now; raises what `follow` does."""
    background.end(folder_of(port, store))
    follow(port, store)


def recover_ledgers(store: Store, say: Callable[[str], None]) -> None:
    """Brings back those that have died, and ends those that nobody needs."""
    with contextlib.suppress(DeploymentError):
        for port in amiss(store):
            with store.locked_front(port):
                recover(port, store, say)


def amiss(store: Store) -> list[int]:
    """The ports of fronts that need a ledger and have none, or the other way about."""
    needed = {record.grpc_port for record in store.hand_overs() if record.stage is Stage.SPLIT}
    there = {int(folder.name) for folder in (store.folder / FRONTS).glob("[0-9]*") if folder.name.isdecimal()}
    return sorted(port for port in needed | there if (port in needed) is not is_kept(port, store))


def recover(port: int, store: Store, say: Callable[[str], None]) -> None:
    try:
        if follow(port, store):
            say(f"the ledger of the front at port {port} had died, and is there again")
    except LedgerError as error:
        say(f"the ledger of the front at port {port} does not come back: {error.problem}")
