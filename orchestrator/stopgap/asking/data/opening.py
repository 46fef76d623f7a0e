"""From a file that somebody names to data: what it is, its digest, and how many cases there are."""

from __future__ import annotations

import hashlib
from functools import partial
from pathlib import Path

from stopgap.asking.data.journals import journal_data
from stopgap.asking.data.json_lines import json_cases
from stopgap.asking.data.npz import npz_cases, npz_count
from stopgap.asking.data.prediction_logs import logged_cases
from stopgap.asking.data.reading import Data, Reading
from stopgap.asking.data.tf_examples import example_cases
from stopgap.client.npz import is_npz
from stopgap.digests import sha256_of
from stopgap.errors import DataError, JournalError
from stopgap.journal.logs import kind_of, parsed
from stopgap.journal.tfrecord import is_compressed, is_header, read_records
from stopgap.progress import Progress, silent

__all__ = ["EXAMPLES", "FORMATS", "JSON", "LOGS", "NPZ", "format_of", "open_data"]

NPZ, JSON, EXAMPLES, LOGS = "npz", "json", "examples", "logs"
READERS = {NPZ: npz_cases, JSON: json_cases, EXAMPLES: example_cases, LOGS: logged_cases}
FORMATS = tuple(READERS)
HEAD_BYTES = 64


def open_data(file: Path, reading: Reading, format_: str = "", progress: Progress = silent) -> Data:
    """The data in a file, or in a recording's folder. It is read once from end to end, for its digest.

    Args:
        file: Where it lies.
        reading: How it is to be read.
        format_: One of `FORMATS`; empty: as its first bytes tell.
        progress: Told how much is read.

    Raises:
        DataError: It cannot be read, or is of no known format.
    """
    if format_ and format_ not in FORMATS:
        raise DataError(f"There is no format {format_!r}.", f"The formats are: {', '.join(FORMATS)}.")
    if file.is_dir() and format_ in ("", LOGS):
        return journal_data(file, reading, LOGS)
    found = format_ or format_of(file)
    try:
        digest, lines = json_digest(file) if found == JSON else (file_digest(file, progress), None)
    except OSError as error:
        raise unreadable(file, error) from error
    count = npz_count(file, reading) if found == NPZ else lines
    return Data(file, found, digest, reading, count, partial(READERS[found], file, reading))


def format_of(file: Path) -> str:
    """Which of `FORMATS` a file is, as it begins.

    Raises:
        DataError: It cannot be read, or is none of them.
    """
    try:
        with file.open("rb") as stream:
            head = stream.read(HEAD_BYTES)
    except OSError as error:
        raise unreadable(file, error) from error
    if is_npz(head):
        return NPZ
    if is_header(head) or is_compressed(head):
        return LOGS if holds_logs(file) else EXAMPLES
    if head.lstrip()[:1] == b"{":
        return JSON
    if not head:
        raise DataError(f"{file} is empty.", "Give it something to ask.")
    raise DataError(
        f"{file} is neither an .npz, nor JSON lines, nor a TFRecord.",
        "Say what it is, if it is one of them: --format NAME",
    )


def holds_logs(file: Path) -> bool:
    """PredictionLogs, and not tf.Examples: those can be read as logs too, but then nothing is set in them."""
    try:
        first = next(read_records(file), None)
        return first is not None and bool(kind_of(parsed(first.content)))
    except ValueError:
        return False
    except JournalError as error:
        raise DataError(error.problem, error.remedy) from error


def file_digest(file: Path, progress: Progress) -> str:
    size = file.stat().st_size or 1
    done = 0

    def told(count: int) -> None:
        nonlocal done
        done += count
        progress("reading the data", min(1.0, done / size))

    return sha256_of(file, told)


def json_digest(file: Path) -> tuple[str, int]:
    """And how many lines are not blank, which costs nothing more."""
    digest, lines = hashlib.sha256(), 0
    with file.open("rb") as stream:
        for line in stream:
            digest.update(line)
            lines += bool(line.strip())
    return digest.hexdigest(), lines


def unreadable(file: Path, error: OSError) -> DataError:
    return DataError(f"The data {file} cannot be read: {error.strerror}.")
