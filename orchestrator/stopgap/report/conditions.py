"""One condition as a section: how it came to its verdict, and where it disagrees."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from markupsafe import Markup

from stopgap.comparison.result import Finding, OutputErrors, Quantiles, Result
from stopgap.comparison.result import Table as Decisions
from stopgap.report import charts
from stopgap.report.charts import Balance, Course, Distribution, Interval, Mark
from stopgap.report.drawing import NARROW, WIDE, Sheet
from stopgap.report.layout import Block, Cell, Column, Figure, Section, Table, Text
from stopgap.report.numbers import Telling, counted
from stopgap.report.words import heading_of, meaning_of, telling_of

__all__ = ["counts_heading", "overview", "section_of"]

MOST_SLICES = 24
MOST_BALANCES = 7
MOST_FLIPS = 20
HEATS = 9
QUANTILES = {
    "least": "least",
    "half are below": "q50",
    "90 % are below": "q90",
    "99 % are below": "q99",
    "99.9 % are below": "q999",
    "most": "most",
    "mean": "mean",
}
VERBS = {
    "PASS": ("holds", "hold"),
    "FAIL": ("fails", "fail"),
    "INCONCLUSIVE": ("is open", "are open"),
    "SHOWN": ("is only shown", "are only shown"),
}
UNLIKELY = 0.01  # that a coin is as one-sided


def overview(result: Result) -> Table:
    """All conditions, a row each."""
    columns = (
        Column("Condition"),
        Column("Verdict"),
        Column("Margin", number=True),
        Column("Seen", number=True),
        Column("From", number=True),
        Column("To", number=True),
        Column("Interval and margin"),
        Column("Units", number=True),
        Column("More", number=True),
    )
    return Table("Conditions", columns, [overview_row(finding) for finding in result.conditions])


def counts_heading(result: Result) -> str:
    """`3 conditions hold, 1 fails`, say."""
    outcomes = Counter(finding.outcome for finding in result.conditions)
    told = [
        f"{number} {one if number == 1 else more}"
        for outcome, (one, more) in VERBS.items()
        if (number := outcomes.get(outcome, 0))
    ]
    what = "condition" if len(result.conditions) == 1 else "conditions"
    return f"Of {len(result.conditions)} {what} {', '.join(told)}"


def overview_row(finding: Finding) -> Sequence[Cell]:
    telling = telling_of(finding)
    shown = finding.outcome != "SHOWN"
    numbers = (finding.margin, finding.estimate, finding.lower, finding.upper)
    told = [telling.told(each) for each in numbers]
    picture = Markup()
    if shown and finding.lower == finding.lower:
        row = Interval(finding.name, finding.estimate, finding.lower, finding.upper)
        description = f"Seen {told[1]}, from {told[2]} to {told[3]}; the margin is {told[0]}."
        picture = Markup(  # noqa: S704 - an element that was drawn here
            charts.strip(
                row,
                finding.name,
                description,
                margin=finding.margin,
                higher_is_better=finding.higher_is_better,
            )
        )
    return (
        Cell(finding.name, "mono"),
        Cell(finding.outcome, finding.outcome.lower()),
        *(Cell(each) for each in told),
        Cell(picture),
        Cell(f"{finding.units:,}"),
        Cell(f"{finding.more_units:,}" if finding.more_units else "–"),
    )


def section_of(number: int, finding: Finding, result: Result) -> Section:
    """All that is known of a condition but its worst cases."""
    heading = heading_of(finding)
    blocks: list[Block] = [Text(meaning_of(finding, result.scope))]
    blocks += course_of(finding, result.scope)
    blocks += values_of(finding)
    for errors in finding.errors:
        blocks += errors_of(errors, finding.name)
    blocks += differences_of(finding)
    if finding.table is not None:
        blocks += decisions_of(finding.table, finding.name)
    blocks += slices_of(finding)
    blocks += [*counts_of("Why units disagree, or do not count", finding.reasons), *counts_of("Noted", finding.notes)]
    return Section(f"condition-{number}", heading[:1].upper() + heading[1:], blocks, finding.name, finding.outcome)


def figure(drawings: Sequence[str], caption: str) -> Figure:
    return Figure([Markup(each) for each in drawings], caption)  # noqa: S704 - elements that were drawn here


def course_of(finding: Finding, scope: str) -> list[Block]:
    """The picture, and under it the numbers of some of its points."""
    moments = [each for each in finding.history if each.estimate == each.estimate]
    if len(moments) < 3:
        return []
    telling = telling_of(finding)
    found = Course(
        [each.units for each in moments],
        [each.estimate for each in moments],
        [each.lower for each in moments],
        [each.upper for each in moments],
        [each.window for each in moments] if moments[-1].units > finding.window_units else (),
        finding.margin,
        finding.higher_is_better,
    )
    last = moments[-1]
    title = f"{finding.name} over units"
    description = (
        f"After {last.units:,} units {telling.told(last.estimate)}, "
        f"from {telling.told(last.lower)} to {telling.told(last.upper)}."
    )
    caption = "As it grew, unit by unit: the line is what was seen"
    if scope != "file":
        caption += ", the band what could be true at any time one looked"
    elif finding.unknown:
        caption += ", the band what was not known"
    caption += f"; dotted, the last {finding.window_units:,} units alone." if found.window else "."
    drawings = [charts.course(found, telling, Sheet(size, title, description)) for size in (WIDE, NARROW)]
    some = moments[:: max(1, len(moments) // 6)]
    some = [*some, last] if some[-1] is not last else some
    rows = [
        (Cell(f"{each.units:,}"), *(Cell(telling.told(value)) for value in (each.estimate, each.lower, each.upper)))
        for each in some
    ]
    names = ("Units", "Seen", "From", "To")
    return [figure(drawings, caption), Table("As it grew", [Column(name, number=True) for name in names], rows)]


def values_of(finding: Finding) -> list[Block]:
    """How the units' own values lie, where they are more than yes and no."""
    if finding.evidence == "share" or not finding.values.count or finding.differences is not None:
        return []
    return distribution_of(
        "Values of the units",
        [("units", "evidence", finding.values)],
        telling_of(finding),
        finding.name,
        of=finding.name,
    )


def errors_of(errors: OutputErrors, condition: str) -> list[Block]:
    """Element by element, absolute and relative."""
    share = errors.outside / errors.elements if errors.elements else 0.0
    told = (
        f"{errors.output}: {counted(errors.outside, 'element')} of {errors.elements:,} "
        f"({Telling('share').told(share)}) outside the tolerance. The noise floor is {Telling().told(errors.floor)}."
    )
    if errors.absolute.count and not errors.absolute.most and not errors.absolute.not_finite:
        return [Text(f"{told} Every element is exactly what the legacy model’s is.")]
    blocks: list[Block] = [Text(told)]
    floor = [Mark(errors.floor, "noise floor", "legacy")] if errors.floor else []
    for kind, quantiles, label, marks in (
        ("Absolute", errors.absolute, "|candidate − legacy|", floor),
        ("Relative", errors.relative, "|candidate − legacy| / |legacy|", []),
    ):
        if quantiles.count:
            title, series = f"{kind} errors of {errors.output}", [("elements", "evidence", quantiles)]
            blocks += distribution_of(title, series, Telling(), label, [*marks, *marks_of(quantiles)], of=condition)
    return blocks


def marks_of(quantiles: Quantiles) -> list[Mark]:
    return [Mark(quantiles.q99, "99 %")] if quantiles.q99 > 0 else []


def differences_of(finding: Finding) -> list[Block]:
    if finding.differences is None or not finding.differences.count:
        return []
    told = ""
    if finding.limits is not None:
        low, high = map(Telling().told, finding.limits)
        told = f"95 % of them lie about between {low} and {high} (Bland and Altman’s limits of agreement)."
    series = [("elements", "evidence", finding.differences)]
    found = distribution_of(f"Differences, {finding.name}", series, Telling(), "candidate − legacy", logarithmic=False)
    return [*([Text(told)] if told else []), *found]


def distribution_of(
    title: str,
    series: Sequence[tuple[str, str, Quantiles]],
    telling: Telling,
    label: str,
    marks: Sequence[Mark] = (),
    *,
    logarithmic: bool = True,
    of: str = "",
) -> list[Block]:
    """The picture, and its quantiles as a table.

    Args:
        of: Which condition it belongs to, where the title does not say it.
    """
    logarithmic = logarithmic and all(quantiles.least >= 0 for *_, quantiles in series)
    found = [
        Distribution(name, side, [(each.lower, each.upper, each.count) for each in quantiles.bins])
        for name, side, quantiles in series
        if quantiles.bins
    ]
    description = " ".join(
        f"{name}: median {telling.told(quantiles.q50)}, 99 % below {telling.told(quantiles.q99)}, "
        f"largest {telling.told(quantiles.most)}."
        for name, _, quantiles in series
    )
    blocks: list[Block] = []
    if found:
        sheets = [Sheet(size, f"{of}: {title}" if of else title, description) for size in (WIDE, NARROW)]
        drawings = [
            charts.distributions(found, telling, sheet, marks=marks, label=label, logarithmic=logarithmic)
            for sheet in sheets
        ]
        blocks.append(figure(drawings, title + ("; the axis is logarithmic." if logarithmic else ".")))
    return [*blocks, quantiles_of(title, series, telling)]


def quantiles_of(title: str, series: Sequence[tuple[str, str, Quantiles]], telling: Telling) -> Table:
    """A column for each of what is drawn over each other."""
    sides = [Column(name, number=True, tone="" if side == "evidence" else side) for name, side, _ in series]
    rows: list[Sequence[Cell]] = [
        (Cell(name), *(Cell(telling.told(getattr(quantiles, field))) for *_, quantiles in series))
        for name, field in QUANTILES.items()
    ]
    counts = (Cell("number"), *(Cell(f"{quantiles.count:,}") for *_, quantiles in series))
    wrong = [quantiles.not_finite for *_, quantiles in series]
    not_finite = (Cell("NaN or infinite"), *(Cell(f"{each:,}", "warning" if each else "") for each in wrong))
    rows += [counts, not_finite]
    return Table(title, (Column(""), *sides), rows)


def decisions_of(table: Decisions, condition: str) -> list[Block]:
    """Which decisions turn into which, and whether evenly."""
    rows = sum(map(sum, table.counts))
    turned = rows - sum(row[place] for place, row in enumerate(table.counts))
    blocks: list[Block] = []
    if table.flips:
        one_sided = [flip for flip in table.flips if flip.one_sided < UNLIKELY and flip.count > flip.reverse]
        told = f"At least {counted(turned, 'row')} of {rows:,} turned; Cohen’s κ is {Telling().told(table.kappa)}."
        if one_sided:
            worst = one_sided[0]
            told += (
                f" Not evenly: “{worst.legacy}” became “{worst.candidate}” {worst.count:,} times, "
                f"and the other way round {worst.reverse:,}."
            )
        blocks.append(Text(told))
        pairs = balances_of(table)
        description = "; ".join(f"{one.forth}: {one.forth_count:,}, {one.back}: {one.back_count:,}" for one in pairs)
        drawings = [
            charts.balances(pairs, Sheet(size, f"{condition}: decisions that turned, both ways", description))
            for size in (WIDE, NARROW)
        ]
        blocks += [
            figure(drawings, "Decisions that turned: to the right one way, to the left the other."),
            flips_of(table),
        ]
    else:
        blocks.append(Text(f"None of {counted(rows, 'row')} turned; Cohen’s κ is {Telling().told(table.kappa)}."))
    if len(table.classes) > 1:
        blocks.append(confusion_of(table))
    return blocks


def balances_of(table: Decisions) -> list[Balance]:
    seen: set[frozenset[str]] = set()
    found: list[Balance] = []
    for flip in table.flips:
        both = frozenset((flip.legacy, flip.candidate))
        if both not in seen and len(found) < MOST_BALANCES:
            seen.add(both)
            forth, back = f"{flip.legacy} → {flip.candidate}", f"{flip.candidate} → {flip.legacy}"
            found.append(Balance(forth, back, flip.count, flip.reverse))
    return found


def flips_of(table: Decisions) -> Table:
    columns = (
        Column("Legacy", tone="legacy"),
        Column("Candidate", tone="candidate"),
        Column("Rows", number=True),
        Column("The other way", number=True),
        Column("p of a fair coin", number=True),
    )
    rows = [
        (
            Cell(flip.legacy),
            Cell(flip.candidate),
            Cell(f"{flip.count:,}"),
            Cell(f"{flip.reverse:,}"),
            Cell(Telling().told(flip.one_sided), "warning" if flip.one_sided < UNLIKELY else ""),
        )
        for flip in table.flips[:MOST_FLIPS]
    ]
    return Table("Decisions that turned", columns, rows)


def confusion_of(table: Decisions) -> Table:
    """A row of the legacy model's; shaded by the row's share."""
    columns = [Column("Legacy ↓  candidate →"), *(Column(name, number=True) for name in table.classes)]
    rows = []
    for place, (name, counts) in enumerate(zip(table.classes, table.counts)):
        total = sum(counts) or 1
        cells = [
            Cell(f"{count:,}" if count else "·", "same" if column == place else f"heat-{heat(count / total)}")
            for column, count in enumerate(counts)
        ]
        rows.append((Cell(name), *cells))
    return Table("All decisions, the most frequent classes", columns, rows)


def heat(share: float) -> int:
    """By the root, so that what is rare is seen."""
    return min(HEATS, round(share**0.5 * HEATS * 1.6)) if share else 0


def slices_of(finding: Finding) -> list[Block]:
    blocks: list[Block] = []
    telling = telling_of(finding)
    for name in dict.fromkeys(each.slice for each in finding.slices):
        found = [each for each in finding.slices if each.slice == name]
        found.sort(key=lambda each: each.estimate if finding.higher_is_better else -each.estimate)
        rows = [
            (
                Cell(each.value),
                Cell(f"{each.units:,}"),
                *(Cell(telling.told(value)) for value in (each.estimate, each.lower, each.upper)),
                Cell(each.outcome, each.outcome.lower()),
            )
            for each in found
        ]
        names = (
            Column(name),
            *(Column(each, number=True) for each in ("Units", "Seen", "From", "To")),
            Column("Alone"),
        )
        drawable = [each for each in found if each.estimate == each.estimate][:MOST_SLICES]
        if len(drawable) > 1:
            intervals = [Interval(each.value, each.estimate, each.lower, each.upper) for each in drawable]
            description = "; ".join(f"{each.value}: {telling.told(each.estimate)}" for each in drawable)
            title = f"{finding.name} by {name}"
            drawings = [
                charts.intervals(intervals, telling, Sheet(size, title, description), margin=finding.margin)
                for size in (WIDE, NARROW)
            ]
            caption = f"By {name}, the worst first; each with an interval of its own, which decides nothing."
            blocks.append(figure(drawings, caption if finding.margin is None else f"{caption} Dashed: the margin."))
        blocks.append(Table(f"By {name}", names, rows))
    return blocks


def counts_of(caption: str, counts: Mapping[str, int]) -> list[Block]:
    if not counts:
        return []
    rows = [(Cell(name), Cell(f"{number:,}")) for name, number in counts.items()]
    return [Table(caption, (Column(""), Column("Units", number=True)), rows)]
