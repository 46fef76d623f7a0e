"""How far a candidate's numbers are from the legacy model's, by element: for the same weights in new code.

An element is outside when |c - r| > max(k * noise floor, atol + rtol * |r|), r being the legacy model's. NaN is equal
to NaN alone and an infinity to the one of the same sign; what is no number must be exactly equal.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stopgap.comparison.pairs import Pair
from stopgap.comparison.sight import SHARE, Evidence, Sight
from stopgap.comparison.values import Floats, as_array, flat, is_text, numbers, rows_of, text

__all__ = ["Close", "Errors", "Floor", "Tolerance", "errors_of", "noise_floor"]


@dataclass(frozen=True)
class Tolerance:
    """What an element may be off by.

    Attributes:
        atol: In the output's own unit.
        rtol: As a share of the legacy model's value.
        k: Multiple of the noise floor.
        denominator: The least size of the legacy model's value that a relative error is told against.
    """

    atol: float = 1e-6
    rtol: float = 1e-5
    k: float = 10.0
    denominator: float = 1e-6


@dataclass(frozen=True)
class Errors:
    """One output of one request.

    Attributes:
        outside: Shape [rows], how many elements of each row are outside.
        elements: How many there are in all.
        absolute: Shape [elements], |c - r|; infinite where one side has no number, or another infinity. Empty where
            the output is none of numbers.
        relative: Likewise.
        excess: The largest |c - r| as a multiple of what is allowed.
        reason: Why they could not be compared element by element: then all are outside.
        dtypes: "float32 → float64", where both are numbers but not of the same type; they are compared all the same.
    """

    outside: NDArray[np.int64]
    elements: int
    absolute: Floats
    relative: Floats
    excess: float = 0.0
    reason: str = ""
    dtypes: str = ""


NONE = np.zeros(0)


def errors_of(legacy: Any, candidate: Any, tolerance: Tolerance, floor: float = 0.0) -> Errors:
    """One output against the other.

    Args:
        floor: The noise floor of this output.
    """
    ours, theirs = as_array(legacy), as_array(candidate)
    if ours is None or theirs is None:
        return incomparable(ours, "the output is missing")
    if ours.shape != theirs.shape:
        return incomparable(ours, "the shapes differ")
    known, found = numbers(ours), numbers(theirs)
    if known is not None and found is not None:
        dtypes = "" if ours.dtype == theirs.dtype else f"{ours.dtype} → {theirs.dtype}"
        return numeric(known, found, same_integers(ours, theirs), tolerance, floor=floor, dtypes=dtypes)
    if (known is None) is not (found is None) and ours.size:
        return incomparable(ours, "the kinds of values differ")
    return exact(ours, theirs)


def incomparable(legacy: NDArray[Any] | None, reason: str) -> Errors:
    """All of it is outside; an output without an element still is one."""
    if legacy is None:
        return Errors(np.ones(1, np.int64), 1, NONE, NONE, np.inf, reason)
    width = max(1, legacy.size // max(1, rows_of(legacy)))
    outside = np.full(max(1, rows_of(legacy)), width, np.int64)
    return Errors(outside, int(outside.sum()), NONE, NONE, np.inf, reason)


def numeric(
    known: Floats,
    found: Floats,
    same: NDArray[np.bool_] | None,
    tolerance: Tolerance,
    *,
    floor: float,
    dtypes: str,
) -> Errors:
    with np.errstate(all="ignore"):
        absolute = np.abs(found - known)
        alike = (known == found) | (np.isnan(known) & np.isnan(found))
        if same is not None:
            # Doubles hold integers to 2**53: beyond that what differs is told as at least one.
            absolute = np.where(same, 0.0, np.maximum(absolute, 1.0))
            alike = same
        absolute = np.where(alike, 0.0, np.where(np.isnan(absolute), np.inf, absolute))
        allowed = np.maximum(tolerance.k * floor, tolerance.atol + tolerance.rtol * np.abs(known))
        # An infinite value allows everything: it must be met by the same.
        outside = ~alike & ((absolute > allowed) | ~np.isfinite(absolute) | ~np.isfinite(known))
        relative = np.where(alike, 0.0, absolute / np.maximum(np.abs(known), tolerance.denominator))
        relative = np.where(np.isnan(relative), np.inf, relative)
        ratio = np.where(alike, 0.0, absolute / allowed)
    excess = float(np.fmax.reduce(ratio, axis=None, initial=0.0))  # passes over NaN, with the oldest NumPy too
    counts = flat(outside).sum(axis=1).astype(np.int64)
    return Errors(counts, known.size, absolute.ravel(), relative.ravel(), excess, dtypes=dtypes)


def same_integers(ours: NDArray[Any], theirs: NDArray[Any]) -> NDArray[np.bool_] | None:
    """Which are exactly equal, where both are integers of the same kind; None otherwise."""
    if ours.dtype.kind not in "iu" or ours.dtype.kind != theirs.dtype.kind:
        return None
    return np.asarray(ours == theirs, dtype=np.bool_)


def exact(ours: NDArray[Any], theirs: NDArray[Any]) -> Errors:
    """Text, and whatever else is no number, byte by byte."""
    pairs = zip(flat(ours).ravel(), flat(theirs).ravel())
    differs = np.fromiter((text(one) != text(other) for one, other in pairs), np.bool_, ours.size)
    counts = differs.reshape(flat(ours).shape).sum(axis=1).astype(np.int64)
    reason = "" if not differs.any() else "the texts differ" if is_text(ours) else "the values differ"
    return Errors(counts, ours.size, NONE, NONE, np.inf if reason else 0.0, reason)


@dataclass(frozen=True)
class Floor:
    """How far the legacy model is from itself, across batch sizes say.

    Attributes:
        largest: By output, the largest |difference| of two finite numbers.
        differing: By output, the share of elements that differ at all.
        unstable: Outputs whose texts, shapes, NaN or infinities differ: no floor makes up for that.
        pairs: How many were looked at.
    """

    largest: Mapping[str, float]
    differing: Mapping[str, float]
    unstable: tuple[str, ...]
    pairs: int


@dataclass(frozen=True)
class Close:
    """Whether no element of a request is outside: of one output, or of all that the legacy model answers with.

    Attributes:
        output: Empty: all of them.
        floor: The noise floor, by output.
    """

    output: str
    tolerance: Tolerance
    floor: Mapping[str, float]

    @property
    def evidence(self) -> Evidence:
        return SHARE

    def look(self, pair: Pair) -> Sight:
        ours, theirs = pair.legacy.outputs or {}, pair.candidate.outputs or {}
        names = [self.output] if self.output else sorted(ours)
        seen = {
            name: errors_of(ours.get(name), theirs.get(name), self.tolerance, self.floor.get(name, 0.0))
            for name in names
        }
        agrees = not any(errors.outside.any() for errors in seen.values())
        reasons = [errors.reason for errors in seen.values() if errors.reason]
        notes = tuple(f"dtype {errors.dtypes}" for errors in seen.values() if errors.dtypes)
        severity = max((errors.excess for errors in seen.values()), default=0.0)
        return Sight(np.array([float(agrees)]), next(iter(reasons), ""), severity=severity, notes=notes, errors=seen)


def noise_floor(pairs: Iterable[Pair]) -> Floor:
    """The floor, from pairs of which both sides are the legacy model's."""
    largest: dict[str, float] = {}
    differing: dict[str, list[int]] = {}
    unstable: set[str] = set()
    count = 0
    for pair in pairs:
        one, other = pair.legacy.outputs, pair.candidate.outputs
        if one is None or other is None:
            continue
        count += 1
        for name in sorted({*one, *other}):
            seen = errors_of(one.get(name), other.get(name), Tolerance(0.0, 0.0, 0.0))
            finite = seen.absolute[np.isfinite(seen.absolute)]
            if seen.reason or finite.size < seen.absolute.size:
                unstable.add(name)
            largest[name] = max(largest.get(name, 0.0), float(finite.max(initial=0.0)))
            numbers_of = differing.setdefault(name, [0, 0])
            numbers_of[0] += int(seen.outside.sum())
            numbers_of[1] += seen.elements
    shares = {name: differ / max(1, elements) for name, (differ, elements) in differing.items()}
    return Floor(largest, shares, tuple(sorted(unstable)), count)
