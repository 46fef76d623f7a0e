"""A file of what came of a split's answers, taken into its ledger: all of it is read before any of it is taken."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from stopgap.errors import DataError, LedgerError
from stopgap.ledger.book import Book, Feedback, Taken
from stopgap.ledger.feedback import LARGEST_BYTES, feedback_in
from stopgap.ledgers import book_file
from stopgap.store import Store

__all__ = ["take_feedback"]

AT_ONCE = 1000


def take_feedback(name: str, file: Path, store: Store) -> Counter[Taken]:
    """How many became what. Of the latest split, also when it has ended: some things are known late.

    Args:
        file: Lines of JSON, each as the listener takes it; a pipe may be one.

    Raises:
        DataError: The file cannot be read, or a line is no feedback; then none was taken.
        LedgerError: There was no split of that name, or its ledger cannot be written.
    """
    place = book_file(name, store)
    if not place.exists():
        raise LedgerError(f"The callers of {name} were never split.", f"Split them: stopgap split {name}")
    taken, lines = Counter[Taken](), iter(list(read(file)))  # once: a pipe gives nothing the second time
    with Book(place) as book:
        while chunk := list(islice(lines, AT_ONCE)):
            taken.update(book.tell_all(chunk))
    return taken


def read(file: Path) -> Iterator[Feedback]:
    try:
        with file.open("rb") as lines:
            for number in range(1, 1 << 62):
                line = lines.readline(LARGEST_BYTES + 1)
                if not line:
                    return
                if len(line) > LARGEST_BYTES:
                    raise DataError(f"{file}, line {number} is longer than {LARGEST_BYTES} bytes.")
                if line.strip():
                    yield in_line(line, f"{file}, line {number}")
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror}.") from error


def in_line(line: bytes, place: str) -> Feedback:
    try:
        return feedback_in(line)
    except DataError as error:
        raise DataError(f"{place}: {error.problem}", error.remedy) from error
