"""bfloat16 ↔ NumPy, which has no such type: the upper 16 bits of a float32, kept as an integer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["bits_of", "floats_of"]

_NOT_A_NUMBER: Final = 0x7FC0


def bits_of(array: NDArray[Any]) -> NDArray[np.uint16]:
    """Numbers rounded to the nearest bfloat16, halfway to the even one; beyond its range they become infinite."""
    single = array.astype(np.float32)
    bits = single.view(np.uint32)
    rounded = ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)
    return np.where(np.isnan(single), np.uint16(_NOT_A_NUMBER), rounded)


def floats_of(bits: NDArray[np.uint16]) -> NDArray[np.float32]:
    """The same numbers as float32, exactly."""
    return (bits.astype(np.uint32) << 16).view(np.float32)
