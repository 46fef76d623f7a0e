"""Changes to valid inputs: of their bytes, of their words, and of a serialised message's fields."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from stopgap_runtime.varints import varint

__all__ = ["LONGEST", "mutated"]

_VARINT, _FIXED_64, _DELIMITED, _FIXED_32 = 0, 1, 2, 5
_NUMBERS = (0, 1, 2, 127, 128, 255, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**63 - 1, 2**63, 2**64 - 1)
LONGEST = 1 << 16


def mutated(data: bytes, random: Random, tokens: Sequence[bytes] = (), *, is_protobuf: bool = False) -> bytes:
    """`data` after one to four changes; never longer than 64 KiB."""
    changes: list[Callable[[bytes, Random], bytes]] = [_flip, _cut, _repeat, _put_number]
    if tokens:
        changes += [lambda data, random: _inserted(data, random, random.choice(tokens))] * 3
    if is_protobuf:
        changes += [_change_field] * 6
    for _ in range(random.randint(1, 4)):
        data = random.choice(changes)(data, random)[:LONGEST]
    return data


def _flip(data: bytes, random: Random) -> bytes:
    if not data:
        return bytes([random.randrange(256)])
    place = random.randrange(len(data))
    return data[:place] + bytes([random.choice((random.randrange(256), 0, 255, data[place] ^ 1))]) + data[place + 1 :]


def _cut(data: bytes, random: Random) -> bytes:
    start, end = _span(data, random)
    return data[:start] + data[end:]


def _repeat(data: bytes, random: Random) -> bytes:
    start, end = _span(data, random)
    return data[:end] + data[start:end] * random.choice((1, 2, 9, 300)) + data[end:]


def _put_number(data: bytes, random: Random) -> bytes:
    number = random.choice(_NUMBERS)
    return _inserted(data, random, random.choice((varint(number), str(number).encode(), b"%x" % number)))


def _inserted(data: bytes, random: Random, piece: bytes) -> bytes:
    place = random.randint(0, len(data))
    return data[:place] + piece + data[place + random.choice((0, 0, len(piece))) :]


def _span(data: bytes, random: Random) -> tuple[int, int]:
    start = random.randint(0, len(data))
    return start, min(len(data), start + random.choice((1, 2, 8, 64, len(data))))


# --- Fields of a message -------------------------------------------------------------------------------------------


def _change_field(data: bytes, random: Random) -> bytes:
    """One field doubled, dropped, moved, given another number, type or value, or changed within."""
    fields = _fields(data)
    if not fields:
        return data
    place = random.randrange(len(fields))
    number, kind, value = fields[place]
    action = random.randrange(8)
    if action == 0:
        fields.insert(random.randint(0, len(fields)), fields[place])
    elif action == 1:
        del fields[place]
    elif action == 2:
        fields[place] = (random.choice((number + 1, number - 1, random.randint(0, 40))), kind, value)
    elif kind == _VARINT:
        fields[place] = (number, kind, varint(random.choice(_NUMBERS)))
    elif kind == _DELIMITED:
        inner = _change_field(value, random) if action > 3 else _flip(value, random)
        fields[place] = (number, kind, inner)
    else:
        fields[place] = (number, kind, _flip(value, random)[: len(value)])
    return b"".join(_written(*field) for field in fields)


def _written(number: int, kind: int, value: bytes) -> bytes:
    size = varint(len(value)) if kind == _DELIMITED else b""
    return varint(max(0, number) << 3 | kind) + size + value


def _fields(data: bytes) -> list[tuple[int, int, bytes]]:
    """The fields of a message, as number, wire type and value; empty where it is none."""
    fields, position = [], 0
    while position < len(data):
        tag, position = _number(data, position)
        kind, start = tag & 7, position
        size = {_FIXED_64: 8, _FIXED_32: 4}.get(kind, 0)
        if kind == _DELIMITED:
            size, start = _number(data, position)
        elif kind == _VARINT:
            size = _number(data, position)[1] - position
        if kind not in (_VARINT, _FIXED_64, _DELIMITED, _FIXED_32) or start + size > len(data):
            return []
        fields.append((tag >> 3, kind, data[start : start + size]))
        position = start + size
    return fields


def _number(data: bytes, position: int) -> tuple[int, int]:
    number = shift = 0
    while position < len(data) and shift < 70:
        number |= (data[position] & 0x7F) << shift
        position += 1
        if data[position - 1] < 0x80:
            break
        shift += 7
    return number, position
