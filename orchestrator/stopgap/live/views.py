"""What the page shows, before it is one: words and numbers alone, so that it can be made harmless as a whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Optional

from stopgap.report.charts import Course
from stopgap.report.layout import Table
from stopgap.report.numbers import Telling

__all__ = [
    "Alert",
    "Card",
    "ConditionView",
    "Fact",
    "IncidentView",
    "Overview",
    "ShadowView",
    "StageView",
    "SunsetView",
    "Tile",
]


@dataclass(frozen=True)
class Fact:
    """One number, and what it is."""

    name: str
    value: str
    beside: str = ""
    tone: str = ""


@dataclass(frozen=True)
class Alert:
    """What needs somebody.

    Attributes:
        tone: `fail`, `warning` for what can wait, or `shown` for what need not be.
        command: What to type; may be empty.
    """

    tone: str
    who: str
    text: str
    command: str = ""


@dataclass(frozen=True)
class StageView:
    """One stage of a hand-over: `done`, `now` or `next`."""

    name: str
    state: str
    beside: str = ""


@dataclass(frozen=True)
class SunsetView:
    """How long a model may stay.

    Attributes:
        number: Of days, as a text.
        what: They are.
        passed: How much of its time is over, from 0 to 100.
    """

    tone: str
    number: str
    what: str
    until: str
    passed: int
    beside: str = ""


@dataclass(frozen=True)
class Tile:
    """A number of traffic, and how it came about.

    Attributes:
        values: One for each span, the newest last; NaN where nothing is known.
        colour: `evidence` or `fail`.
        description: What the picture shows, for those who do not see it.
    """

    name: str
    value: str
    beside: str
    values: Sequence[float]
    colour: str
    description: str


@dataclass(frozen=True)
class ConditionView:
    """One condition of a shadow.

    Attributes:
        course: As it grew; None where there is too little to be drawn.
        readings: The same as a table, with times.
    """

    name: str
    outcome: str
    heading: str
    facts: Sequence[Fact]
    telling: Telling
    course: Optional[Course] = None  # noqa: UP045 - read by Python 3.9 too
    described: str = ""
    readings: Optional[Table] = None  # noqa: UP045


@dataclass(frozen=True)
class ShadowView:
    """A shadow, and the verdict so far.

    Attributes:
        since: Since when the verdict is what it is; may be empty.
        facts: What became of users' requests.
        dropped: Reasons; None where nothing was.
    """

    outcome: str
    mark: str
    since: str
    headline: str
    told: str
    facts: Sequence[Fact]
    conditions: Sequence[ConditionView]
    dropped: Optional[Table]  # noqa: UP045
    warnings: Sequence[str]


@dataclass(frozen=True)
class IncidentView:
    """What has gone wrong with a sandbox's workers since it was started."""

    summary: str
    tone: str
    table: Optional[Table] = None  # noqa: UP045


@dataclass(frozen=True)
class Card:
    """One model.

    Attributes:
        identity: By which the page knows it again.
        tone: `pass`, `warning`, `fail` or `shown`.
        part: In somebody else's hand-over.
        still_asked: What its retirement waits for; may be empty.
        notes: What could not be known, and who does not answer.
        wide: It has more to show than others.
    """

    identity: str
    name: str
    tone: str
    condition: str
    detail: str
    bundle: str
    facts: Sequence[Fact]
    stages: Sequence[StageView]
    part: str
    sunset: SunsetView
    tiles: Sequence[Tile]
    shadow: Optional[ShadowView]  # noqa: UP045
    arms: Optional[Table]  # noqa: UP045
    arms_told: str
    still_asked: str
    incidents: Optional[IncidentView]  # noqa: UP045
    notes: Sequence[str]

    @property
    def wide(self) -> bool:
        return self.shadow is not None or self.arms is not None


@dataclass(frozen=True)
class Overview:
    """All of the page that changes.

    Attributes:
        retired: Names whose models are gone.
        empty: There is nothing at all.
    """

    tone: str
    headline: str
    at: str
    moment: str
    folder: str
    facts: Sequence[Fact]
    alerts: Sequence[Alert]
    cards: Sequence[Card]
    retired: Sequence[Alert]
    empty: bool
