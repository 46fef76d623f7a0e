"""Arrays as they come from models, whatever they hold, made into what can be compared. Nothing here raises."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Floats", "as_array", "flat", "is_text", "numbers", "rows_of", "text"]

Floats = NDArray[np.float64]


def as_array(value: Any) -> NDArray[Any] | None:
    """The value as an array; ragged lists as an array of objects, None for what is none at all."""
    if isinstance(value, np.ndarray):
        return value
    if value is None:
        return None
    try:
        return np.asarray(value)
    except (ValueError, TypeError, OverflowError):
        try:
            ragged = np.empty(len(value), object)
            ragged[:] = list(value)
        except (ValueError, TypeError):
            return None
        return ragged


def numbers(array: NDArray[Any]) -> Floats | None:
    """Real numbers and bools as doubles; None for text, complex numbers, dates, records and mixed objects."""
    kind = array.dtype.kind
    if kind in "biuf" or array.dtype.name == "bfloat16":
        with np.errstate(over="ignore", invalid="ignore"):
            return array.astype(np.float64)
    if kind == "O" and array.size and all(isinstance(each, (int, float, np.number)) for each in array.flat):
        try:
            return array.astype(np.float64)
        except (TypeError, ValueError, OverflowError):
            return None
    return None


def is_text(array: NDArray[Any]) -> bool:
    """Whether all its elements are strings or bytes."""
    if array.dtype.kind in "SU":
        return True
    return array.dtype.kind == "O" and all(isinstance(each, (bytes, str)) for each in array.flat)


def text(element: object) -> bytes:
    """One element as bytes: strings as UTF-8, everything else as Python shows it."""
    if isinstance(element, bytes):
        return bytes(element)
    shown = str(element) if isinstance(element, str) else repr(element)
    return shown.encode("utf-8", "surrogatepass")


def rows_of(array: NDArray[Any]) -> int:
    """How many rows it has: one, where it is a scalar."""
    return int(array.shape[0]) if array.ndim else 1


def flat(array: NDArray[Any]) -> NDArray[Any]:
    """Shape [rows, elements of a row]."""
    if not array.ndim:
        return array.reshape(1, 1)
    width = int(np.prod(array.shape[1:], dtype=np.int64))
    return array.reshape(array.shape[0], width)
