"""TensorProto ↔ memory, every dtype that it can carry; it knows the wire, not TensorFlow's library.

Nothing here loops over elements in Python: repeated fields become NumPy arrays in one call, and answers are packed
from their bytes. (`float_val.extend` of 150,000 floats costs 14.7 ms, this 0.05.)
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from stopgap_protos.tensor_pb2 import DataType, TensorProto

from .faults import Code, Fault
from .host_tensor import ELEMENT, HostTensor, dtype_name, elements_in
from .varints import length_delimited, packed_varints

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["LARGEST_BYTES", "WireTensor", "decode", "encode", "pieces"]

LARGEST_BYTES: Final = 2**31 - 1
"""No protobuf message is larger, so no tensor written out in full can be; a repeated value must not be either."""

_STRING_SLOT_BYTES: Final = 16  # what even an empty string takes: a place in a list, and one in TensorFlow's table

_LARGEST_RANK: Final = 254  # tensorflow/core/framework/tensor_shape.h, TensorShape::MaxDimensions
_LARGEST_COUNT: Final = 2**63 - 1

# The repeated field that carries each dtype's elements, and its number (tensor.proto).
_FIELD: Final[Mapping[int, tuple[str, int]]] = {
    DataType.DT_FLOAT: ("float_val", 5),
    DataType.DT_DOUBLE: ("double_val", 6),
    DataType.DT_INT32: ("int_val", 7),
    DataType.DT_UINT8: ("int_val", 7),
    DataType.DT_INT16: ("int_val", 7),
    DataType.DT_INT8: ("int_val", 7),
    DataType.DT_STRING: ("string_val", 8),
    DataType.DT_COMPLEX64: ("scomplex_val", 9),
    DataType.DT_INT64: ("int64_val", 10),
    DataType.DT_BOOL: ("bool_val", 11),
    DataType.DT_QINT8: ("int_val", 7),
    DataType.DT_QUINT8: ("int_val", 7),
    DataType.DT_QINT32: ("int_val", 7),
    DataType.DT_BFLOAT16: ("half_val", 13),
    DataType.DT_QINT16: ("int_val", 7),
    DataType.DT_QUINT16: ("int_val", 7),
    DataType.DT_UINT16: ("int_val", 7),
    DataType.DT_COMPLEX128: ("dcomplex_val", 12),
    DataType.DT_HALF: ("half_val", 13),
    DataType.DT_UINT32: ("uint32_val", 16),
    DataType.DT_UINT64: ("uint64_val", 17),
}
_STORED_AS_IS: Final = frozenset({5, 6, 9, 12})  # these fields hold the elements' own bytes, the others varints


# --- From the wire -------------------------------------------------------------------------------------------------


class WireTensor:
    """A request's tensor before it is unfolded: a few bytes may describe gigabytes.

    Args:
        content: Its `tensor_content`, where that was kept out of the message.

    Attributes:
        dtype: A number of `DataType`.
        shape: Every dimension's size.

    Raises:
        Fault: No tensor is like that (INVALID_ARGUMENT, with TF Serving's text).
    """

    def __init__(self, proto: TensorProto, alias: str, content: memoryview | None = None) -> None:
        shape = _shape_of(proto)
        if shape is None or proto.dtype not in _FIELD:
            raise _unreadable(alias)
        self.dtype: int = proto.dtype
        self.shape = shape
        self._proto = proto
        self._alias = alias
        self._content = content

    def decode(self, largest_bytes: int) -> HostTensor:
        """The tensor in memory; see `decode`."""
        content = self._proto.tensor_content if self._content is None else self._content
        return _decoded(self._proto, content, self.shape, self._alias, largest_bytes)


def decode(proto: TensorProto, alias: str, *, largest_bytes: int = LARGEST_BYTES) -> HostTensor:
    """Reads a request's tensor by the rules of TensorFlow's own `Tensor::FromProto`.

    Elements come from `tensor_content`, whose length must fit exactly, or else from the dtype's `*_val` field: too few
    values and the last one is repeated, none and they are zeros, too many and the surplus is ignored.

    Args:
        alias: The input's name in the signature, for the error.

    Raises:
        Fault: It cannot be read (INVALID_ARGUMENT, with TF Serving's text), or it would take more than
            `largest_bytes` of memory (RESOURCE_EXHAUSTED).
    """
    return WireTensor(proto, alias).decode(largest_bytes)


def _decoded(
    proto: TensorProto, content: bytes | memoryview, shape: tuple[int, ...], alias: str, largest_bytes: int
) -> HostTensor:
    dtype = proto.dtype
    count = elements_in(shape)
    element = ELEMENT.get(dtype)
    if count * (element.itemsize if element else _STRING_SLOT_BYTES) > largest_bytes:
        raise Fault(Code.RESOURCE_EXHAUSTED, f"tensor {alias}: {count} elements are more than {largest_bytes} bytes")
    if not count:
        content = b""
    if element is None:
        return HostTensor(dtype, shape, _strings_of(proto, bytes(content), count, alias, largest_bytes))
    if content:
        if len(content) != count * element.itemsize:
            raise _unreadable(alias)
        return HostTensor(dtype, shape, content)
    return HostTensor(dtype, shape, _elements_of(proto, element, count).view(np.uint8).data)


def _shape_of(proto: TensorProto) -> tuple[int, ...] | None:
    """The tensor's shape; None where no tensor can have it."""
    described = proto.tensor_shape
    if described.unknown_rank or len(described.dim) > _LARGEST_RANK:
        return None
    shape = tuple([dim.size for dim in described.dim])
    # TensorFlow multiplies from left to right and aborts on an overflow, also where a later dimension is zero.
    if min(shape, default=0) < 0 or math.prod([size or 1 for size in shape]) > _LARGEST_COUNT:
        return None
    return shape


def _elements_of(proto: TensorProto, element: np.dtype[np.generic], count: int) -> NDArray[np.generic]:
    name, number = _FIELD[proto.dtype]
    values: NDArray[Any] = np.asarray(getattr(proto, name))
    if number in _STORED_AS_IS:
        values = values[: len(values) // (element.itemsize // values.itemsize) * (element.itemsize // values.itemsize)]
        values = values.view(element)
    elif name == "half_val":
        values = values.astype(np.uint16).view(element)
    else:
        values = values.astype(element, copy=False)
    if len(values) >= count:
        return values[:count]
    filled = np.zeros(count, element)
    if len(values):
        filled[: len(values)] = values
        filled[len(values) :] = values[-1]
    return filled


def _strings_of(proto: TensorProto, content: bytes, count: int, alias: str, largest_bytes: int) -> list[bytes]:
    if content:
        return _split_strings(content, count, alias)
    values = list(itertools.islice(proto.string_val, count))
    last, missing = values[-1] if values else b"", count - len(values)
    if len(last) * missing > largest_bytes:  # a place takes little, but TensorFlow writes out what stands there
        raise Fault(
            Code.RESOURCE_EXHAUSTED,
            f"tensor {alias}: {count} strings of {len(last)} bytes are more than {largest_bytes} bytes",
        )
    return values + [last] * missing


def _split_strings(content: bytes, count: int, alias: str) -> list[bytes]:
    """Strings in `tensor_content`: all lengths as varints, then all the texts (TensorFlow's DecodeStringList)."""
    if count > len(content):
        raise _unreadable(alias)
    lengths: list[int] = []
    length = shift = position = 0
    while len(lengths) < count:
        if position == len(content) or shift > 28:  # a length has 32 bits
            raise _unreadable(alias)
        length |= (content[position] & 0x7F) << shift
        shift += 7
        if content[position] < 0x80:
            lengths.append(length)
            length = shift = 0
        position += 1
    if position + sum(lengths) != len(content):
        raise _unreadable(alias)
    ends = itertools.accumulate(lengths, initial=position)
    return [content[end : end + length] for end, length in zip(ends, lengths)]


def _unreadable(alias: str) -> Fault:
    return Fault(Code.INVALID_ARGUMENT, f"tensor parsing error: {alias}")


# --- To the wire ---------------------------------------------------------------------------------------------------


def encode(tensor: HostTensor) -> bytes:
    """A tensor as a serialised TensorProto in `*_val` form, byte for byte what protobuf makes of it.

    Raises:
        Fault: No TensorProto carries this dtype (UNIMPLEMENTED).
    """
    return b"".join(pieces(tensor))


def pieces(tensor: HostTensor) -> Sequence[bytes]:
    """What `encode` gives, in pieces: a large tensor's bytes need not be copied to stand behind a header.

    Raises:
        Fault: No TensorProto carries this dtype (UNIMPLEMENTED).
    """
    if tensor.dtype not in _FIELD:
        raise Fault(Code.UNIMPLEMENTED, f"a {dtype_name(tensor.dtype)} tensor has no form on the wire")
    header = _header(tensor.dtype, tensor.shape)
    if isinstance(tensor.data, list):
        return header, TensorProto(string_val=tensor.data).SerializeToString()
    if not tensor.nbytes:
        return (header,)
    number = _FIELD[tensor.dtype][1]
    packed = bytes(tensor.data) if number in _STORED_AS_IS else packed_varints(_numbers(tensor))
    return header, length_delimited(number, len(packed)), packed


@functools.lru_cache(maxsize=1024)
def _header(dtype: int, shape: tuple[int, ...]) -> bytes:
    """The fields before the elements. A scalar's shape is there and empty, as TF Serving writes it."""
    proto = TensorProto(dtype=dtype)  # type: ignore[arg-type]  # TensorFlow's number is the enum's
    proto.tensor_shape.SetInParent()
    for size in shape:
        proto.tensor_shape.dim.add(size=size)
    return proto.SerializeToString()


def _numbers(tensor: HostTensor) -> NDArray[np.integer[Any]]:
    """The elements as the integers that the wire's varints carry."""
    elements: NDArray[Any] = np.frombuffer(tensor.data, ELEMENT[tensor.dtype])  # type: ignore[arg-type]  # no strings
    if tensor.dtype == DataType.DT_HALF:
        bits: NDArray[np.uint16] = elements.view(np.uint16)
        return bits
    if tensor.dtype == DataType.DT_BOOL:
        bits8: NDArray[np.uint8] = (elements.view(np.uint8) != 0).view(np.uint8)
        return bits8
    return elements
