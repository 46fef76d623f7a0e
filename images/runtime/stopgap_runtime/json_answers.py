"""A prediction's outputs → its JSON answer, by rows or by columns, as TF Serving 1.15 writes it (util/json_tensor.cc).

Floats get the shortest digits that say them, whole ones a `.0`, and NaN and Infinity are written as such, which is no
strict JSON. Strings of an output whose alias ends in `_bytes` go out as {"b64": …}; beyond TF Serving, so does every
string that is not UTF-8, and half and bfloat16 are numbers like others. An empty batch is `[]`, as in later versions.
"""

from __future__ import annotations

import binascii
import itertools
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from stopgap_protos.tensor_pb2 import DataType

from .bfloat16 import floats_of
from .faults import Code, Fault
from .host_tensor import ELEMENT, HostTensor, array_of, dtype_name
from .json_document import verbatim, written
from .json_numbers import LARGEST_RANK
from .json_requests import Form
from .json_tensors import BASE64

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .signatures import Signature

__all__ = ["check_writable", "write_outputs"]

_BYTES_SUFFIX: Final = "_bytes"
_MOST_EMPTY_LISTS: Final = 1 << 24  # a tensor without an element has nothing that would bound its text


def check_writable(signature: Signature) -> None:
    """Refuses a signature whose answer JSON has no words for, before it is run.

    Raises:
        Fault: An output is of complex numbers, or of no numbers and no strings (INVALID_ARGUMENT).
    """
    for spec in signature.outputs.values():
        if spec.dtype != DataType.DT_INVALID:  # the model's file may leave it open
            _check_dtype(spec.alias, spec.dtype)


def write_outputs(outputs: Mapping[str, HostTensor], form: Form) -> bytes:
    """The answer's body.

    Raises:
        Fault: The outputs cannot be written, or not by rows, since they are not of one batch (INVALID_ARGUMENT).
    """
    if form is Form.ROWS:
        return written({"predictions": _rows(outputs)})
    columns = {alias: _writable(_elements(alias, tensor)) for alias, tensor in outputs.items()}
    return written({"outputs": columns if len(columns) > 1 else next(iter(columns.values()))})


def _rows(outputs: Mapping[str, HostTensor]) -> Any:
    _check_batches(outputs)
    if len(outputs) == 1:
        ((alias, tensor),) = outputs.items()
        return _writable(_elements(alias, tensor))
    columns = [_items(_elements(alias, tensor)) for alias, tensor in outputs.items()]
    return [dict(zip(outputs, row, strict=True)) for row in zip(*columns, strict=True)]


def _check_batches(outputs: Mapping[str, HostTensor]) -> None:
    batch = None
    for alias, tensor in outputs.items():
        if not tensor.shape:
            raise Fault(Code.INVALID_ARGUMENT, f"Tensor name: {alias} has no shape information ")
        if batch is not None and batch != tensor.shape[0]:
            raise Fault(
                Code.INVALID_ARGUMENT,
                f"Tensor name: {alias} has inconsistent batch size: {tensor.shape[0]} expecting: {batch}",
            )
        batch = tensor.shape[0]


def _check_dtype(alias: str, dtype: int) -> None:
    if dtype == DataType.DT_STRING or (dtype in ELEMENT and ELEMENT[dtype].kind != "c"):
        return
    reason = ": JSON has no complex numbers, gRPC does" if dtype in ELEMENT else ""
    raise Fault(
        Code.INVALID_ARGUMENT,
        f"Failed to write JSON value for tensor type: {dtype_name(dtype)}{reason} (output '{alias}')",
    )


def _elements(alias: str, tensor: HostTensor) -> NDArray[Any]:
    """The tensor as an array of what its elements are written as: numbers, texts, or objects for bytes."""
    _check_dtype(alias, tensor.dtype)
    if len(tensor.shape) > LARGEST_RANK:
        raise Fault(
            Code.INVALID_ARGUMENT,
            f"Failed to write JSON value: output '{alias}' has {len(tensor.shape)} dimensions, over {LARGEST_RANK}",
        )
    if 0 in tensor.shape and math.prod(tensor.shape[: tensor.shape.index(0)]) > _MOST_EMPTY_LISTS:
        raise Fault(
            Code.RESOURCE_EXHAUSTED, f"output '{alias}' has no element, in more lists than JSON can be written of"
        )
    if isinstance(tensor.data, list):
        texts = np.empty(len(tensor.data), object)
        texts[:] = _texts(tensor.data, as_bytes=alias.endswith(_BYTES_SUFFIX))
        return texts.reshape(tensor.shape)
    numbers: NDArray[Any] = array_of(tensor)
    return floats_of(numbers) if tensor.dtype == DataType.DT_BFLOAT16 else numbers


def _texts(strings: list[bytes], *, as_bytes: bool) -> list[str | dict[str, str]]:
    if as_bytes:
        return list(map(_base64, strings))
    try:
        return list(map(bytes.decode, strings))
    except UnicodeDecodeError:
        return list(map(_text, strings))


def _text(string: bytes) -> str | dict[str, str]:
    try:
        return string.decode()
    except UnicodeDecodeError:
        return _base64(string)


def _base64(string: bytes) -> dict[str, str]:
    return {BASE64: binascii.b2a_base64(string, newline=False).decode()}


def _items(array: NDArray[Any]) -> list[Any]:
    """What is writable for each row."""
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        return list(map(_writable, array))
    return array.tolist() if array.dtype == object else list(array)


def _writable(array: NDArray[Any]) -> Any:
    """What is written as it should be: of NaN and Infinity orjson would make null."""
    if array.dtype == object:
        return array.tolist()
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        return verbatim(_with_words(array))
    return array if array.ndim else array[()]


def _with_words(array: NDArray[Any]) -> bytes:
    """The JSON of some floats, with words where orjson writes null."""
    strange = array[~np.isfinite(array)]
    words: list[bytes] = np.select([np.isnan(strange), strange > 0], [b"NaN", b"Infinity"], b"-Infinity").tolist()
    if not array.ndim:
        return words[0]
    pieces = written(array).split(b"null")
    return b"".join(itertools.chain.from_iterable(itertools.zip_longest(pieces, words, fillvalue=b"")))
