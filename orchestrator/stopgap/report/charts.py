"""The charts, each from numbers alone: it does not matter to them what the numbers are of, or where they come from.

Every function gives an `<svg>` element as text; see `stopgap.report.drawing`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Optional

import numpy as np
from matplotlib.ticker import FixedFormatter, FixedLocator, FuncFormatter, MaxNLocator, NullLocator
from numpy.typing import NDArray

from stopgap.report.drawing import (
    CANDIDATE,
    EVIDENCE,
    GRID,
    INK,
    LEGACY,
    MARGIN,
    MUTED,
    WIDE,
    Sheet,
    Size,
    drawn,
)
from stopgap.report.numbers import Telling, power_of_ten

__all__ = [
    "Balance",
    "Course",
    "Distribution",
    "Interval",
    "Mark",
    "balances",
    "course",
    "distributions",
    "intervals",
    "strip",
]

COLOURS = {"legacy": LEGACY, "candidate": CANDIDATE, "evidence": EVIDENCE}
DASHES = {"legacy": "-", "candidate": (0, (5, 1.6)), "evidence": "-"}  # told apart without colour too
GRID_BINS = 30
FARTHEST = 1e100
LONGEST_LABEL = 22


@dataclass(frozen=True)
class Course:
    """What was known after so many units; all of the same length, ascending in units.

    Attributes:
        window: The same of the last units alone; empty where nobody looked.
        margin: None where none was stated.
    """

    units: Sequence[int]
    estimate: Sequence[float]
    lower: Sequence[float]
    upper: Sequence[float]
    window: Sequence[float] = ()
    margin: Optional[float] = None  # noqa: UP045 - read by Python 3.9 too
    higher_is_better: bool = True


@dataclass(frozen=True)
class Distribution:
    """Numbers in bins: from, to, how many; ascending. Zeros may have one from 0 to 0.

    Attributes:
        side: `legacy`, `candidate`, or `evidence` where it is neither's.
    """

    name: str
    side: str
    bins: Sequence[tuple[float, float, int]]


@dataclass(frozen=True)
class Mark:
    """A value that is told on a chart."""

    value: float
    name: str
    side: str = ""


@dataclass(frozen=True)
class Interval:
    """One row of several."""

    name: str
    estimate: float
    lower: float
    upper: float


@dataclass(frozen=True)
class Balance:
    """So many one way, so many the other."""

    forth: str
    back: str
    forth_count: int
    back_count: int


def course(found: Course, telling: Telling, sheet: Sheet) -> str:
    """A line with its band, and the margin."""
    found = replace(
        found,
        **{name: drawable(getattr(found, name)).tolist() for name in ("estimate", "lower", "upper", "window")},
        margin=None if found.margin is None else float(drawable([found.margin])[0]),
    )

    def paint(axes: Any) -> None:
        units, estimate, lower, upper = map(np.array, (found.units, found.estimate, found.lower, found.upper))
        axes.fill_between(units, lower, upper, color=EVIDENCE, alpha=0.16, linewidth=0)
        if len(found.window) == len(units):
            axes.plot(units, found.window, color=EVIDENCE, linewidth=1, alpha=0.55, linestyle=(0, (1, 1.5)))
        axes.plot(units, estimate, color=EVIDENCE, linewidth=2)
        axes.plot(units[-1:], estimate[-1:], color=EVIDENCE, marker="o", markersize=6, clip_on=False)
        low, high = limits(found)
        axes.set_ylim(low, high)
        axes.set_xlim(0, units[-1])
        if found.margin is not None:
            ends = (low, found.margin) if found.higher_is_better else (found.margin, high)
            axes.axhspan(*ends, color=MARGIN, alpha=0.07, linewidth=0)
            axes.axhline(found.margin, color=MARGIN, linewidth=1.4, linestyle=(0, (4, 2)))
            above = found.margin < (low + high) / 2
            axes.annotate(
                f"margin {telling.told(found.margin)}",
                (0, found.margin),
                (6, 5 if above else -5),
                textcoords="offset points",
                va="bottom" if above else "top",
                color=MARGIN,
            )
        axes.set_xlabel("units")
        axes.grid(axis="y")
        rule(axes.xaxis, 4 if sheet.size is WIDE else 3, Telling("count"))
        rule(axes.yaxis, 4, telling)
        axes.tick_params(length=0)

    return drawn(paint, 230, sheet)


def drawable(values: Sequence[float]) -> NDArray[np.float64]:
    """What lies so far out that no axis can reach from one to the other is drawn nearer; NaN stays."""
    return np.clip(np.asarray(values, np.float64), -FARTHEST, FARTHEST)


def near_bin(lower: float, upper: float, count: int) -> tuple[float, float, int]:
    near = drawable([lower, upper])
    return float(near[0]), float(near[1]), count


def nearer(one: Interval) -> Interval:
    estimate, lower, upper = drawable([one.estimate, one.lower, one.upper]).tolist()
    return Interval(one.name, estimate, lower, upper)


def limits(found: Course) -> tuple[float, float]:
    """What is worth seeing: the estimate, the margin, and the band as it has become, not as wide as it was first."""
    late = len(found.units) // 4
    values = [*found.estimate[late:], *found.lower[late:], *found.upper[late:], *found.window[late:]]
    seen = [value for value in values if math.isfinite(value)]
    seen += [found.margin] if found.margin is not None else []
    low, high = min(seen, default=0.0), max(seen, default=1.0)
    room = (high - low) * 0.08 or abs(high) * 0.02 or 0.02
    return low - room, high + room


def distributions(
    found: Sequence[Distribution],
    telling: Telling,
    sheet: Sheet,
    *,
    marks: Sequence[Mark] = (),
    label: str = "",
    logarithmic: bool = True,
) -> str:
    """One or more, over each other; zeros apart at the left where the axis is logarithmic.

    Args:
        marks: Values to be pointed at.
        label: What is on the axis.
        logarithmic: Of numbers that are none below zero.
    """
    found = [replace(one, bins=[near_bin(*each) for each in one.bins]) for one in found]

    def paint(axes: Any) -> None:
        edges = grid([each for one in found for each in one.bins], logarithmic)
        zeros_at = zero_place(edges) if logarithmic else None
        for one in found:
            shares, zeros = spread(one.bins, edges, logarithmic)
            colour, dash = COLOURS[one.side], DASHES[one.side]
            axes.stairs(shares, edges, fill=True, color=colour, alpha=0.16, linewidth=0)
            axes.stairs(shares, edges, color=colour, linewidth=1.6, linestyle=dash, label=one.name)
            if zeros and zeros_at is not None:
                axes.fill_between(zeros_at, 0, zeros, color=colour, alpha=0.5, linewidth=0)
        if logarithmic:
            axes.set_xscale("log")
            log_rule(axes, edges, telling, 4 if sheet.size is WIDE else 3, zeros_at if any_zero(found) else None)
        else:
            rule(axes.xaxis, 5 if sheet.size is WIDE else 3, telling)
            if edges[0] < 0 < edges[-1]:
                axes.axvline(0, color=MUTED, linewidth=1)
        top = axes.get_ylim()[1] * 1.2
        axes.set_ylim(0, top)
        for number, mark in enumerate(each for each in marks if math.isfinite(each.value)):
            if edges[0] <= mark.value <= edges[-1]:
                point_at(axes, mark, top, number)
        axes.set_xlabel(label)
        axes.grid(axis="y")
        rule(axes.yaxis, 3, Telling("share"))
        axes.tick_params(which="both", length=0)
        if len(found) > 1 and not marks:
            axes.legend(loc="upper right", labelcolor=INK, handlelength=2)

    return drawn(paint, 220, sheet)


def point_at(axes: Any, mark: Mark, top: float, number: int) -> None:
    colour = COLOURS.get(mark.side, MUTED)
    axes.axvline(mark.value, color=colour, linewidth=1.2, linestyle=DASHES.get(mark.side, (0, (2, 2))), ymax=0.94)
    left = axes.transAxes.inverted().transform(axes.transData.transform((mark.value, 0)))[0] > 0.6
    axes.annotate(
        mark.name,
        (mark.value, top),
        (-4 if left else 4, -14 - 15 * number),
        textcoords="offset points",
        ha="right" if left else "left",
        color=colour,
    )


def grid(bins: Sequence[tuple[float, float, int]], logarithmic: bool) -> NDArray[np.float64]:
    """Edges of equal steps, in the logarithm or not, that hold all bins but the zeros."""
    used = [each for each in bins if each[1] > 0 or not logarithmic] or [(1.0, 1.0, 0)]
    low, high = min(each[0] for each in used), max(each[1] for each in used)
    if logarithmic:
        low = max(low, min(each[1] for each in used if each[1] > 0) / 1.02)
        if high / low < 1.2:
            low, high = low / 1.1, high * 1.1
        return np.geomspace(low, high, GRID_BINS + 1)
    if high - low < 1e-12 * max(abs(low), abs(high), 1e-12):
        low, high = low - 0.5 * (abs(low) or 1), high + 0.5 * (abs(high) or 1)
    return np.linspace(low, high, GRID_BINS + 1)


def spread(
    bins: Sequence[tuple[float, float, int]], edges: NDArray[np.float64], logarithmic: bool
) -> tuple[NDArray[np.float64], float]:
    """The share of all numbers between any two edges, and of zeros where they are apart; a bin is even within."""
    total = sum(count for _, _, count in bins) or 1
    scale = np.log if logarithmic else np.asarray
    ends = scale(edges)
    shares, zeros = np.zeros(len(edges) - 1), 0.0
    for lower, upper, count in bins:
        if logarithmic and upper <= 0:
            zeros += count / total
            continue
        begin, end = (float(scale(max(each, edges[0]) if logarithmic else each)) for each in (lower, upper))
        if end - begin <= 1e-9 * max(1.0, abs(end)):
            place = min(max(int(np.searchsorted(ends, begin, "right")) - 1, 0), len(shares) - 1)
            shares[place] += count / total
            continue
        overlap = np.clip(np.minimum(ends[1:], end) - np.maximum(ends[:-1], begin), 0.0, None)
        shares += overlap / max(float(overlap.sum()), 1e-300) * count / total
    return shares, zeros


def zero_place(edges: NDArray[np.float64]) -> tuple[float, float]:
    """Where on a logarithmic axis zeros stand: left of everything, with room between."""
    step = edges[1] / edges[0]
    return float(edges[0] / step**3), float(edges[0] / step**1.2)


def any_zero(found: Sequence[Distribution]) -> bool:
    return any(lower == upper == 0 for one in found for lower, upper, _ in one.bins)


def intervals(found: Sequence[Interval], telling: Telling, sheet: Sheet, *, margin: float | None = None) -> str:
    """A row for each: a dot, and a line as long as what can be true."""
    found = [nearer(one) for one in found]

    def paint(axes: Any) -> None:
        places = np.arange(len(found))[::-1]
        for place, one in zip(places, found):
            axes.plot(
                [one.lower, one.upper], [place, place], color=EVIDENCE, linewidth=3, alpha=0.45, solid_capstyle="butt"
            )
            axes.plot([one.estimate], [place], color=EVIDENCE, marker="o", markersize=6)
        if margin is not None:
            axes.axvline(margin, color=MARGIN, linewidth=1.4, linestyle=(0, (4, 2)))
        axes.set_yticks(places, [short(one.name) for one in found], color=INK)
        axes.set_ylim(-0.7, len(found) - 0.3)
        axes.grid(axis="x")
        axes.spines["left"].set_visible(False)
        rule(axes.xaxis, 4 if sheet.size is WIDE else 3, telling)
        axes.tick_params(length=0)

    return drawn(paint, 50 + 24 * len(found), sheet)


def balances(found: Sequence[Balance], sheet: Sheet) -> str:
    """A row for each: one way to the right, the other way to the left."""

    def paint(axes: Any) -> None:
        places = np.arange(len(found))[::-1]
        most = max((max(one.forth_count, one.back_count) for one in found), default=1) or 1
        for place, one in zip(places, found):
            axes.barh(place, one.forth_count, height=0.44, color=CANDIDATE, alpha=0.8)
            axes.barh(place, -one.back_count, height=0.44, color=LEGACY, alpha=0.8)
            for count, text, sign in ((one.forth_count, one.forth, 1), (one.back_count, one.back, -1)):
                axes.annotate(
                    f"{count:,}",
                    (sign * count, place),
                    (5 * sign, 0),
                    textcoords="offset points",
                    ha="left" if sign > 0 else "right",
                    va="center",
                )
                axes.annotate(
                    short(text, 26 if sheet.size is WIDE else 17),
                    (0, place),
                    (4 * sign, 13),
                    textcoords="offset points",
                    ha="left" if sign > 0 else "right",
                    va="center",
                    color=MUTED,
                )
        axes.axvline(0, color=MUTED, linewidth=1)
        axes.set_xlim(-1.25 * most, 1.25 * most)
        axes.set_ylim(-0.6, len(found) - 0.2)
        axes.set_axis_off()

    return drawn(paint, 12 + 46 * len(found), sheet)


def strip(
    one: Interval, title: str, description: str, *, margin: float | None = None, higher_is_better: bool = True
) -> str:
    """One interval and its margin, small enough for a table's cell; without a word, since the table has them."""
    sheet = Sheet(Size("strip", 132, 10.0), title, description)

    one = nearer(one)
    margin = None if margin is None else float(drawable([margin])[0])

    def paint(axes: Any) -> None:
        numbers = (one.lower, one.upper, one.estimate, math.nan if margin is None else margin)
        ends = [each for each in numbers if math.isfinite(each)]
        low, high = min(ends, default=0.0), max(ends, default=1.0)
        room = (high - low) * 0.15 or abs(high) * 0.05 or 0.05
        low, high = low - room, high + room
        axes.axhline(0, color=GRID, linewidth=1)
        if margin is not None:
            axes.axvspan(
                *((low, margin) if higher_is_better else (margin, high)), color=MARGIN, alpha=0.12, linewidth=0
            )
            axes.axvline(margin, color=MARGIN, linewidth=1.6)
        axes.plot([one.lower, one.upper], [0, 0], color=EVIDENCE, linewidth=5, alpha=0.4, solid_capstyle="butt")
        axes.plot([one.estimate], [0], color=EVIDENCE, marker="o", markersize=6)
        axes.set_xlim(low, high)
        axes.set_ylim(-1, 1)
        axes.set_axis_off()

    return drawn(paint, 24, sheet)


def rule(axis: Any, most: int, telling: Telling) -> None:
    """At most so many ticks, told as the numbers are."""
    axis.set_major_locator(MaxNLocator(most, steps=[1, 2, 2.5, 5, 10], integer=telling.kind == "count"))
    axis.set_major_formatter(FuncFormatter(lambda value, _: telling.tick(value)))


def log_rule(
    axes: Any, edges: NDArray[np.float64], telling: Telling, most: int, zeros_at: tuple[float, float] | None
) -> None:
    """Ticks at powers of ten, or between them where there are too few; and one for the zeros."""
    low, high = float(edges[0]), float(edges[-1])
    powers = np.arange(math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9) + 1)
    ticks = (
        [10.0**power for power in powers[:: -(-len(powers) // (most + 1))]] if len(powers) > 2 else between(low, high)
    )
    places = [*([math.sqrt(zeros_at[0] * zeros_at[1])] if zeros_at else []), *ticks]
    far = telling.kind == "number" and (ticks[0] < 1e-3 or ticks[-1] > 1e4)
    labels = [*(["0"] if zeros_at else []), *(power_of_ten(tick) if far else telling.tick(tick) for tick in ticks)]
    axes.xaxis.set_major_locator(FixedLocator(places))
    axes.xaxis.set_major_formatter(FixedFormatter(labels))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlim(zeros_at[0] / 1.05 if zeros_at else low, high)


def between(low: float, high: float) -> list[float]:
    """1, 2, 5, 10, 20, … within; or the ends."""
    first = math.floor(math.log10(low))
    found = [step * 10.0**power for power in range(first, first + 5) for step in (1, 2, 5)]
    within = [each for each in found if low <= each <= high]
    return within if len(within) > 1 else [low, high]


def short(text: str, longest: int = LONGEST_LABEL) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
