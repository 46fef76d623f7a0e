"""CRC-32C (Castagnoli, RFC 3720 appendix B.4) in NumPy: some 300 megabytes a second, 10 µs for 1,000 bytes.

A library in C would be ten times as fast, but would be the one dependency with machine code that others do not bring.

The checksum is linear: it is the exclusive or of what each byte contributes at its distance from the end. So a block of
bytes is one lookup for each and one reduction; a few blocks are joined in turn, many in pairs, as a tree.
"""

from __future__ import annotations

from typing import Union

import numpy as np
from numpy.typing import NDArray

__all__ = ["crc32c"]

Buffer = Union[bytes, bytearray, memoryview]
Words = NDArray[np.uint32]

POLYNOMIAL = np.uint32(0x82F63B78)  # bit-reflected
BLOCK = 256  # bytes; its tables, 256 KiB, stay in the processor's second cache
BLOCKS_AT_ONCE = 128
FEW = 32  # blocks
SHORT = 16  # bytes; below, a loop is sooner done than NumPy has begun


def crc32c(content: Buffer) -> int:
    """The checksum of `content`, from 0 to 2**32 - 1."""
    values = np.frombuffer(content, np.uint8)
    if len(values) < SHORT:
        return short(bytes(content))
    blocks = padded(values)
    sums = np.empty(len(blocks), np.uint32)
    at_once = min(len(blocks), BLOCKS_AT_ONCE)
    # Set aside once: the allocator would ask the kernel for fresh pages each time round.
    places, contributed = np.empty((at_once, BLOCK), np.intp), np.empty((at_once, BLOCK), np.uint32)
    for start in range(0, len(blocks), BLOCKS_AT_ONCE):
        some = blocks[start : start + BLOCKS_AT_ONCE]
        np.add(some, PLACES, out=places[: len(some)])
        # "clip" spares `take` a copy; every place is within the table.
        CONTRIBUTIONS.take(places[: len(some)], out=contributed[: len(some)], mode="clip")
        np.bitwise_xor.reduce(contributed[: len(some)], axis=1, out=sums[start : start + len(some)])
    return (joined_in_turn(sums) if len(sums) <= FEW else joined_in_pairs(sums)) ^ 0xFFFFFFFF


def short(content: bytes) -> int:
    register = 0xFFFFFFFF
    for value in content:
        register = (register >> 8) ^ LAST[(register ^ value) & 0xFF]
    return register ^ 0xFFFFFFFF


def padded(values: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Whole blocks: zeros in front contribute nothing, and a register of ones is ones in the first four bytes."""
    blocks = -(-len(values) // BLOCK)
    room = np.zeros(blocks * BLOCK, np.uint8)
    first = len(room) - len(values)
    room[first:] = values
    room[first : first + 4] ^= 0xFF
    return room.reshape(blocks, BLOCK)


def joined_in_turn(sums: Words) -> int:
    """The checksum of blocks in a row, from those of each."""
    first, second, third, fourth = PAST_A_BLOCK
    whole = 0
    for each in sums.tolist():
        whole = each ^ first[whole & 255] ^ second[whole >> 8 & 255] ^ third[whole >> 16 & 255] ^ fourth[whole >> 24]
    return int(whole)


def joined_in_pairs(sums: Words) -> int:
    """The same."""
    onwards = CONTRIBUTIONS.reshape(BLOCK, 256)[:4]
    while len(sums) > 1:
        if len(sums) % 2:
            sums = np.concatenate([np.zeros(1, np.uint32), sums])
        sums = moved(sums[::2], onwards) ^ sums[1::2]
        if len(sums) > 1:
            onwards = moved(onwards, onwards)  # past twice as many bytes
    return int(sums[0])


def moved(sums: Words, onwards: Words) -> Words:
    """What checksums become when so many zero bytes follow as `onwards` stands for.

    That is a table, shape [4, 256]: by byte of a checksum and that byte's value, what becomes of it.
    """
    in_bytes = sums.astype("<u4")[..., np.newaxis].view(np.uint8)
    found: Words = onwards[0][in_bytes[..., 0]]
    for place in range(1, 4):
        found ^= onwards[place][in_bytes[..., place]]
    return found


def contributions() -> Words:
    """By place in a block and value of the byte there, flat: what it adds to the block's checksum."""
    last = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        last = (last >> np.uint32(1)) ^ (last & np.uint32(1)) * POLYNOMIAL
    table = np.empty((BLOCK, 256), np.uint32)
    table[-1] = last
    for place in range(BLOCK - 2, -1, -1):
        later = table[place + 1]
        table[place] = (later >> np.uint32(8)) ^ last[later & np.uint32(0xFF)]
    return table.reshape(-1)


CONTRIBUTIONS = contributions()
PAST_A_BLOCK = CONTRIBUTIONS.reshape(BLOCK, 256)[:4].tolist()
LAST = CONTRIBUTIONS[-256:].tolist()
PLACES = np.arange(BLOCK, dtype=np.intp) * 256
