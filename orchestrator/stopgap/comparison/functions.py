"""A person's own function, named as `module:function`: as a measure, or as an adapter of inputs or outputs."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from stopgap.comparison.pairs import Pair
from stopgap.comparison.sight import Evidence, Sight, excluded, matching, unknown
from stopgap.comparison.values import as_array, rows_of
from stopgap.errors import ComparisonError

__all__ = ["Broken", "Function", "called", "function_named"]


class Broken(Exception):
    """What somebody's function raised, or gave back in place of what it should."""


def function_named(name: str) -> Callable[..., Any]:
    """
    Raises:
        ComparisonError: There is none of that name.
    """
    module, separator, attribute = name.partition(":")
    if not separator or not module or not attribute:
        raise ComparisonError(f"{name!r} names no function.", "Write it as module:function.")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except ImportError as error:
        raise ComparisonError(f"{module!r} cannot be imported: {error}.", "Is its folder on PYTHONPATH?") from error
    except AttributeError as error:
        raise ComparisonError(f"{module!r} has no {attribute!r}.", "Write it as module:function.") from error
    if not callable(found):
        raise ComparisonError(f"{name!r} is no function.")
    return found  # type: ignore[no-any-return]  # what somebody else wrote


def called(name: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """
    Raises:
        Broken: It has raised something.
    """
    try:
        return function(*arguments)
    except Exception as error:
        raise Broken(f"{name} raised {type(error).__name__}: {error}") from error


@dataclass(frozen=True)
class Function:
    """A value in [0, 1] for each row, 1 for full agreement: `function(legacy's row, candidate's row)`.

    With an output each row is that output's; without one, a dictionary of all outputs' rows by name. Where the
    function raises, or leaves the range, nothing is known of the request, and its first complaint is told.
    """

    output: str
    function: str
    _call: Callable[..., Any] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_call", function_named(self.function))

    @property
    def evidence(self) -> Evidence:
        return Evidence("mean", higher_is_better=True)

    def look(self, pair: Pair) -> Sight:
        sides = self._rows(pair)
        if isinstance(sides, Sight):
            return sides
        try:
            values = np.array([self._value(one, other) for one, other in zip(*sides)])
        except Broken as broken:
            return Sight(np.zeros(0), f"{self.function} failed", unknown=True, notice=str(broken)[:500])
        return Sight(values, severity=float(1 - values.min()))

    def _rows(self, pair: Pair) -> Sight | tuple[list[Any], list[Any]]:
        if self.output:
            found = matching(self, pair, self.output, same_shape=False)
            if isinstance(found, Sight):
                return found
            return list(np.atleast_1d(found.legacy)), list(np.atleast_1d(found.candidate))
        ours, theirs = named(pair.legacy.outputs), named(pair.candidate.outputs)
        counts = {rows_of(array) for side in (ours, theirs) for array in side.values()}
        if len(counts) > 1:
            return unknown("the outputs have different numbers of rows")
        if not counts or not max(counts):
            return excluded("the answer has no rows")
        rows = range(max(counts))
        return split(ours, rows), split(theirs, rows)

    def _value(self, ours: Any, theirs: Any) -> float:
        given = called(self.function, self._call, ours, theirs)
        try:
            value = float(given)
        except (TypeError, ValueError, OverflowError) as error:
            raise Broken(f"{self.function} gave a {type(given).__name__}, not a number from 0 to 1") from error
        if not 0 <= value <= 1:
            raise Broken(f"{self.function} gave {value}, which is not from 0 to 1")
        return value


def named(outputs: Any) -> dict[str, Any]:
    arrays = {name: as_array(value) for name, value in (outputs or {}).items()}
    return {name: array for name, array in arrays.items() if array is not None}


def split(outputs: dict[str, Any], rows: range) -> list[dict[str, Any]]:
    """The outputs row by row."""
    return [{name: np.atleast_1d(array)[row] for name, array in outputs.items()} for row in rows]
