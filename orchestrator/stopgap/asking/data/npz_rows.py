"""The arrays of an .npz row by row, in memory that does not grow with the file."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from stopgap.client.npz import LENGTHS, UNREADABLE, with_lengths
from stopgap.errors import DataError, PredictionError

__all__ = ["NpzRows"]

ENDING = ".npy"
VERSIONS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


class NpzRows:
    """An .npz whose arrays have one row each for every row of the data, to be used in a `with`.

    Args:
        file: Where it lies.

    Attributes:
        names: Of its arrays.
        rows: How many rows they have; arrays without a dimension belong to every row.

    Raises:
        DataError: It is none, or its arrays have different numbers of rows.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        with ExitStack() as undo:
            try:
                archive = undo.enter_context(zipfile.ZipFile(file))
                members = [name for name in archive.namelist() if name.endswith(ENDING)]
                opened = {
                    name[: -len(ENDING)]: Member(undo.enter_context(archive.open(name)), name[: -len(ENDING)], file)
                    for name in members
                }
            except UNREADABLE as error:
                raise unreadable(file, error) from error
            self._members = opened
            self._open = undo.pop_all()
        self.names = frozenset(name for name in opened if not self._tells_lengths(name))
        self.rows = self._checked_rows()

    def __enter__(self) -> NpzRows:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def take(self, count: int) -> dict[str, NDArray[Any]]:
        """The next rows of every array; fewer, where there are no more.

        Raises:
            DataError: They cannot be read.
        """
        try:
            taken = {name: member.take(count) for name, member in self._members.items()}
            return {
                name: with_lengths(name, taken[name], taken.get(name + LENGTHS), str(self.file)) for name in self.names
            }
        except PredictionError as error:
            raise DataError(error.problem, error.remedy) from error
        except UNREADABLE as error:
            raise unreadable(self.file, error) from error

    def batches(self, rows: int | None) -> Iterator[dict[str, NDArray[Any]]]:
        """All of it in order, so many rows at a time; None: all at once."""
        size = rows or max(self.rows, 1)
        for _ in range(0, max(self.rows, 1) if rows is None else self.rows, size):
            yield self.take(size)

    def _tells_lengths(self, name: str) -> bool:
        return name.endswith(LENGTHS) and name[: -len(LENGTHS)] in self._members

    def _checked_rows(self) -> int:
        rows = {name: self._members[name].rows for name in sorted(self.names)}
        counted = {name: count for name, count in rows.items() if count is not None}
        if len(set(counted.values())) > 1:
            told = ", ".join(f"{name!r}: {count}" for name, count in counted.items())
            self._open.close()
            raise DataError(f"The arrays in {self.file} have different numbers of rows ({told}).", "A row is a case.")
        return next(iter(counted.values()), 1)


class Member:
    """One array, from its first row on."""

    def __init__(self, stream: IO[bytes], name: str, file: Path) -> None:
        self._stream = stream
        self._whole: NDArray[Any] | None = None
        self._at = 0
        version = np.lib.format.read_magic(stream)
        if version not in VERSIONS:
            raise DataError(f"The array {name!r} in {file} is of a form that cannot be read: {version}.")
        self._shape, fortran, self._dtype = VERSIONS[version](stream)
        if self._dtype.hasobject:
            raise DataError(
                f"The array {name!r} in {file} holds Python objects.",
                "Save strings as S or U arrays: names.astype('S').",
            )
        if fortran and len(self._shape) > 1:  # its rows do not stand one after the other
            self._whole = self._read(self._shape[::-1]).T

    @property
    def rows(self) -> int | None:
        return self._shape[0] if self._shape else None

    def take(self, count: int) -> NDArray[Any]:
        if not self._shape:
            self._whole = self._read(()) if self._whole is None else self._whole
            return self._whole
        begin, self._at = self._at, min(self._at + count, self._shape[0])
        if self._whole is not None:
            return self._whole[begin : self._at]
        return self._read((self._at - begin, *self._shape[1:]))

    def _read(self, shape: tuple[int, ...]) -> NDArray[Any]:
        size = int(np.prod(shape, dtype=np.int64)) * self._dtype.itemsize
        content = self._stream.read(size)
        if len(content) < size:
            raise EOFError("it ends within an array")
        if not self._dtype.itemsize:
            return np.zeros(shape, self._dtype)
        return np.frombuffer(content, self._dtype).reshape(shape)


def unreadable(file: Path, error: BaseException) -> DataError:
    return DataError(f"The .npz {file} cannot be read: {error}.")
