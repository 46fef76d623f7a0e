"""An .npz as cases: a row of every array is a row of a request, or the whole file is one."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

from stopgap.asking.data.npz_rows import NpzRows
from stopgap.asking.data.reading import Reading, case_of
from stopgap.comparison.pairs import Case

__all__ = ["npz_cases", "npz_count"]


def npz_cases(file: Path, reading: Reading) -> Iterator[Case]:
    """
    Raises:
        DataError: The file cannot be read, or its arrays are not the inputs.
    """
    with NpzRows(file) as arrays:
        first = 0
        for number, values in enumerate(arrays.batches(reading.rows)):
            size = reading.rows or arrays.rows
            last = min(first + size, arrays.rows) - 1
            place = f"{file}, row {first}" if first == last else f"{file}, rows {first} to {last}"
            yield case_of(number, values, reading, place, reading.chosen)
            first += size


def npz_count(file: Path, reading: Reading) -> int:
    """
    Raises:
        DataError: The file cannot be read.
    """
    with NpzRows(file) as arrays:
        return 1 if reading.rows is None else math.ceil(arrays.rows / reading.rows)
