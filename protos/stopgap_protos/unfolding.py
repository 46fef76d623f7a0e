"""What a serialised message takes in memory once protobuf has read it, told from its bytes alone.

Two bytes of an empty submessage become more than a hundred: so 28 MiB of them fill 2 GiB, before anybody has looked at
what was asked. Measured with protobuf 7's upb, per empty element of a PredictRequest: an input 144 bytes, a dimension
46, a string 32 (its list grows by doubling, and an arena frees nothing).
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, Optional

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

__all__ = ["unfolded_bytes"]

Descriptor = Any  # its class differs between the ways in which protobuf is built

_VARINT, _FIXED_64, _DELIMITED, _GROUP, _GROUP_END, _FIXED_32 = range(6)
_OF_A_MESSAGE: Final = 96
_OF_A_MESSAGES_FIELD: Final = 8
_OF_A_STRING: Final = 32
_OF_AN_UNKNOWN_FIELD: Final = 64
_GROWN: Final = 2
_MOST_FOR_A_BYTE: Final = 128
_PIECE: Final = 1 << 20
_CONTINUED: Final = bytes(range(0x80, 0x100))  # bytes of a number that are not its last

_ELEMENT_BYTES: Final[Mapping[int, int]] = {
    FieldDescriptor.CPPTYPE_BOOL: 1,
    FieldDescriptor.CPPTYPE_INT32: 4,
    FieldDescriptor.CPPTYPE_UINT32: 4,
    FieldDescriptor.CPPTYPE_ENUM: 4,
    FieldDescriptor.CPPTYPE_FLOAT: 4,
    FieldDescriptor.CPPTYPE_INT64: 8,
    FieldDescriptor.CPPTYPE_UINT64: 8,
    FieldDescriptor.CPPTYPE_DOUBLE: 8,
}
_FIXED_WIDTH: Final = frozenset(
    {
        FieldDescriptor.TYPE_FLOAT,
        FieldDescriptor.TYPE_DOUBLE,
        FieldDescriptor.TYPE_FIXED32,
        FieldDescriptor.TYPE_FIXED64,
        FieldDescriptor.TYPE_SFIXED32,
        FieldDescriptor.TYPE_SFIXED64,
    }
)


class _Field(NamedTuple):
    """What one occurrence of a field takes.

    Attributes:
        message: The type of the messages that it holds; None where it holds something else.
        each: Besides the bytes of a string; of a message, without its own fields.
        is_varint: Whether a packed list of it has as many elements as it has bytes, or fewer.
    """

    message: Optional[Descriptor]  # noqa: UP045 - read at run time, by Python 3.9 too
    each: int
    is_text: bool
    is_varint: bool


def unfolded_bytes(kind: type[Message], message: bytes, most: int) -> int:
    """How many bytes a message of a kind takes when it is read; not above what it takes by much, hardly ever below.

    Args:
        message: Serialised. Where it is malformed, so that protobuf will refuse it, what stands before that counts.
        most: Beyond it there is no need to count on. A message that is too short for it is not looked at.
    """
    if len(message) * _MOST_FOR_A_BYTE <= most:
        return len(message) * _MOST_FOR_A_BYTE
    try:
        return _weighed(kind.DESCRIPTOR, message, most)
    except IndexError:  # it ends within a number
        return len(message)


def _weighed(kind: Descriptor, message: bytes, most: int) -> int:  # noqa: C901, PLR0912 - one loop, and a quick one
    fields, position, end = _fields_of(kind), 0, len(message)
    outer: list[tuple[Mapping[int, _Field], int, int]] = []
    weight = 0
    while weight <= most:
        if position >= end:
            if not outer or position > end:
                break
            fields, position, end = outer.pop()
            continue
        tag, position = _number(message, position)
        field, wire_type = fields.get(tag >> 3), tag & 7
        if wire_type == _DELIMITED:
            size, start = _number(message, position)
            position = start + size
            if position > end:
                break
            if field is None:
                weight += _OF_AN_UNKNOWN_FIELD + size
            elif field.message is not None:
                weight += field.each
                if size:
                    outer.append((fields, position, end))
                    fields, position, end = _fields_of(field.message), start, position
            elif field.is_text:
                weight += field.each + size
            else:
                weight += _packed(field, message, start, position, most - weight)
            continue
        weight += _OF_AN_UNKNOWN_FIELD if field is None else field.each
        if wire_type == _VARINT:
            _, position = _number(message, position)
        elif wire_type in (_FIXED_64, _FIXED_32):
            position += 8 if wire_type == _FIXED_64 else 4
        elif wire_type not in (_GROUP, _GROUP_END):
            break
    return weight


def _packed(field: _Field, message: bytes, start: int, end: int, left: int) -> int:
    """What a packed list takes: counted only where a number in each byte would be too many."""
    if not field.is_varint:
        return end - start
    if (end - start) * field.each <= left:
        return (end - start) * field.each
    pieces = (message[place : min(place + _PIECE, end)] for place in range(start, end, _PIECE))
    return field.each * sum(len(piece.translate(None, _CONTINUED)) for piece in pieces)


def _number(message: bytes, position: int) -> tuple[int, int]:
    """The varint at a position, and where it ends."""
    byte = message[position]
    position += 1
    if byte < 0x80:
        return byte, position
    number, shift = byte & 0x7F, 7
    while byte > 0x7F and shift < 70:
        byte = message[position]
        position += 1
        number |= (byte & 0x7F) << shift
        shift += 7
    return number, position


@functools.lru_cache(maxsize=256)
def _fields_of(kind: Descriptor) -> Mapping[int, _Field]:
    return {field.number: _field(field) for field in kind.fields}


def _field(field: FieldDescriptor) -> _Field:
    is_text = field.cpp_type == FieldDescriptor.CPPTYPE_STRING
    if field.message_type is not None:
        each = _OF_A_MESSAGE + _OF_A_MESSAGES_FIELD * len(field.message_type.fields)
    elif is_text:
        each = _OF_A_STRING
    else:
        each = _GROWN * _ELEMENT_BYTES[field.cpp_type]
    return _Field(field.message_type, each, is_text, field.type not in _FIXED_WIDTH)
