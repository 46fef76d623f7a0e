"""How a result came about: what was read of each condition, and when, in a bounded number of readings. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["MOST_READINGS", "Reading", "readings_in", "since", "superfluous"]

MOST_READINGS = 240  # of a condition
INFINITIES = {"inf": math.inf, "-inf": -math.inf}


@dataclass(frozen=True)
class Reading:
    """What was known of one condition.

    Attributes:
        at_s: When, in seconds since 1970.
        estimate: NaN, as the two below, where it was not known.
        lower: With `upper`, what could be true.
    """

    at_s: float
    units: int
    estimate: float
    lower: float
    upper: float
    outcome: str


def readings_in(result: Mapping[str, Any], at_s: float) -> list[Reading]:
    """One for each condition of a result, in their order, as `comparison.result` writes it."""
    return [reading_in(condition, at_s) for condition in result.get("conditions", ())]


def reading_in(condition: Mapping[str, Any], at_s: float) -> Reading:
    estimate, lower, upper = (number_of(condition[name]) for name in ("estimate", "lower", "upper"))
    return Reading(at_s, condition["units"], estimate, lower, upper, condition["outcome"])


def number_of(written: Any) -> float:
    if written is None:
        return math.nan
    return INFINITIES[written] if isinstance(written, str) else float(written)


def superfluous(readings: Sequence[Reading]) -> list[int]:
    """The units of those that may go once the last has come: what is left is about evenly spread over all units.

    The first and the last stay, and those with which the outcome changed, for as long as they alone are not too many.
    """
    if len(readings) < 3:
        return []
    apart = (readings[-1].units - readings[0].units) / (MOST_READINGS / 2)
    before, between, last = readings[-3:]
    if between.units - before.units < apart and before.outcome == between.outcome == last.outcome:
        return [between.units]
    if len(readings) <= MOST_READINGS:
        return []
    inner = range(1, len(readings) - 1)
    unchanged = [place for place in inner if readings[place].outcome == readings[place - 1].outcome]
    gone = unchanged[::2] or list(inner)[::2]
    return [readings[place].units for place in gone]


def since(readings: Sequence[Reading]) -> float | None:
    """When the outcome became what it is, in seconds since 1970; None where nothing was read."""
    found = None
    for reading in reversed(readings):
        if reading.outcome != readings[-1].outcome:
            break
        found = reading.at_s
    return found
