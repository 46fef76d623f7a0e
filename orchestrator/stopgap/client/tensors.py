"""NumPy arrays to and from TensorProto, without TensorFlow and without touching numbers one by one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from stopgap_protos.tensor_pb2 import TensorProto, TensorShapeProto

from stopgap.client.dtypes import BFLOAT16, Dtype, dtype_of, dtype_of_array
from stopgap.client.status import INTERNAL, INVALID_ARGUMENT
from stopgap.errors import PredictionError

__all__ = ["to_array", "to_arrays", "to_proto"]

# These fields stand in a message as they do in memory: packed, little-endian, one byte a bool.
_FIXED_WIDTH: dict[str, np.dtype] = {
    "float_val": np.dtype("<f4"),
    "double_val": np.dtype("<f8"),
    "scomplex_val": np.dtype("<f4"),
    "dcomplex_val": np.dtype("<f8"),
    "bool_val": np.dtype("?"),
}
# Those that are variable-width there, and how wide they can be.
_VARIABLE_WIDTH: dict[str, np.dtype] = {
    "int_val": np.dtype(np.int32),
    "half_val": np.dtype(np.int32),
    "int64_val": np.dtype(np.int64),
    "uint32_val": np.dtype(np.uint32),
    "uint64_val": np.dtype(np.uint64),
}
_MOST_DIMENSIONS = 32  # NumPy's own limit before 2.0
# A short list of values stands for a long one; an answer of some bytes must not fill the caller's memory with that.
_LARGEST_FILLED_BYTES = 256 * 2**20
# Nor with lists, where an array without an element is written down.
_MOST_EMPTY_ROWS = 2**24


def to_proto(array: np.ndarray, dtype: int | None = None) -> TensorProto:
    """The array as a message: numbers as `tensor_content`, strings as `string_val`.

    Args:
        array: Any shape. Strings may be `S`, `U` or objects (`bytes` or `str`, which is sent as UTF-8).
        dtype: TensorFlow's number of the data type, where the array's own type does not tell it: a quantised integer,
            or a bfloat16 given as `uint16`.

    Raises:
        PredictionError: INVALID_ARGUMENT; the array's type is not one that TensorFlow has, or not that of `dtype`.
    """
    wanted = dtype_of_array(array) if dtype is None else dtype_of(dtype)
    if wanted is None:
        what = f"an array of {array.dtype}" if dtype is None else f"TensorFlow's data type {dtype}"
        raise PredictionError(f"A message cannot carry {what}.", INVALID_ARGUMENT)
    proto = TensorProto(dtype=wanted.number, tensor_shape=_shape_proto(array.shape))  # type: ignore[arg-type]  # an enum is a number
    if wanted.is_string:
        proto.string_val.extend(_byte_strings(array))
    else:
        proto.tensor_content = _bits(array, wanted).tobytes()
    return proto


def to_arrays(protos: Mapping[str, TensorProto]) -> dict[str, np.ndarray]:
    """The tensors of one answer, by their names in order; see `to_array`.

    Raises:
        PredictionError: INTERNAL; one of them is not a tensor, or they take too much together.
    """
    arrays, left = {}, _LARGEST_FILLED_BYTES
    for name in sorted(protos):
        try:
            arrays[name] = to_array(protos[name], left)
        except PredictionError as error:
            raise PredictionError(f"The output {name!r}: {error.problem}", error.code) from error
        left -= max(0, arrays[name].nbytes - protos[name].ByteSize())
    return arrays


def to_array(proto: TensorProto, most_filled_bytes: int = _LARGEST_FILLED_BYTES) -> np.ndarray:
    """The message as an array of its shape, whichever fields carry the values.

    TensorFlow's rule for `*_val` holds: fewer values than the shape has places stand for themselves and the last one
    for all the rest; none at all stands for zeros or empty strings.

    Args:
        proto: The message.
        most_filled_bytes: What an array may take that has not all of its values in the message.

    Returns:
        The array; of `object` holding `bytes` for strings, of `uint16` holding the bits for bfloat16. It may be
        read-only.

    Raises:
        PredictionError: INTERNAL; the message is not a tensor. (It comes from a sandbox, so anything may be in it.)
    """
    dtype = dtype_of(proto.dtype)
    if dtype is None:
        raise _malformed(f"its data type is {proto.dtype}")
    shape = _shape(proto)
    if dtype.is_string:
        return _strings(proto, dtype, shape, most_filled_bytes)
    if proto.tensor_content:
        return _from_content(proto.tensor_content, dtype, shape)
    return _filled(_values(proto, dtype), dtype, shape, most_filled_bytes)


def _shape_proto(shape: tuple[int, ...]) -> TensorShapeProto:
    return TensorShapeProto(dim=[TensorShapeProto.Dim(size=size) for size in shape])


def _bits(array: np.ndarray, dtype: Dtype) -> np.ndarray:
    """The array in the byte order of the wire."""
    if dtype.number == BFLOAT16 and array.dtype.name == "bfloat16":
        array = array.view(np.uint16)
    if array.dtype.newbyteorder("<") != dtype.numpy:
        raise PredictionError(f"An array of {array.dtype} is not one of {dtype.name}.", INVALID_ARGUMENT)
    return array.astype(dtype.numpy, copy=False)


def _byte_strings(array: np.ndarray) -> list[bytes]:
    if array.dtype.kind not in "SUOT":
        raise PredictionError(f"An array of {array.dtype} is not one of strings.", INVALID_ARGUMENT)
    return [_byte_string(element) for element in array.ravel().tolist()]


def _byte_string(element: object) -> bytes:
    if isinstance(element, bytes):
        return element
    if not isinstance(element, str):
        kind = type(element).__name__
        raise PredictionError(f"A tensor of strings cannot hold {element!r}, of type {kind}.", INVALID_ARGUMENT)
    try:
        return element.encode("utf-8")
    except UnicodeEncodeError as error:
        raise PredictionError(f"{element!r} is not text: {error.reason}.", INVALID_ARGUMENT) from error


def _shape(proto: TensorProto) -> tuple[int, ...]:
    shape = tuple(dim.size for dim in proto.tensor_shape.dim)
    if proto.tensor_shape.unknown_rank or any(size < 0 for size in shape):
        raise _malformed(f"its shape is not known: {list(shape)}")
    if len(shape) > _MOST_DIMENSIONS:
        raise _malformed(f"it has {len(shape)} dimensions")
    if 0 in shape and math.prod(shape[: shape.index(0)]) > _MOST_EMPTY_ROWS:
        raise _malformed(f"its shape is {list(shape)}, with nothing in it")
    return shape


def _from_content(content: bytes, dtype: Dtype, shape: tuple[int, ...]) -> np.ndarray:
    expected = math.prod(shape) * dtype.numpy.itemsize
    if len(content) != expected:
        raise _malformed(f"it holds {len(content)} bytes where {dtype.name} {list(shape)} takes {expected}")
    if dtype.field == "bool_val":
        # Any byte may have come; NumPy's bools must be 0 or 1.
        return _shaped(np.frombuffer(content, np.uint8).astype(dtype.numpy), shape)
    return _shaped(np.frombuffer(content, dtype.numpy), shape)


def _shaped(flat: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    try:
        return flat.reshape(shape)
    except ValueError as error:
        raise _malformed(f"no array has the shape {list(shape)}") from error


def _values(proto: TensorProto, dtype: Dtype) -> np.ndarray:
    """The values that stand in the field, flat."""
    numbers = _numbers(proto, dtype.field)
    if dtype.numpy.kind == "c":
        if len(numbers) % 2:
            raise _malformed("its last complex number has no imaginary part")
        return numbers.view(dtype.numpy)
    if dtype.field == "half_val":
        return numbers.astype(np.uint16).view(dtype.numpy)
    return numbers.astype(dtype.numpy, copy=False)


def _numbers(proto: TensorProto, field: str) -> np.ndarray:
    """The field's numbers as they are declared; complex ones are pairs.

    protobuf 7 hands out its memory. Before, a loop would make a Python object of each number (7 ms for 150,000
    floats), so they are taken from the message where they stand in it as in memory, and by C code where they do not.
    """
    given: Any = getattr(proto, field)
    if hasattr(given, "__array__"):
        return np.asarray(given)
    if field in _VARIABLE_WIDTH:
        return np.fromiter(given, _VARIABLE_WIDTH[field], len(given))
    # In a message of that field alone they are the last bytes, after the field's tag and length.
    message = _with_only(field, proto).SerializeToString()
    width = _FIXED_WIDTH[field].itemsize
    return np.frombuffer(message, _FIXED_WIDTH[field], len(given), offset=len(message) - len(given) * width)


def _with_only(field: str, proto: TensorProto) -> TensorProto:
    alone = TensorProto()
    alone.CopyFrom(proto)
    alone.DiscardUnknownFields()
    for descriptor, _ in alone.ListFields():
        if descriptor.name != field:
            alone.ClearField(descriptor.name)
    return alone


def _filled(values: np.ndarray, dtype: Dtype, shape: tuple[int, ...], most_bytes: int) -> np.ndarray:
    """As many values as the shape has places, by TensorFlow's rule for short lists."""
    count = math.prod(shape)
    if len(values) > count:
        raise _malformed(f"it holds {len(values)} values where {list(shape)} has {count} places")
    if len(values) == count:
        return _shaped(values, shape)
    if count * dtype.numpy.itemsize > most_bytes:
        raise _malformed(f"it holds {len(values)} values for the {count} places of {list(shape)}")
    filled = np.empty(count, dtype.numpy)
    filled[: len(values)] = values
    filled[len(values) :] = values[-1] if len(values) else _nothing(dtype)
    return _shaped(filled, shape)


def _nothing(dtype: Dtype) -> object:
    return b"" if dtype.is_string else 0


def _strings(proto: TensorProto, dtype: Dtype, shape: tuple[int, ...], most_filled_bytes: int) -> np.ndarray:
    if proto.tensor_content:
        return _shaped(_listed(proto.tensor_content, math.prod(shape)), shape)
    values = np.empty(len(proto.string_val), dtype.numpy)
    values[:] = list(proto.string_val)
    return _filled(values, dtype, shape, most_filled_bytes)


def _listed(content: bytes, count: int) -> np.ndarray:
    """Strings in `tensor_content`: the lengths of all of them as varints, then their bytes (port::EncodeStringList)."""
    if count > len(content):
        raise _malformed(f"{len(content)} bytes are too few for {count} strings")
    lengths = np.empty(count, np.uint64)
    position = 0
    for place in range(count):
        lengths[place], position = _varint(content, position)
    if position + int(lengths.sum()) != len(content):
        raise _malformed(f"its {count} strings take {position + int(lengths.sum())} bytes of {len(content)}")
    strings = np.empty(count, object)
    for place, length in enumerate(lengths.tolist()):
        strings[place] = content[position : position + length]
        position += length
    return strings


def _varint(content: bytes, position: int) -> tuple[int, int]:
    """The number that begins at the position, and where it ends."""
    number = 0
    for shift in range(0, 35, 7):
        if position >= len(content):
            break
        byte = content[position]
        position += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, position
    raise _malformed("the length of a string is cut short")


def _malformed(why: str) -> PredictionError:
    return PredictionError(f"What came is not a tensor: {why}.", INTERNAL)
