"""One JSON value → one tensor, by the rules and with the texts of TF Serving 1.15 (util/json_tensor.cc).

What is right is converted as a whole, by NumPy. Only when something is wrong is it looked for, by halving: so the fault
that is named is the one that TF Serving would have come upon, and a million values cost no more than being looked at.

Beyond TF Serving: half, bfloat16, uint16 and quantised numbers are taken, and an integer has to fit its dtype.
"""

from __future__ import annotations

import binascii
import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, Union

import numpy as np
from stopgap_protos.tensor_pb2 import DataType

from .bfloat16 import bits_of, floats_of
from .faults import Code, Fault
from .host_tensor import ELEMENT, HostTensor, dtype_name
from .json_document import excerpt
from .json_numbers import flattened, numbers, shape_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .signatures import TensorSpec

__all__ = [
    "BASE64",
    "JsonTensor",
    "check_expressible",
    "completed",
    "data_of",
    "fault_in",
    "first_wrong",
    "is_base64",
    "tensor_of",
]

BASE64: Final = "b64"
"""The one key of an object that stands for a string of any bytes."""

# TF Serving takes an integer for a float if all integers up to it have a float of their own; decimals it rounds.
_LARGEST_INTEGER: Final[Mapping[int, int | None]] = {
    DataType.DT_FLOAT: 2**24 - 1,
    DataType.DT_DOUBLE: 2**53 - 1,
    DataType.DT_HALF: None,
    DataType.DT_BFLOAT16: None,
}
_COMPLEX: Final = (DataType.DT_COMPLEX64, DataType.DT_COMPLEX128)
_TYPE_NAMES: Final = {type(None): "Null", dict: "Object", list: "Array", str: "String", int: "Number", float: "Number"}

_Data = Union[memoryview, list[bytes]]


class JsonTensor(HostTensor):
    """A tensor out of a JSON text, which writes out every element: nothing is left to be unfolded."""

    def decode(self, _largest_bytes: int) -> HostTensor:
        """The tensor itself."""
        return self


def tensor_of(value: object, spec: TensorSpec) -> JsonTensor:
    """The tensor that `value` describes for an input.

    Raises:
        Fault: It does not describe one of that dtype (INVALID_ARGUMENT).
    """
    check_expressible(value, spec)
    shape = shape_of(value)
    data = data_of(value, shape, spec.dtype)
    if data is None:
        raise Fault(Code.INVALID_ARGUMENT, fault_in(value, shape, spec.dtype))
    return JsonTensor(spec.dtype, completed(shape, spec), data)


def check_expressible(value: object, spec: TensorSpec) -> None:
    """Refuses dtypes that no JSON value stands for.

    Raises:
        Fault: INVALID_ARGUMENT for complex numbers, UNIMPLEMENTED for what is no number and no string.
    """
    if spec.dtype == DataType.DT_STRING or (spec.dtype in ELEMENT and spec.dtype not in _COMPLEX):
        return
    text = f"Conversion of JSON Value: {excerpt(value)} to type: {dtype_name(spec.dtype)}"
    if spec.dtype in _COMPLEX:
        raise Fault(Code.INVALID_ARGUMENT, f"{text}: JSON has no complex numbers, gRPC does (input '{spec.alias}')")
    raise Fault(Code.UNIMPLEMENTED, f"{text} (input '{spec.alias}')")


def completed(shape: tuple[int, ...], spec: TensorSpec) -> tuple[int, ...]:
    """A shape that ends in an empty list, where JSON cannot say how it goes on but the signature can."""
    if not shape or shape[-1] or spec.shape is None:
        return shape
    return shape + tuple([size or 0 for size in spec.shape[len(shape) :]])


def data_of(value: object, shape: tuple[int, ...], dtype: int) -> _Data | None:
    """The elements as a tensor has them; None where the value is not of that shape or an element not of that dtype."""
    if dtype == DataType.DT_STRING:
        return _texts(value, shape)
    array = _numbers(value, shape, dtype)
    return None if array is None else array.view(np.uint8).data


def fault_in(value: Any, shape: tuple[int, ...], dtype: int) -> str:
    """What is wrong with a value of which `data_of` has made nothing."""
    for level, size in enumerate(shape):
        if not isinstance(value, list):
            return (
                f"JSON Value: {excerpt(value)} found at incorrect level: {level + 1} in the JSON DOM. "
                f"Expected at level: {len(shape)}"
            )
        if len(value) != size:
            return f"Encountered list at unexpected size: {len(value)} at level: {level} expected size: {size}"
        value = value[first_wrong(value, functools.partial(_are_right, shape[level + 1 :], dtype))]
    if isinstance(value, list):
        return f"Encountered list at unexpected level: {len(shape)} expected < {len(shape)}"
    return _fault_in_element(value, dtype)


def first_wrong(items: list[Any], are_right: Callable[[list[Any]], bool]) -> int:
    """The place of the first item that is not right, where one is known not to be; found by halving."""
    first, end = 0, len(items)
    while end - first > 1:
        middle = (first + end) // 2
        if are_right(items[first:middle]):
            first = middle
        else:
            end = middle
    return first


def is_base64(value: object) -> bool:
    """Whether an object stands for a string."""
    return isinstance(value, dict) and len(value) == 1 and isinstance(value.get(BASE64), str)


def _are_right(shape: tuple[int, ...], dtype: int, items: list[Any]) -> bool:
    """Whether all items are of that shape and dtype."""
    return data_of(items, (len(items), *shape), dtype) is not None


def _fault_in_element(value: object, dtype: int) -> str:
    if isinstance(value, dict) and dtype == DataType.DT_STRING:
        if is_base64(value):
            return "Unable to base64 decode"
        return f"JSON Value: {excerpt(value)} not formatted correctly for base64 data"
    if type(value) in (int, float) and dtype in _LARGEST_INTEGER:
        return f"Cannot convert JSON value: {excerpt(value)} to {dtype_name(dtype)} without loss of precision."
    kind = str(value) if isinstance(value, bool) else _TYPE_NAMES[type(value)]
    return f"JSON Value: {excerpt(value)} Type: {kind} is not of expected type: {dtype_name(dtype)}"


def _numbers(value: object, shape: tuple[int, ...], dtype: int) -> NDArray[Any] | None:
    if dtype == DataType.DT_BOOL:
        return numbers(value, shape, {bool})
    if dtype in _LARGEST_INTEGER:
        array = numbers(value, shape, {int, float}, _LARGEST_INTEGER[dtype])
        return None if array is None else _rounded(array, dtype)
    array = numbers(value, shape, {int})
    return None if array is None else _fitted(array, ELEMENT[dtype])


def _rounded(array: NDArray[Any], dtype: int) -> NDArray[Any] | None:
    """The numbers as floats of another size; None where a finite one would become infinite."""
    with np.errstate(over="ignore"):
        if dtype == DataType.DT_BFLOAT16:
            bits = bits_of(array)
            return None if _has_overflown(array, floats_of(bits)) else bits
        narrow = array.astype(ELEMENT[dtype])
    return None if _has_overflown(array, narrow) else narrow


def _has_overflown(array: NDArray[Any], narrow: NDArray[Any]) -> bool:
    infinite = np.isinf(narrow)
    return bool(infinite.any() and np.isfinite(array[infinite]).any())


def _fitted(array: NDArray[Any], element: np.dtype[Any]) -> NDArray[Any] | None:
    """The integers in another size; None where one does not fit."""
    bounds = np.iinfo(element)
    if array.size and (int(array.min()) < bounds.min or int(array.max()) > bounds.max):
        return None
    return array.astype(element)


def _texts(value: object, shape: tuple[int, ...]) -> list[bytes] | None:
    elements = flattened(value, shape)
    if elements is None:
        return None
    types = set(map(type, elements))
    if types <= {str}:
        return list(map(str.encode, elements))
    if not types <= {str, dict}:
        return None
    texts = [one.encode() if isinstance(one, str) else _unescaped(one) for one in elements]
    return None if None in texts else texts  # type: ignore[return-value]  # mypy does not follow `in`


def _unescaped(value: dict[str, Any]) -> bytes | None:
    """The bytes of a base64 object; as in TF Serving, its padding may be missing and white space in it."""
    if not is_base64(value):
        return None
    text = "".join(value[BASE64].split()).rstrip("=")
    try:
        return binascii.a2b_base64(text + "=" * (-len(text) % 4), strict_mode=True)
    except ValueError:
        return None
