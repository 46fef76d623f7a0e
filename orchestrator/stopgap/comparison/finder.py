"""Proposes how a legacy model's names and class order become its successor's; a person decides.

Nothing is taken for granted: what is proposed says how sure it is, and an order of classes is found on one half of the
answers and measured on the other.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Optional

import numpy as np

from stopgap.comparison.classes import chosen
from stopgap.comparison.pairs import Answer
from stopgap.comparison.values import Floats, as_array, flat, numbers

__all__ = ["ClassOrder", "Match", "Spec", "class_order", "matches"]

LEAST_SURE = 0.35
SAME_NAME, SAME_DTYPE, SAME_SHAPE = 0.5, 0.2, 0.3
MOST_CLASSES = 2000
FEWEST_ROWS = 20
TEXT = "string"


@dataclass(frozen=True)
class Spec:
    """An input or output as a signature tells it.

    Attributes:
        shape: None for a size that is not known, and as a whole where even the rank is not.
    """

    name: str
    dtype: str
    shape: Optional[tuple[Optional[int], ...]]  # noqa: UP045 - read by Python 3.9 too


@dataclass(frozen=True)
class Match:
    """One of the legacy model's names and what it probably is for the candidate.

    Attributes:
        candidate: Empty where nothing is like it.
        sure: From 0 to 1: how much of name, dtype and shape is alike.
        dtype: What the map has to make of it: of an output the legacy model's, of an input the candidate's.
        shape: Likewise: `squeeze` or `expand`.
    """

    legacy: str
    candidate: str
    sure: float
    dtype: str = ""
    shape: str = ""

    @property
    def change(self) -> str:
        """What the map has to do besides renaming, in words."""
        return ", ".join(filter(None, (f"dtype {self.dtype}" if self.dtype else "", self.shape)))


@dataclass(frozen=True)
class ClassOrder:
    """The order of classes under which the candidate agrees most.

    Attributes:
        classes: For a map: which of the candidate's classes each of the legacy model's is.
        before: Top-1 agreement as it is, on the rows that the order was not found on.
        after: The same in this order.
        rows: How many those are.
    """

    classes: tuple[int, ...]
    before: float
    after: float
    rows: int

    @property
    def differs(self) -> bool:
        return self.classes != tuple(range(len(self.classes)))

    def __str__(self) -> str:
        if not self.differs:
            return f"The class order is the same: {self.before:.1%} agree."
        return f"The class order differs: this permutation gives {self.after:.1%} instead of {self.before:.1%}."


def matches(legacy: Sequence[Spec], candidate: Sequence[Spec], *, inputs: bool = False) -> tuple[Match, ...]:
    """For each of the legacy model's, the most alike first; each of the candidate's is given away once.

    Args:
        inputs: They are inputs: a map makes the candidate's of the legacy model's, and not the reverse.
    """
    scored = sorted(
        ((likeness(one, other), i, j) for i, one in enumerate(legacy) for j, other in enumerate(candidate)),
        key=lambda each: (-each[0], each[1], each[2]),
    )
    found: dict[int, Match] = {}
    given: set[int] = set()
    for score, i, j in scored:
        # A single one on either side leaves no choice.
        if i in found or j in given or (score < LEAST_SURE and len(legacy) * len(candidate) > 1):
            continue
        wanted, given_is = (candidate[j], legacy[i]) if inputs else (legacy[i], candidate[j])
        change = (dtype_for(wanted, given_is), shape_for(wanted, given_is))
        found[i] = Match(legacy[i].name, candidate[j].name, score, *change)
        given.add(j)
    return tuple(found.get(i, Match(spec.name, "", 0.0)) for i, spec in enumerate(legacy))


def likeness(one: Spec, other: Spec) -> float:
    names = SequenceMatcher(None, simple(one.name), simple(other.name), autojunk=False).ratio()
    kinds = 1.0 if one.dtype == other.dtype else 0.5 if kind_of(one.dtype) == kind_of(other.dtype) else 0.0
    return SAME_NAME * names + SAME_DTYPE * kinds + SAME_SHAPE * shapes_alike(one.shape, other.shape)


def simple(name: str) -> str:
    """`scores:0` and `Scores` are the same name."""
    return re.sub(r"[^a-z0-9]", "", re.sub(r":\d+$", "", name).lower())


def kind_of(dtype: str) -> str:
    return re.sub(r"\d+$", "", dtype.lower()).lstrip("u")


def shapes_alike(one: tuple[int | None, ...] | None, other: tuple[int | None, ...] | None) -> float:
    if one is None or other is None:
        return 0.5
    if len(one) != len(other):
        return 0.7 if squeezed(one) == squeezed(other) else 0.0
    return float(all(None in (a, b) or a == b for a, b in zip(one, other)))


def squeezed(shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
    return (*shape[:1], *(size for size in shape[1:] if size != 1))


def dtype_for(wanted: Spec, given: Spec) -> str:
    """Empty where nothing is to be done, or nothing can be: no text becomes a number."""
    return "" if wanted.dtype == given.dtype or TEXT in (wanted.dtype, given.dtype) else wanted.dtype


def shape_for(wanted: Spec, given: Spec) -> str:
    if wanted.shape is None or given.shape is None or squeezed(wanted.shape) != squeezed(given.shape):
        return ""
    # All ones go, or one comes to the end: nothing else is offered.
    if len(wanted.shape) < len(given.shape) and wanted.shape == squeezed(wanted.shape):
        return "squeeze"
    return "expand" if (*given.shape, 1) == wanted.shape else ""


def class_order(legacy: Sequence[Answer], candidate: Sequence[Answer], output: str) -> ClassOrder | None:
    """From the answers to the same requests, the candidate's under the legacy model's names.

    Returns:
        None where there are too few rows, or the outputs are no scores of the same classes.
    """
    ours, theirs = [], []
    for one, other in zip(legacy, candidate):
        pair = [scores(answer.outputs, output) for answer in (one, other)]
        if pair[0] is not None and pair[1] is not None and pair[0].shape == pair[1].shape:
            ours.append(pair[0])
            theirs.append(pair[1])
    widths = {each.shape[1] for each in ours}
    if len(widths) != 1 or not 2 <= max(widths) <= MOST_CLASSES:
        return None
    known, found = np.concatenate(ours), np.concatenate(theirs)
    if len(known) < FEWEST_ROWS:
        return None
    # Every other row: neither half is the earlier one.
    order = assigned(known[::2], found[::2])
    known, found = known[1::2], found[1::2]
    before = float((chosen(known) == chosen(found)).mean())
    after = float((chosen(known) == chosen(found[:, order])).mean())
    if after <= before:
        order, after = np.arange(known.shape[1]), before
    return ClassOrder(tuple(int(each) for each in order), before, after, len(known))


def scores(outputs: Mapping[str, object] | None, output: str) -> Floats | None:
    array = as_array((outputs or {}).get(output))
    found = None if array is None or array.ndim < 2 else numbers(array)
    return None if found is None or not np.isfinite(found).all() else flat(found)


def assigned(known: Floats, found: Floats) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """For each known column the found one that is nearest in its values, each given away once, the surest first."""
    with np.errstate(over="ignore", invalid="ignore"):
        apart = (known**2).sum(axis=0)[:, np.newaxis] + (found**2).sum(axis=0) - 2 * known.T @ found
    apart = np.nan_to_num(apart, nan=np.inf, posinf=np.inf)
    order = np.full(len(apart), -1, np.int64)
    given = np.zeros(len(apart), np.bool_)
    for place in np.argsort(apart, axis=None, kind="stable"):
        one, other = divmod(int(place), len(apart))
        if order[one] < 0 and not given[other]:
            order[one], given[other] = other, True
    return order
