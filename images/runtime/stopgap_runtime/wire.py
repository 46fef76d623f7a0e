"""Protobuf's wire format where a message is put together by hand, around buffers that are not to be copied."""

from collections.abc import Sequence
from typing import Final

__all__ = ["length_delimited", "varint"]

_LENGTH_DELIMITED: Final = 2


def varint(value: int) -> bytes:
    """A non-negative integer in seven-bit groups, the lowest first."""
    groups = bytearray()
    while value > 0x7F:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    groups.append(value)
    return bytes(groups)


def length_delimited(field: int, pieces: Sequence[bytes]) -> Sequence[bytes]:
    """A string, bytes or message field whose content is the concatenation of `pieces`."""
    header = varint(field << 3 | _LENGTH_DELIMITED) + varint(sum(map(len, pieces)))
    return (header, *pieces)
