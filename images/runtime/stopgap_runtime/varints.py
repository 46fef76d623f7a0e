"""Protobuf's variable-length integers: seven bits a byte, the lowest first; the high bit says that more follow."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["length_delimited", "packed_varints", "varint"]

_CHUNK: Final = 1 << 16  # numbers encoded at once, so that the work stays in the processor's cache
_FEW: Final = 16  # up to here Python is quicker than NumPy's fixed costs
_64_BITS: Final = 2**64 - 1


_ONE_BYTE: Final = tuple(bytes([number]) for number in range(0x80))
_LENGTH_DELIMITED: Final = 2  # the wire type of strings, bytes, messages and packed numbers


def varint(number: int) -> bytes:
    """One non-negative number."""
    if number < 0x80:
        return _ONE_BYTE[number]
    groups = bytearray()
    while number > 0x7F:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    groups.append(number)
    return bytes(groups)


@functools.lru_cache(maxsize=1024)
def length_delimited(field: int, size: int) -> bytes:
    """What stands before the `size` bytes of a field of strings, bytes, messages or packed numbers."""
    return varint(field << 3 | _LENGTH_DELIMITED) + varint(size)


def packed_varints(numbers: NDArray[np.integer[Any]]) -> bytes:
    """Many numbers, one behind the other; a negative one as the 64 bits of its two's complement, in ten bytes."""
    if len(numbers) <= _FEW:
        return b"".join([varint(number & _64_BITS) for number in numbers.tolist()])
    if numbers.min() >= 0 and numbers.max() < 0x80:
        return numbers.astype(np.uint8).tobytes()
    return b"".join(_chunk(numbers[start : start + _CHUNK]) for start in range(0, len(numbers), _CHUNK))


def _chunk(numbers: NDArray[np.integer[Any]]) -> bytes:
    bits = numbers.astype(np.int64 if numbers.dtype.kind == "i" else np.uint64).view(np.uint64)
    width = max(1, -(-int(bits.max()).bit_length() // 7))
    groups = np.empty((len(bits), width), np.uint8)
    belongs = np.ones((len(bits), width), np.bool_)
    for place in range(width):
        rest = bits >> np.uint64(7 * place)
        groups[:, place] = rest & np.uint64(0x7F)
        if place:
            belongs[:, place] = rest != 0
            groups[:, place - 1] |= belongs[:, place].view(np.uint8) << np.uint8(7)
    return groups[belongs].tobytes()
