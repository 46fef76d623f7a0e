"""Makes what a person gives (lists, arrays, texts) into an array of an input's data type, or says why it cannot."""

from __future__ import annotations

import warnings

import numpy as np

from stopgap.client.dtypes import BFLOAT16, Dtype
from stopgap.client.status import INVALID_ARGUMENT
from stopgap.errors import PredictionError

__all__ = ["fitted", "widened"]

# By the kind of the input's NumPy type, the kinds of what may be given for it.
_MAY_BE_GIVEN = {"?": "b", "b": "b", "i": "iu", "u": "iu", "f": "iuf", "c": "iufc"}


def fitted(name: str, value: object, dtype: Dtype) -> np.ndarray:
    """The value as an array of the input's data type.

    Integers are taken for floats and floats are rounded to the input's precision; nothing else changes its meaning on
    the way: no float for an integer, no number for a bool, nothing out of range.

    Args:
        name: The input's, for the text of a refusal.
        value: An array, or a number, text, bytes or nested list of them.
        dtype: The input's data type. For a bfloat16, `uint16` values are its bits and others are rounded to it.

    Raises:
        PredictionError: INVALID_ARGUMENT; the value cannot be of that data type.
    """
    if dtype.is_string:
        return _strings(name, value)
    array = _array(name, value)
    if dtype.number == BFLOAT16:
        return _bfloat16(name, array, dtype)
    if array.dtype.kind not in _MAY_BE_GIVEN[dtype.numpy.kind] and array.size:
        raise _refused(name, f"values of {array.dtype} cannot be {dtype.name}")
    return _cast(name, array, dtype)


def widened(array: np.ndarray, dtype: Dtype) -> np.ndarray:
    """The array as numbers that NumPy can show: the bits of a bfloat16 as the float32 that they begin."""
    if dtype.number != BFLOAT16:
        return array
    bits = np.left_shift(array.astype(np.uint32), np.uint32(16))
    return np.asarray(bits, np.uint32).view(np.float32)


def _array(name: str, value: object) -> np.ndarray:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # of rows of different lengths, NumPy before 1.24 only warns
            array = np.asarray(value)
    except (ValueError, TypeError, OverflowError, Warning) as error:
        raise _refused(name, "its rows are of different lengths") from error
    if array.dtype.kind == "O" and array.size:
        raise _refused(name, "its rows are of different lengths, or its values of different kinds")
    return array


def _cast(name: str, array: np.ndarray, dtype: Dtype) -> np.ndarray:
    if array.dtype == dtype.numpy:
        return array
    if dtype.numpy.kind in "iu" and array.size:
        limits = np.iinfo(dtype.numpy)
        smallest, largest = int(array.min()), int(array.max())
        if smallest < limits.min or largest > limits.max:
            beyond = smallest if smallest < limits.min else largest
            raise _refused(name, f"{beyond} does not fit into {dtype.name}")
    with np.errstate(over="ignore"):
        cast = array.astype(dtype.numpy)
    if dtype.numpy.kind in "fc" and array.size:
        _check_still_finite(name, array, cast, dtype)
    return cast


def _bfloat16(name: str, array: np.ndarray, dtype: Dtype) -> np.ndarray:
    if array.dtype.name == "bfloat16":
        return array.view(np.uint16)
    if array.dtype.name == "uint16":
        return array.astype(np.uint16)  # its bytes may be in another order
    if array.dtype.kind not in "iuf":
        raise _refused(name, f"values of {array.dtype} cannot be {dtype.name}")
    with np.errstate(over="ignore"):
        bits = np.ascontiguousarray(array, np.float32).view(np.uint32).reshape(array.shape)
    # To the nearest, ties to even; a NaN stays one, whatever its lower bits.
    rounded = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    rounded = np.where(np.isnan(array), np.uint16(0x7FC0), rounded)
    _check_still_finite(name, array, widened(rounded, dtype), dtype)
    return rounded


def _check_still_finite(name: str, before: np.ndarray, after: np.ndarray, dtype: Dtype) -> None:
    beyond = np.isfinite(before) & ~np.isfinite(after)
    if beyond.any():
        raise _refused(name, f"{before[beyond].flat[0]} does not fit into {dtype.name}")


def _strings(name: str, value: object) -> np.ndarray:
    """An array of objects, each `bytes` or `str`."""
    if isinstance(value, np.ndarray) and value.dtype.kind in "SUT":
        return value.astype(object)
    try:
        array = np.array(value, dtype=object)
    except ValueError as error:
        raise _refused(name, "its rows are of different lengths") from error
    for element in array.ravel().tolist():
        if not isinstance(element, (bytes, str)):
            what = "rows of different lengths" if isinstance(element, list) else f"{element!r}"
            raise _refused(name, f"{what} cannot be string")
    return array


def _refused(name: str, why: str) -> PredictionError:
    return PredictionError(f"The input {name!r} cannot be sent: {why}.", INVALID_ARGUMENT)
