"""Arrays in an .npz and out of it, with strings that end in NUL bytes intact."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Mapping

import numpy as np

from stopgap.client.status import INVALID_ARGUMENT
from stopgap.errors import PredictionError

__all__ = ["LENGTHS", "UNREADABLE", "is_npz", "read_npz", "with_lengths", "write_npz"]

# NumPy's `S` strings end at their last byte that is not NUL; a sibling key tells the true lengths.
LENGTHS = "@len"

_ZIP_BEGINS = (b"PK\x03\x04", b"PK\x05\x06")
UNREADABLE = (
    ValueError,
    OSError,
    EOFError,
    zipfile.BadZipFile,
    zlib.error,
    NotImplementedError,  # a compression that zipfile does not know
    RuntimeError,  # an encrypted member
)


def is_npz(content: bytes) -> bool:
    """Whether it begins as an .npz does."""
    return content.startswith(_ZIP_BEGINS)


def read_npz(content: bytes, origin: str) -> dict[str, np.ndarray]:
    """The arrays by their keys, strings at their true lengths.

    Args:
        content: The file.
        origin: What to call it in an error.

    Raises:
        PredictionError: INVALID_ARGUMENT; it is damaged, or holds what is not an array of numbers or strings.
    """
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            members = {key: file[key] for key in file.files}
    except UNREADABLE as error:
        pickled = "allow_pickle" in str(error)
        remedy = "Save strings as S or U arrays, e.g. names.astype('S')." if pickled else ""
        what = "holds Python objects" if pickled else f"cannot be read: {error}"
        raise _unusable(f"The .npz {origin} {what}.", remedy) from error
    strange = [key for key, member in members.items() if not isinstance(member, np.ndarray)]
    if strange:
        raise _unusable(f"The .npz {origin} holds {strange[0]!r}, which is not an array.")
    keys = [key for key in members if not _tells_lengths(key, members)]
    return {key: with_lengths(key, members[key], members.get(key + LENGTHS), origin) for key in keys}


def _tells_lengths(key: str, members: Mapping[str, np.ndarray]) -> bool:
    return key.endswith(LENGTHS) and key[: -len(LENGTHS)] in members


def with_lengths(key: str, array: np.ndarray, lengths: np.ndarray | None, origin: str) -> np.ndarray:
    """The strings at their true lengths, where they are told.

    Raises:
        PredictionError: INVALID_ARGUMENT; what is told cannot be.
    """
    if lengths is None:
        return array
    if array.dtype.kind != "S" or lengths.dtype.kind not in "iu" or lengths.shape != array.shape:
        raise _unusable(f"In {origin}, {key + LENGTHS!r} does not tell the lengths of the strings in {key!r}.")
    if array.size and not (np.char.str_len(array) <= lengths).all():
        raise _unusable(f"In {origin}, {key + LENGTHS!r} tells lengths that are shorter than the strings in {key!r}.")
    if array.size and (lengths > array.dtype.itemsize).any():
        raise _unusable(f"In {origin}, {key + LENGTHS!r} tells lengths that are longer than {key!r} has bytes.")
    padded = [item.ljust(length, b"\0") for item, length in zip(array.ravel().tolist(), lengths.ravel().tolist())]
    strings = np.empty(len(padded), object)
    strings[:] = padded
    return strings.reshape(array.shape)


def write_npz(arrays: Mapping[str, np.ndarray]) -> bytes:
    """An .npz of the arrays; strings (objects of `bytes`) as `S`, with `<key>@len` where one ends in NUL bytes."""
    buffer = io.BytesIO()
    # Not numpy.savez: it cannot take an array that is called "file".
    with zipfile.ZipFile(buffer, "w") as archive:
        for key, array in _members(arrays).items():
            with archive.open(f"{key}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)
    return buffer.getvalue()


def _members(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    members = {}
    for name, array in arrays.items():
        members[name] = array if array.dtype.kind != "O" else array.astype("S")
        if array.dtype.kind == "O" and any(string.endswith(b"\0") for string in array.ravel().tolist()):
            lengths = [len(string) for string in array.ravel().tolist()]
            members[name + LENGTHS] = np.array(lengths, np.int64).reshape(array.shape)
    return members


def _unusable(problem: str, remedy: str = "") -> PredictionError:
    return PredictionError(problem, INVALID_ARGUMENT, remedy)
