"""A tensor in Python's memory, between the wire and TensorFlow; it knows neither of them, only the dtypes' sizes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
from stopgap_protos.tensor_pb2 import DataType

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["ELEMENT", "HostTensor", "array_of", "dtype_name", "elements_in", "of_array", "zeros"]

# How one element lies in memory. NumPy has no bfloat16: its 16 bits travel as an integer; so do quantised numbers.
ELEMENT: Final[Mapping[int, np.dtype[np.generic]]] = {
    DataType.DT_FLOAT: np.dtype("<f4"),
    DataType.DT_DOUBLE: np.dtype("<f8"),
    DataType.DT_INT32: np.dtype("<i4"),
    DataType.DT_UINT8: np.dtype("u1"),
    DataType.DT_INT16: np.dtype("<i2"),
    DataType.DT_INT8: np.dtype("i1"),
    DataType.DT_COMPLEX64: np.dtype("<c8"),
    DataType.DT_INT64: np.dtype("<i8"),
    DataType.DT_BOOL: np.dtype("?"),
    DataType.DT_QINT8: np.dtype("i1"),
    DataType.DT_QUINT8: np.dtype("u1"),
    DataType.DT_QINT32: np.dtype("<i4"),
    DataType.DT_BFLOAT16: np.dtype("<u2"),
    DataType.DT_QINT16: np.dtype("<i2"),
    DataType.DT_QUINT16: np.dtype("<u2"),
    DataType.DT_UINT16: np.dtype("<u2"),
    DataType.DT_COMPLEX128: np.dtype("<c16"),
    DataType.DT_HALF: np.dtype("<f2"),
    DataType.DT_UINT32: np.dtype("<u4"),
    DataType.DT_UINT64: np.dtype("<u8"),
}

# Of two dtypes with the same element, the plain one is what an array is taken for.
_DTYPE_OF_ELEMENT: Final = {element: dtype for dtype, element in sorted(ELEMENT.items(), reverse=True)}
_DTYPE_OF_ELEMENT[np.dtype("<u2")] = DataType.DT_UINT16
_FIRST_REFERENCE_DTYPE: Final = 101


class HostTensor(NamedTuple):
    """One dense tensor. A tuple, since some are made for every request and these are made fastest.

    Attributes:
        dtype: A number of `DataType`.
        shape: Every dimension's size; empty for a scalar.
        data: The elements' bytes in row-major order, little-endian; for DT_STRING the list of strings.
    """

    dtype: int
    shape: tuple[int, ...]
    data: bytes | memoryview | list[bytes]

    @property
    def nbytes(self) -> int:
        """The size of the payload in bytes."""
        return sum(map(len, self.data)) if isinstance(self.data, list) else len(self.data)


def elements_in(shape: tuple[int, ...]) -> int:
    """How many elements a tensor of this shape has."""
    return math.prod(shape)


def dtype_name(dtype: int) -> str:
    """A dtype as TensorFlow's own messages write it: float, int32, string, float_ref."""
    if dtype > _FIRST_REFERENCE_DTYPE - 1:
        return dtype_name(dtype - _FIRST_REFERENCE_DTYPE + 1) + "_ref"
    try:
        return DataType.Name(dtype)[len("DT_") :].lower()
    except ValueError:
        return f"unknown dtype {dtype}"


def zeros(dtype: int, shape: tuple[int, ...]) -> HostTensor:
    """A tensor of zeros, or of empty strings.

    Raises:
        KeyError: The dtype has no elements that a process could write down: a resource, a variant.
    """
    if dtype == DataType.DT_STRING:
        return HostTensor(dtype, shape, [b""] * elements_in(shape))
    return HostTensor(dtype, shape, bytes(elements_in(shape) * ELEMENT[dtype].itemsize))


def of_array(array: NDArray[np.generic]) -> HostTensor:
    """A copy of a NumPy array; arrays of bytes or objects become strings.

    Raises:
        KeyError: TensorFlow has no such dtype.
    """
    if array.dtype.kind in "SO":
        return HostTensor(DataType.DT_STRING, array.shape, [bytes(item) for item in array.ravel().tolist()])
    little = array.dtype.newbyteorder("<")
    return HostTensor(_DTYPE_OF_ELEMENT[little], array.shape, array.astype(little).tobytes())


def array_of(tensor: HostTensor) -> NDArray[np.generic]:
    """A tensor as a NumPy array that may be read-only; strings as objects, bfloat16 as its bits."""
    if isinstance(tensor.data, list):
        array = np.empty(len(tensor.data), dtype=object)
        array[:] = tensor.data
        return array.reshape(tensor.shape)
    return np.frombuffer(tensor.data, dtype=ELEMENT[tensor.dtype]).reshape(tensor.shape)
