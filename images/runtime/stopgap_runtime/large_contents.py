"""Takes the large `tensor_content`s out of a serialised PredictRequest, so that megabytes are not copied to be parsed.

Protobuf copies each of them twice, into its message and out of it. What is left when they are gone is small, and
protobuf parses it and judges it; here nothing is refused. Where the bytes are not of the plain form that serialisers
write, all of them are left to protobuf.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple, Union

from stopgap_protos.serving_pb2 import PredictRequest
from stopgap_protos.tensor_pb2 import TensorProto

from .varints import length_delimited

__all__ = ["Parted", "parted"]

_LARGE: Final = 64 << 10  # below, copying costs less than looking
_MOST_FIELDS: Final = 1000  # of one message; who sends more is not worth a loop in Python
_INPUTS: Final = PredictRequest.INPUTS_FIELD_NUMBER
_KEY, _VALUE = 1, 2  # of every protobuf map entry
_CONTENT: Final = TensorProto.TENSOR_CONTENT_FIELD_NUMBER
_VARINT, _FIXED_64, _DELIMITED, _FIXED_32 = 0, 1, 2, 5  # wire types
_FIXED_BYTES: Final = {_FIXED_64: 8, _FIXED_32: 4}
_VARINT_BYTES: Final = 10

Buffer = Union[bytes, memoryview]


class Parted(NamedTuple):
    """A request in two parts.

    Attributes:
        message: The request without the large contents.
        contents: Those, by the input's alias.
        inputs: How many there are, unless one is given twice: then protobuf alone knows which counts.
    """

    message: bytes
    contents: dict[str, memoryview]
    inputs: int


class _Field(NamedTuple):
    number: int
    wire_type: int
    value: memoryview
    whole: memoryview


class _NotPlain(Exception):
    """To be left to protobuf."""


def parted(message: memoryview) -> Parted | None:
    """The request in two parts; None where there is nothing to take out, or no telling what."""
    if len(message) <= _LARGE:
        return None
    try:
        return _parted(message)
    except _NotPlain:
        return None


def _parted(message: memoryview) -> Parted | None:
    left: list[Buffer] = []
    contents: dict[str, memoryview] = {}
    inputs = 0
    for field in _fields(message):
        inputs += field.number == _INPUTS
        if field.number == _INPUTS and len(field.value) > _LARGE:
            alias, content, rest = _parted_entry(field)
            contents[alias] = content
            left += rest
        else:
            left.append(field.whole)
    return Parted(b"".join(left), contents, inputs) if contents else None


def _parted_entry(entry: _Field) -> tuple[str, memoryview, Sequence[Buffer]]:
    """An input's alias, its content, and its entry without that."""
    fields = {field.number: field for field in _fields(_delimited(entry))}
    if fields.keys() != {_KEY, _VALUE} or len(entry.value) != sum(len(field.whole) for field in fields.values()):
        raise _NotPlain
    tensor = list(_fields(_delimited(fields[_VALUE])))
    contents = [_delimited(field) for field in tensor if field.number == _CONTENT]
    if len(contents) != 1:
        raise _NotPlain
    value = b"".join(field.whole for field in tensor if field.number != _CONTENT)
    rest = (fields[_KEY].whole, length_delimited(_VALUE, len(value)), value)
    return _text(_delimited(fields[_KEY])), contents[0], (length_delimited(_INPUTS, sum(map(len, rest))), *rest)


def _fields(message: memoryview) -> Iterator[_Field]:
    """A message's fields, one after the other."""
    start = 0
    for _ in range(_MOST_FIELDS):
        if start == len(message):
            return
        tag, position = _varint(message, start)
        end = _end(message, position, tag & 7)
        if tag & 7 == _DELIMITED:
            _, position = _varint(message, position)
        yield _Field(tag >> 3, tag & 7, message[position:end], message[start:end])
        start = end
    raise _NotPlain


def _end(message: memoryview, position: int, wire_type: int) -> int:
    """Where the value ends that begins at `position`."""
    if wire_type == _VARINT:
        return _varint(message, position)[1]
    if wire_type == _DELIMITED:
        size, position = _varint(message, position)
    elif wire_type in _FIXED_BYTES:
        size = _FIXED_BYTES[wire_type]
    else:
        raise _NotPlain  # a group
    if position + size > len(message):
        raise _NotPlain
    return position + size


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    """The number that begins at `position`, and where it ends."""
    number = 0
    for place, byte in enumerate(message[position : position + _VARINT_BYTES]):
        number |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            if place and not byte:  # longer than it need be: protobuf takes some of those and refuses others
                raise _NotPlain
            return number, position + place + 1
    raise _NotPlain


def _delimited(field: _Field) -> memoryview:
    if field.wire_type != _DELIMITED:
        raise _NotPlain
    return field.value


def _text(content: memoryview) -> str:
    try:
        return str(content, "utf-8")
    except UnicodeDecodeError as error:
        raise _NotPlain from error
