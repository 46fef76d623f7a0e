"""TensorFlow's data types and NumPy's: which is which, and in which field of a TensorProto the values stand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from stopgap_protos import tensor_pb2

__all__ = ["BFLOAT16", "STRING", "Dtype", "dtype_of", "dtype_of_array"]

STRING: Final = int(tensor_pb2.DT_STRING)
BFLOAT16: Final = int(tensor_pb2.DT_BFLOAT16)


@dataclass(frozen=True)
class Dtype:
    """One of TensorFlow's data types.

    Args:
        number: `tensorflow.DataType`'s number.
        name: TensorFlow's name for it, e.g. `float32`.
        numpy: NumPy's type, little-endian. A bfloat16 is its 16 bits in a `uint16`, a quantised integer the integer
            itself, a string a Python `bytes`.
        field: The field of `TensorProto` that holds the values one by one.
    """

    number: int
    name: str
    numpy: np.dtype
    field: str

    @property
    def is_string(self) -> bool:
        return self.number == STRING


_ALL = tuple(
    Dtype(number, name, np.dtype(numpy), field)
    for number, name, numpy, field in (
        (tensor_pb2.DT_FLOAT, "float32", "<f4", "float_val"),
        (tensor_pb2.DT_DOUBLE, "float64", "<f8", "double_val"),
        (tensor_pb2.DT_INT32, "int32", "<i4", "int_val"),
        (tensor_pb2.DT_UINT8, "uint8", "u1", "int_val"),
        (tensor_pb2.DT_INT16, "int16", "<i2", "int_val"),
        (tensor_pb2.DT_INT8, "int8", "i1", "int_val"),
        (tensor_pb2.DT_STRING, "string", "O", "string_val"),
        (tensor_pb2.DT_COMPLEX64, "complex64", "<c8", "scomplex_val"),
        (tensor_pb2.DT_INT64, "int64", "<i8", "int64_val"),
        (tensor_pb2.DT_BOOL, "bool", "?", "bool_val"),
        (tensor_pb2.DT_QINT8, "qint8", "i1", "int_val"),
        (tensor_pb2.DT_QUINT8, "quint8", "u1", "int_val"),
        (tensor_pb2.DT_QINT32, "qint32", "<i4", "int_val"),
        (tensor_pb2.DT_BFLOAT16, "bfloat16", "<u2", "half_val"),
        (tensor_pb2.DT_QINT16, "qint16", "<i2", "int_val"),
        (tensor_pb2.DT_QUINT16, "quint16", "<u2", "int_val"),
        (tensor_pb2.DT_UINT16, "uint16", "<u2", "int_val"),
        (tensor_pb2.DT_COMPLEX128, "complex128", "<c16", "dcomplex_val"),
        (tensor_pb2.DT_HALF, "float16", "<f2", "half_val"),
        (tensor_pb2.DT_UINT32, "uint32", "<u4", "uint32_val"),
        (tensor_pb2.DT_UINT64, "uint64", "<u8", "uint64_val"),
    )
)
_BY_NUMBER = {dtype.number: dtype for dtype in _ALL}
# NumPy's own name says which; TensorFlow's other names (qint8 …) must be asked for. `bfloat16` is ml_dtypes'.
_BY_NUMPY_NAME = {dtype.name: dtype for dtype in _ALL if not dtype.name.startswith("q")}


def dtype_of(number: int) -> Dtype | None:
    """The data type of that number; None for those that no message can carry (resources, variants, references)."""
    return _BY_NUMBER.get(number)


def dtype_of_array(array: np.ndarray) -> Dtype | None:
    """The data type that an array's own type means; None where it means none."""
    if array.dtype.kind in "SUOT":
        return _BY_NUMBER[STRING]
    return _BY_NUMPY_NAME.get(array.dtype.name)
