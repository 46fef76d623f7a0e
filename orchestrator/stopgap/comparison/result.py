"""What a comparison has found: plain values, to be written down, shown and bound to what they are about."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Optional

from stopgap.comparison.flips import Flip

__all__ = [
    "SCHEMA",
    "Bin",
    "Case",
    "Finding",
    "Moment",
    "OutputErrors",
    "Quantiles",
    "Result",
    "SliceFinding",
    "Table",
    "plain",
]

SCHEMA = 1  # of `as_json`: raised whenever something in it changes its meaning or goes


@dataclass(frozen=True)
class Bin:
    """So many numbers from `lower` to `upper`; zeros are in one from 0 to 0."""

    lower: float
    upper: float
    count: int


@dataclass(frozen=True)
class Quantiles:
    """Of numbers of either sign, within 1 %; the extremes as they are. NaN without a number.

    Attributes:
        bins: All finite ones, ascending, in about 50 bins whose widths grow with the numbers.
    """

    count: int
    not_finite: int
    mean: float
    deviation: float
    least: float
    q50: float
    q90: float
    q99: float
    q999: float
    most: float
    bins: tuple[Bin, ...] = ()


@dataclass(frozen=True)
class Moment:
    """What was known after so many units.

    Attributes:
        lower: With `upper`, what could be true, whenever it is read. Of a file that is told alone, what was not known.
        window: The mean of the last units, as many as there were by then and the plan says.
    """

    units: int
    estimate: float
    lower: float
    upper: float
    window: float = math.nan


@dataclass(frozen=True)
class SliceFinding:
    """One value of a slice; its interval errs with alpha by itself, and it decides nothing."""

    slice: str
    value: str
    units: int
    estimate: float
    lower: float
    upper: float
    outcome: str


@dataclass(frozen=True)
class Case:
    """One of those that agree least, by its number in the data."""

    number: int
    value: float
    severity: float
    reason: str


@dataclass(frozen=True)
class Table:
    """Decisions: a row for each of the legacy model's classes, a column for each of the candidate's."""

    classes: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]
    kappa: float
    flips: tuple[Flip, ...]


@dataclass(frozen=True)
class OutputErrors:
    """One output, element by element.

    Attributes:
        outside: How many elements are outside the tolerance.
        floor: The noise floor that it was held against.
    """

    output: str
    elements: int
    outside: int
    floor: float
    absolute: Quantiles
    relative: Quantiles


@dataclass(frozen=True)
class Finding:
    """One condition.

    Attributes:
        evidence: share, mean, loss or shown; see `stopgap.comparison.sight.Evidence`.
        outcome: PASS, FAIL, INCONCLUSIVE, or SHOWN where it cannot be judged.
        units: Those that count, of which nothing is known and dropped ones included.
        unknown: Of them, those of which nothing is known.
        excluded: Units that do not count: the legacy model did not answer, mostly.
        more_units: About how many more it takes.
        window: The mean of the last units, as many as `window_units`.
        reasons: Why units disagree as much as can be, are not known or do not count.
        notes: What was seen beside.
        values: Of the units' values.
        differences: Candidate less legacy, by element.
        limits: Of agreement: the mean difference less and plus 1.96 standard deviations (Bland and Altman).
        low: No unit's value is below it.
        high: None is above it.
        higher_is_better: Then the margin is the least; else the most.
    """

    name: str
    measure: str
    output: str
    evidence: str
    margin: Optional[float]  # noqa: UP045 - read by Python 3.9 too
    outcome: str
    reason: str
    estimate: float
    lower: float
    upper: float
    units: int
    unknown: int
    excluded: int
    more_units: Optional[int]  # noqa: UP045
    window: float
    window_units: int
    reasons: Mapping[str, int]
    notes: Mapping[str, int]
    values: Quantiles
    worst: tuple[Case, ...] = ()
    history: tuple[Moment, ...] = ()
    slices: tuple[SliceFinding, ...] = ()
    table: Optional[Table] = None  # noqa: UP045
    errors: tuple[OutputErrors, ...] = ()
    differences: Optional[Quantiles] = None  # noqa: UP045
    absolute_differences: Optional[Quantiles] = None  # noqa: UP045
    limits: Optional[tuple[float, float]] = None  # noqa: UP045
    low: float = -math.inf
    high: float = math.inf
    higher_is_better: bool = False


@dataclass(frozen=True)
class Result:
    """All of it.

    Attributes:
        outcome: The worst of the conditions that can be judged.
        scope: `stream`: of the running mean of all units so far. `file`: of the units in this file, and nothing else.
            `beyond the file`: under the claim that its units were drawn independently from what is to come.
        alpha: Of each condition, already divided by the number of candidates.
        requests: All that were looked at.
        units: The distinct ones, of which the first observation counts.
        untold: Requests that came when no further unit could be remembered: they do not count.
        dropped: Requests that were lost before anybody was asked, by reason.
        parity: Units by who answered.
        codes: Units by the codes of failures, `legacy INTERNAL` say.
        latency: By model, in seconds; of the units that were answered.
        notices: What a person has to know.
    """

    outcome: str
    reason: str
    scope: str
    mode: str
    plan: str
    alpha: float
    candidates: int
    requests: int
    units: int
    repeated: int
    untold: int
    dropped: Mapping[str, int]
    parity: Mapping[str, int]
    codes: Mapping[str, int]
    latency: Mapping[str, Quantiles]
    conditions: tuple[Finding, ...]
    notices: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """What `json.dumps(…, allow_nan=False)` takes: NaN is null, an infinity `"inf"` or `"-inf"`."""
        written = plain(asdict(self))
        return {"schema": SCHEMA, **written}


def plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else "inf" if value > 0 else "-inf"
    return value
