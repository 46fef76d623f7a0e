"""A journal's folder as data: what was recorded of users' requests, also while more is being recorded."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from stopgap.asking.data.prediction_logs import entry_case
from stopgap.asking.data.reading import Data, Reading
from stopgap.comparison.pairs import Case
from stopgap.errors import DataError, JournalError
from stopgap.journal.reading import Journal

__all__ = ["journal_data"]


def journal_data(folder: Path, reading: Reading, format_: str) -> Data:
    """All that is in it now; its digest is that of the index, which has one for each request and for each answer.

    Raises:
        DataError: There is nothing in it, or it is none.
    """
    try:
        journal = Journal(folder)
        digest, count = hashlib.sha256(), 0
        for line in journal.lines():
            digest.update(line.written())
            count += 1
        redacted = journal.redacted()
    except JournalError as error:
        raise DataError(f"{folder} cannot be read: {error.problem}", error.remedy) from error
    except OSError as error:
        raise DataError(f"{folder} cannot be read: {error}.") from error
    if not count:
        raise DataError(f"{folder} holds no recorded request.", "Name a recording's folder, or a file of data.")
    whole = digest.hexdigest()
    return Data(folder, format_, whole, reading, count, lambda: cases_in(folder, reading, count, whole), redacted)


def cases_in(folder: Path, reading: Reading, count: int, digest: str) -> Iterator[Case]:
    """The first so many; what was recorded meanwhile is left out."""
    seen = hashlib.sha256()
    try:
        for number, entry in enumerate(islice(Journal(folder).entries(), count)):
            seen.update(entry.line.written())
            yield entry_case(number, entry.log, reading, f"{folder}, record {number}")
    except JournalError as error:
        raise DataError(f"{folder} cannot be read: {error.problem}", error.remedy) from error
    except OSError as error:
        raise DataError(f"{folder} cannot be read: {error}.") from error
    if seen.hexdigest() != digest:
        raise DataError(
            f"What was recorded in {folder} has changed while it was read: the oldest was removed.",
            "End the recording, or copy its folder, and begin again.",
        )
