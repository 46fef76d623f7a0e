"""A split's book as anybody may read it, and what a person has to know of it. Needs none of what judges."""

from __future__ import annotations

from dataclasses import dataclass

from stopgap.ledger.book import Book, Known
from stopgap.ledgers import book_file, is_kept
from stopgap.stages import HandOver, Stage
from stopgap.store import Store

__all__ = ["Reading", "reading_of"]

# Requests that the ledger may not have heard of yet when the front has counted them.
ON_THEIR_WAY = 64


@dataclass(frozen=True)
class Reading:
    """Of one split.

    Attributes:
        kept: Whether the ledger's process lives; once the split has ended nobody needs it.
    """

    known: Known
    kept: bool

    @property
    def warnings(self) -> list[str]:
        """What a person has to know, the worst first."""
        found, known = [], self.known
        if known.ratio.mismatch:
            found.append(
                f"THE SHARES ARE WRONG: {known.ratio.candidates} of {known.ratio.units} callers were the candidate's. "
                "Trust nothing that was measured in this split: find out who is lost on the way, then split anew."
            )
        if not self.kept:
            found.append("NOBODY KEEPS THE LEDGER: its process has died. Users notice nothing, and nothing is noted.")
        if known.lost > ON_THEIR_WAY:
            found.append(f"{known.lost} requests were LOST on their way to the ledger: it was dead, slow or hanging.")
        if known.moved:
            found.append(
                f"{known.moved} requests were of callers that were first seen in the other arm: the share has changed."
            )
        if known.not_units:
            found.append(
                f"{known.not_units} requests were of callers that are in no arm: too many callers, or a long key."
            )
        return found


def reading_of(record: HandOver, store: Store) -> Reading | None:
    """None where no ledger was kept of that split.

    Raises:
        LedgerError: It cannot be read.
    """
    file = book_file(record.name, store)
    if not record.salt or not file.exists():
        return None
    with Book(file) as book:
        known = book.known()
    if known.salt != record.salt:
        return None
    return Reading(known, record.stage is not Stage.SPLIT or is_kept(record.grpc_port, store))
