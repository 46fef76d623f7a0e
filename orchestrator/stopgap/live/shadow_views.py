"""From what a shadow's observer has found to what is shown of it: the verdict so far, and how it came about. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime, timezone

from stopgap.comparison.document import value_of
from stopgap.comparison.result import Finding, Moment, Result
from stopgap.live.views import ConditionView, Fact, ShadowView
from stopgap.observer.course import Reading, since
from stopgap.observer.report import Report
from stopgap.report.charts import Course
from stopgap.report.layout import Cell, Column, Table
from stopgap.report.numbers import Telling, counted
from stopgap.report.words import heading_of, headline, telling_of

__all__ = ["shadow_view"]

MARKS = {"PASS": "✓", "FAIL": "✕", "INCONCLUSIVE": "?"}
MOST_CONDITIONS = 8
LEAST_POINTS = 3
ROWS = 8
# A pace is that of the last ten minutes, and of so many seconds at least; and nobody's who stopped a minute ago.
PACE_OF_S, LEAST_PACE_S, STILL_S = 600.0, 20.0, 60.0
UNITS_OF_TIME = ((86400.0, "days"), (3600.0, "hours"), (60.0, "minutes"), (1.0, "seconds"))


def shadow_view(seen: Report, now_s: float) -> ShadowView:
    """
    Args:
        now_s: In seconds since 1970.
    """
    warnings = list(seen.warnings)
    result = None
    if seen.result:
        try:
            result = value_of(Result, dict(seen.result), "the result")
        except (TypeError, ValueError, OverflowError) as error:
            warnings.insert(0, f"What was found cannot be read: {error}.")
    conditions = result.conditions if result else ()
    return ShadowView(
        outcome=seen.outcome,
        mark=MARKS.get(seen.outcome, "?"),
        since=since_told(seen, now_s),
        headline=headline(result) if result else "Nothing was compared yet",
        told=told_of(seen),
        facts=facts_of(seen),
        conditions=[
            condition_view(finding, seen.course.get(place, ()), now_s)
            for place, finding in enumerate(conditions[:MOST_CONDITIONS])
        ],
        dropped=dropped_of(seen),
        warnings=[*warnings, *(result.notices if result else ())],
    )


def told_of(seen: Report) -> str:
    if seen.shadow is None:
        return "It has ended; what it found stays until it is forgotten."
    candidate = seen.shadow.candidate + (f", served from {seen.shadow.typed}" if seen.shadow.served_for_it else "")
    return f"{seen.shadow.per_million / 1e4:g} % of what users ask over gRPC is asked of {candidate} too."


def facts_of(seen: Report) -> list[Fact]:
    totals = seen.totals
    lost = sum(totals.dropped.values())
    asked = f"of {totals.predictions:,} predictions"
    return [
        Fact("Mirrored", f"{totals.sent:,}", asked),
        Fact("Compared", f"{totals.joined:,}", f"{max(0, totals.waiting):,} waiting"),
        Fact(
            "Dropped", f"{lost:,}", "count against the candidate" if lost else "nothing is lost", "fail" if lost else ""
        ),
    ]


def dropped_of(seen: Report) -> Table | None:
    if not seen.totals.dropped:
        return None
    rows = [(Cell(reason), Cell(f"{number:,}")) for reason, number in sorted(seen.totals.dropped.items())]
    return Table("Why requests were dropped", (Column("Reason"), Column("Requests", number=True)), rows, folded=True)


def since_told(seen: Report, now_s: float) -> str:
    """Of a verdict: all of its conditions pass since the last of them does, and one fails since the first does."""
    if seen.outcome not in ("PASS", "FAIL"):
        return ""
    moments = [
        moment
        for readings in seen.course.values()
        if readings and readings[-1].outcome == seen.outcome and (moment := since(readings)) is not None
    ]
    if not moments:
        return ""
    moment = max(moments) if seen.outcome == "PASS" else min(moments)
    return f"since {moment_told(moment)}, {span_told(max(0.0, now_s - moment))}"


def moment_told(at_s: float) -> str:
    return f"{datetime.fromtimestamp(at_s, timezone.utc):%Y-%m-%d %H:%M} UTC"


def span_told(seconds: float) -> str:
    """`about 3 hours`, say."""
    for unit, name in UNITS_OF_TIME:
        if seconds >= unit:
            number = round(seconds / unit)
            return f"about {counted(number, name[:-1], name)}"
    return "about a second"


def condition_view(finding: Finding, readings: Sequence[Reading], now_s: float) -> ConditionView:
    telling = telling_of(finding)
    heading = heading_of(finding)
    course = course_of(finding, readings)
    shown = finding.outcome != "SHOWN"
    facts = [Fact("Seen", telling.told(finding.estimate), f"of {counted(finding.units, 'unit')}")]
    if shown:
        facts += [
            Fact("Can be true", f"{telling.told(finding.lower)} to {telling.told(finding.upper)}"),
            Fact("Margin", telling.told(finding.margin), "" if finding.margin is not None else "none was stated"),
        ]
    if finding.more_units:
        facts.append(Fact("Still needed", f"about {finding.more_units:,}", pace_told(finding, readings, now_s)))
    return ConditionView(
        name=finding.name,
        outcome=finding.outcome,
        heading=heading[:1].upper() + heading[1:],
        facts=facts,
        telling=telling,
        course=course,
        described=(
            f"After {counted(finding.units, 'unit')} {telling.told(finding.estimate)}, "
            f"from {telling.told(finding.lower)} to {telling.told(finding.upper)}."
        ),
        readings=readings_of(readings, telling),
    )


def course_of(finding: Finding, readings: Sequence[Reading]) -> Course | None:
    """As the judge has it, unit by unit; between its points, and at the end, as it was read. None with too few."""
    now = Moment(finding.units, finding.estimate, finding.lower, finding.upper)
    read = (Moment(each.units, each.estimate, each.lower, each.upper) for each in readings)
    points = {each.units: each for each in (*read, *finding.history, now) if not math.isnan(each.estimate)}
    if len(points) < LEAST_POINTS or finding.outcome == "SHOWN":
        return None
    found = [points[units] for units in sorted(points)]
    return Course(
        [each.units for each in found],
        [each.estimate for each in found],
        [each.lower for each in found],
        [each.upper for each in found],
        margin=finding.margin,
        higher_is_better=finding.higher_is_better,
    )


def pace_told(finding: Finding, readings: Sequence[Reading], now_s: float) -> str:
    """How long that takes, if units come as they did lately."""
    if not readings or now_s - readings[-1].at_s > STILL_S or not finding.more_units:
        return "more units"
    last = readings[-1]
    before = next((each for each in readings if each.at_s >= last.at_s - PACE_OF_S), last)
    lasted_s, come = last.at_s - before.at_s, last.units - before.units
    if lasted_s < LEAST_PACE_S or come <= 0:
        return "more units"
    return f"more units: {span_told(finding.more_units * lasted_s / come)} at this pace"


def readings_of(readings: Sequence[Reading], telling: Telling) -> Table | None:
    """Some of them, the newest first, those with which the outcome changed among them."""
    if len(readings) < LEAST_POINTS:
        return None
    changed = [one for before, one in zip(readings, readings[1:]) if one.outcome != before.outcome]
    evenly = readings[:: max(1, len(readings) // ROWS)]
    some = sorted({each.units: each for each in (*evenly, *changed[-ROWS:], readings[-1])}.items(), reverse=True)
    columns = (
        Column("When, UTC"),
        Column("Units", number=True),
        Column("Seen", number=True),
        Column("From", number=True),
        Column("To", number=True),
        Column("Verdict"),
    )
    rows = [
        (
            Cell(f"{datetime.fromtimestamp(each.at_s, timezone.utc):%Y-%m-%d %H:%M:%S}"),
            Cell(f"{each.units:,}"),
            *(Cell(telling.told(value)) for value in (each.estimate, each.lower, each.upper)),
            Cell(each.outcome, each.outcome.lower()),
        )
        for _, each in some
    ]
    return Table("How it came about", columns, rows, folded=True)
