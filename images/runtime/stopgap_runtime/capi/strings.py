"""String tensors in the two forms that TensorFlow keeps them in; pure bytes, but for the addresses of long strings.

Up to 2.3 (tensorflow/c/tf_tensor.h, TF_STRING): a table of 8-byte offsets, then each string behind its length as a
varint. From 2.4 (tensorflow/core/platform/ctstring_internal.h): an array of 24-byte TF_TString objects, whose lowest
two bits of the size say how the text is kept.
"""

from __future__ import annotations

import ctypes
import itertools
import struct
from collections.abc import Sequence
from typing import Final

import numpy as np

from ..faults import Code, Fault
from ..varints import varint

__all__ = ["decode_objects", "decode_table", "encode_table"]

_OFFSET: Final = np.dtype("<u8")
_SMALL, _LARGE, _OFFSET_KIND, _VIEW = range(4)
_OBJECT: Final = struct.Struct("<QQQ")
_KIND_BITS: Final = 2
_SHORT_VARINTS: Final = tuple(varint(number) for number in range(256))


def encode_table(strings: Sequence[bytes]) -> bytes:
    """Strings as a table of offsets."""
    lengths = list(map(len, strings))
    headers = [_SHORT_VARINTS[length] if length < len(_SHORT_VARINTS) else varint(length) for length in lengths]
    offsets = np.zeros(len(strings), _OFFSET)
    np.cumsum([length + len(header) for length, header in zip(lengths[:-1], headers)], out=offsets[1:])
    return b"".join([offsets.tobytes(), *itertools.chain.from_iterable(zip(headers, strings))])


def decode_table(content: bytes, count: int) -> list[bytes]:
    """The strings of a table of offsets.

    Raises:
        Fault: An offset or a length points outside (INTERNAL).
    """
    start = count * _OFFSET.itemsize
    if start > len(content):
        raise Fault(Code.INTERNAL, f"a string tensor of {count} elements has only {len(content)} bytes")
    return [_string_at(content, start + offset) for offset in np.frombuffer(content, _OFFSET, count).tolist()]


def _string_at(content: bytes, position: int) -> bytes:
    length = shift = 0
    for place in range(position, min(position + 5, len(content))):
        length |= (content[place] & 0x7F) << shift
        shift += 7
        if content[place] < 0x80:
            end = place + 1 + length
            if end <= len(content):
                return content[place + 1 : end]
            break
    raise Fault(Code.INTERNAL, "a string tensor points outside of itself")


def decode_objects(address: int, count: int) -> list[bytes]:
    """The strings of an array of TF_TString objects in TensorFlow's memory."""
    content = ctypes.string_at(address, count * _OBJECT.size)
    return [_object_at(content, address, place) for place in range(0, len(content), _OBJECT.size)]


def _object_at(content: bytes, address: int, place: int) -> bytes:
    kind = content[place] & 3
    if kind == _SMALL:
        return content[place + 1 : place + 1 + (content[place] >> _KIND_BITS)]
    size, second, third = _OBJECT.unpack_from(content, place)
    if kind == _LARGE:  # size, capacity, pointer
        return ctypes.string_at(third, size >> _KIND_BITS)
    if kind == _VIEW:  # size, pointer
        return ctypes.string_at(second, size >> _KIND_BITS)
    # A 32-bit size, then the distance from the object itself.
    return ctypes.string_at(address + place + (size >> 32), (size & 0xFFFFFFFF) >> _KIND_BITS)
