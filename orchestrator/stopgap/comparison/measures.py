"""Which measures there are, by the names that a plan gives them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from stopgap.comparison.classes import Equal, Overlap, Threshold, TopK
from stopgap.comparison.closeness import Close, Tolerance
from stopgap.comparison.differences import AbsoluteError, Bias, Difference, Within
from stopgap.comparison.distributions import JensenShannon, TotalVariation
from stopgap.comparison.failures import Answered, Latency, Parity
from stopgap.comparison.functions import Function
from stopgap.comparison.labels import PairedLoss
from stopgap.comparison.ranks import Ranks
from stopgap.comparison.sequences import EditDistance
from stopgap.comparison.sets import Boxes, Points
from stopgap.comparison.sight import Measure
from stopgap.errors import ComparisonError

__all__ = ["MEASURES", "WITHOUT_OUTPUT", "made", "taken"]

MEASURES: Mapping[str, Callable[..., Measure]] = {
    "close": Close,
    "top_1": TopK,
    "top_k": TopK,
    "overlap": Overlap,
    "threshold": Threshold,
    "equal": Equal,
    "jensen_shannon": JensenShannon,
    "total_variation": TotalVariation,
    "ranks": Ranks,
    "difference": Difference,
    "within": Within,
    "absolute_error": AbsoluteError,
    "bias": Bias,
    "edit_distance": EditDistance,
    "boxes": Boxes,
    "points": Points,
    "function": Function,
    "loss": PairedLoss,
    "parity": Parity,
    "answered": Answered,
    "latency": Latency,
}
WITHOUT_OUTPUT = ("parity", "answered", "latency")
OUTPUT_OPTIONAL = ("close", "function", *WITHOUT_OUTPUT)
TYPES = {"int": (int,), "float": (int, float), "bool": (bool,), "str": (str,)}


def made(name: str, output: str, options: Mapping[str, Any], floor: Mapping[str, float] | None = None) -> Measure:
    """The measure of that name.

    Args:
        floor: The noise floor by output, which `close` alone needs.

    Raises:
        ComparisonError: There is none of that name, or it does not go with that output or those options.
    """
    if name not in MEASURES:
        raise ComparisonError(f"There is no measure {name!r}.", f"There are: {', '.join(MEASURES)}.")
    if not output and name not in OUTPUT_OPTIONAL:
        raise ComparisonError(f"The measure {name!r} needs an output.", 'State which: output = "…"')
    if output and name in WITHOUT_OUTPUT:
        raise ComparisonError(f"The measure {name!r} is of no output.", "Leave the output out.")
    if name == "top_1" and "k" in options:
        raise ComparisonError("top_1 has no k.", "Choose the measure top_k.")
    if name == "close":
        check_options(name, Tolerance, options, set())
        return Close(output, Tolerance(**options), floor or {})
    kind = MEASURES[name]
    check_options(name, kind, options, {"output"})
    try:
        return kind(**options) if name in WITHOUT_OUTPUT else kind(output, **options)
    except TypeError as error:
        raise ComparisonError(f"The measure {name!r} lacks something: {error}.", taken(kind)) from error


def check_options(name: str, kind: Callable[..., Any], options: Mapping[str, Any], not_these: set[str]) -> None:
    known = {each: p for each, p in inspect.signature(kind).parameters.items() if each not in not_these}
    for option, value in options.items():
        if option not in known:
            raise ComparisonError(f"The measure {name!r} has no option {option!r}.", taken(kind))
        allowed = next((types for word, types in TYPES.items() if word in str(known[option].annotation)), (object,))
        if not isinstance(value, allowed) or (isinstance(value, bool) and bool not in allowed):
            raise ComparisonError(f"The measure {name!r} cannot have {option} = {value!r}.", taken(kind))


def taken(kind: Callable[..., Any]) -> str:
    """Its options and their types, in words."""
    words = [
        f"{each} ({str(parameter.annotation).replace('Optional[', '').rstrip(']')})"
        for each, parameter in inspect.signature(kind).parameters.items()
        if each not in ("output", "floor", "tolerance") or kind is not Close
    ]
    return f"It takes: {', '.join(words)}."
