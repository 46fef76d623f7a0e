"""Regression: how far the candidate's numbers are from the legacy model's, with a sign and without."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stopgap.comparison.pairs import Pair
from stopgap.comparison.sight import SHARE, SHOWN, Evidence, Rows, Sight, by_row
from stopgap.comparison.values import Floats
from stopgap.errors import ComparisonError

__all__ = ["AbsoluteError", "Bias", "Difference", "Within"]


@dataclass(frozen=True)
class Difference:
    """Candidate less legacy, without bounds: bias, mean absolute error, quantiles, limits of agreement. Shown only."""

    output: str

    @property
    def evidence(self) -> Evidence:
        return SHOWN

    def look(self, pair: Pair) -> Sight:
        rows = by_row(self, pair, self.output, least=1, else_there_is="there are no numbers")
        if isinstance(rows, Sight):
            return rows
        apart = differences(rows)
        sizes = np.abs(apart).max(axis=1)
        return Sight(apart.mean(axis=1), differences=apart.ravel(), severity=float(sizes.max()))


@dataclass(frozen=True)
class Within:
    """Whether each element of a row is at most `tolerance` away."""

    output: str
    tolerance: float

    def __post_init__(self) -> None:
        check_size("tolerance", self.tolerance)

    @property
    def evidence(self) -> Evidence:
        return SHARE

    def look(self, pair: Pair) -> Sight:
        rows = by_row(self, pair, self.output)
        if isinstance(rows, Sight):
            return rows
        apart = differences(rows)
        sizes = np.abs(apart).max(axis=1, initial=0.0)
        return Sight(
            (sizes <= self.tolerance).astype(np.float64), differences=apart.ravel(), severity=float(sizes.max())
        )


@dataclass(frozen=True)
class AbsoluteError:
    """The mean absolute difference of a row's elements, each cut at `most`: the claim is about what is cut so."""

    output: str
    most: float

    def __post_init__(self) -> None:
        check_size("most", self.most)

    @property
    def evidence(self) -> Evidence:
        return Evidence("mean", 0.0, self.most)

    def look(self, pair: Pair) -> Sight:
        rows = by_row(self, pair, self.output, least=1, else_there_is="there are no numbers")
        if isinstance(rows, Sight):
            return rows
        apart = differences(rows)
        cut = np.minimum(np.abs(apart), self.most)
        note = cut_note(apart, self.most)
        return Sight(cut.mean(axis=1), differences=apart.ravel(), severity=float(np.abs(apart).max()), notes=note)


@dataclass(frozen=True)
class Bias:
    """The mean difference of a row's elements, each cut at `most` on either side, in one direction.

    A plan's `bias` becomes two of these, upwards and downwards, of which both must pass.
    """

    output: str
    most: float
    upwards: bool = True

    def __post_init__(self) -> None:
        check_size("most", self.most)

    @property
    def evidence(self) -> Evidence:
        return Evidence("mean", -self.most, self.most)

    def look(self, pair: Pair) -> Sight:
        rows = by_row(self, pair, self.output, least=1, else_there_is="there are no numbers")
        if isinstance(rows, Sight):
            return rows
        apart = differences(rows)
        cut = np.clip(np.where(np.isnan(apart), np.inf, apart if self.upwards else -apart), -self.most, self.most)
        severity = float(np.abs(np.nan_to_num(apart, nan=np.inf, posinf=np.inf, neginf=-np.inf)).max())
        note = cut_note(apart, self.most)
        return Sight(cut.mean(axis=1), differences=apart.ravel(), severity=severity, notes=note)


def differences(rows: Rows) -> Floats:
    """Candidate less legacy; 0 where both are NaN or the same infinity, infinite where only one is a number."""
    with np.errstate(invalid="ignore", over="ignore"):
        apart = rows.candidate - rows.legacy
    alike = (rows.candidate == rows.legacy) | (np.isnan(rows.candidate) & np.isnan(rows.legacy))
    return np.asarray(np.where(alike, 0.0, np.where(np.isnan(apart), np.inf, apart)))


def cut_note(apart: Floats, most: float) -> tuple[str, ...]:
    return ("a difference was cut at the stated range",) if (np.abs(apart) > most).any() else ()


def check_size(name: str, value: float) -> None:
    if not 0 < value < np.inf:
        raise ComparisonError(f"{name} = {value} is no size.", f"State {name} as a number above 0.")
