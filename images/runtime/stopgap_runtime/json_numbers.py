"""Nested lists of numbers → NumPy arrays, at C's speed, with every element's type and every list's length looked at.

The quick way is a detour: `marshal`, the interpreter's own serialiser, walks through nested lists faster than NumPy
does, and puts a letter for its type before each value. Where all values are of one type and all lists as long as their
siblings, every list and every value is written with as many bytes as the others, and NumPy can look at all of them at
once. Whatever was not written like that (integers among floats, large integers, another Python's other format) goes the
long way, level by level.
"""

from __future__ import annotations

import itertools
import marshal
import math
from collections.abc import Mapping, Set
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["LARGEST_RANK", "flattened", "numbers", "shape_of"]

LARGEST_RANK: Final = 32
"""More than any model has. NumPy takes 64; TensorFlow 254, and ends the process over more."""

_MANY: Final = 512  # elements, from which on the detour is shorter
_VERSION: Final = 2  # of marshal's format: numbers in binary already, references not yet
_HEAD_BYTES: Final = 5  # before a list's items: a letter, and their number in four bytes
_WRITTEN: Final[Mapping[type, tuple[int, np.dtype[Any]]]] = {
    int: (ord("i"), np.dtype([("letter", "u1"), ("number", "<i4")])),  # larger ones have another letter
    float: (ord("g"), np.dtype([("letter", "u1"), ("number", "<f8")])),
}


def shape_of(value: object) -> tuple[int, ...]:
    """The shape of a nested list if all its lists are as long as the first of their level; () for what is no list.

    It ends with the first empty list, and after `LARGEST_RANK` sizes in any case.
    """
    shape: list[int] = []
    while isinstance(value, list) and len(shape) < LARGEST_RANK:
        shape.append(len(value))
        if not value:
            break
        value = value[0]
    return tuple(shape)


def numbers(
    value: object, shape: tuple[int, ...], kinds: Set[type], largest_integer: int | None = None
) -> NDArray[Any] | None:
    """The elements of a nested list, one behind the other.

    Args:
        shape: What `shape_of` says of it.
        kinds: The types that an element may have, of bool, int and float.
        largest_integer: Integers may be no further from zero.

    Returns:
        float64 where an element is a float; else int32, int64, uint64 or bool. None where the list is not of that
        shape, an element is not of those types, or no such array can hold them all.
    """
    array = _of_one_type(value, shape, kinds)
    if array is None:
        return _of_levels(value, shape, kinds, largest_integer)
    return None if _is_beyond(array, largest_integer) else array


def flattened(value: object, shape: tuple[int, ...]) -> list[Any] | None:
    """The elements of a nested list in one list; None where it is not of that shape."""
    level: list[Any] = [value]
    for size in shape:
        if set(map(type, level)) != {list} or set(map(len, level)) != {size}:
            return None
        level = list(itertools.chain.from_iterable(level))
    return level


def _of_levels(
    value: object, shape: tuple[int, ...], kinds: Set[type], largest_integer: int | None
) -> NDArray[Any] | None:
    elements = flattened(value, shape)
    if elements is None or not set(map(type, elements)) <= kinds:
        return None
    array = _array_of(elements)
    if array is None or _is_beyond(array, largest_integer):
        return None
    if largest_integer is not None and array.dtype.kind == "f":
        far = np.flatnonzero(np.abs(array) > largest_integer).tolist()
        return None if any(type(elements[place]) is int for place in far) else array
    return array


def _array_of(elements: list[Any]) -> NDArray[Any] | None:
    types = set(map(type, elements))
    if float in types or not types:
        return np.array(elements, np.float64)
    if bool in types:
        return np.array(elements, np.bool_)
    for dtype in (np.int64, np.uint64):
        with suppress(OverflowError):
            return np.array(elements, dtype)
    return None


def _is_beyond(array: NDArray[Any], largest_integer: int | None) -> bool:
    if largest_integer is None or array.dtype.kind not in "iu":
        return False
    return max(int(array.max()), -int(array.min())) > largest_integer


def _of_one_type(nested: Any, shape: tuple[int, ...], kinds: Set[type]) -> NDArray[Any] | None:
    """The elements by the detour, where it is worth it and can be taken; None says nothing about them."""
    if math.prod(shape) < _MANY:
        return None
    first = nested
    for _ in shape:
        first = first[0]
    if type(first) not in kinds or type(first) not in _WRITTEN:
        return None
    letter, form = _WRITTEN[type(first)]
    values = _without_heads(marshal.dumps(nested, _VERSION), shape, form.itemsize)
    if values is None or not (values.view(form)["letter"] == letter).all():
        return None
    return values.view(form)["number"]


def _without_heads(written: bytes, shape: tuple[int, ...], value_bytes: int) -> NDArray[np.uint8] | None:
    """The bytes of all values, if every list has its place and its length."""
    expected_bytes = value_bytes
    for size in reversed(shape):
        expected_bytes = _HEAD_BYTES + size * expected_bytes
    if len(written) != expected_bytes:
        return None
    items = np.frombuffer(written, np.uint8)
    count = 1
    for size in shape:
        lists = items.reshape(count, -1)
        head = b"[" + size.to_bytes(_HEAD_BYTES - 1, "little")
        if not all((lists[:, place] == byte).all() for place, byte in enumerate(head)):
            return None
        items = np.ascontiguousarray(lists[:, _HEAD_BYTES:]).ravel()
        count *= size
    return items
