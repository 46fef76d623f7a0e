"""The page's charts: drawn no oftener than they change, and only so many at once that nobody waits."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Hashable, Sequence
from typing import Any, Final

from markupsafe import Markup

from stopgap.report import charts
from stopgap.report.charts import Course
from stopgap.report.drawing import EVIDENCE, FAIL, GRID, NARROW, WIDE, Sheet, Size, drawn
from stopgap.report.numbers import Telling

__all__ = ["Drawings"]

SPARK: Final = Size("spark", 200, 10.0)
COLOURS: Final = {"evidence": EVIDENCE, "fail": FAIL}
REDRAWN_AFTER_S: Final = 5.0
FORGOTTEN_AFTER_S: Final = 600.0
AT_ONCE_S: Final = 1.5  # what is not drawn by then is drawn the next time


class Drawings:
    """Those of one page, by where they stand in it; for one thread at a time."""

    def __init__(self) -> None:
        self._known: dict[Hashable, tuple[float, Any, Markup]] = {}
        self._until_s = math.inf

    def begin(self) -> None:
        """With each writing of the page."""
        now = time.monotonic()
        self._until_s = now + AT_ONCE_S
        self._known = {key: each for key, each in self._known.items() if now - each[0] < FORGOTTEN_AFTER_S}

    def spark(self, place: str, values: Sequence[float], colour: str, name: str, description: str) -> Markup:
        """How a number became what it is, small, without a word in it."""

        def draw() -> str:
            sheet = Sheet(SPARK, name, f"{description} ({place})")
            return drawn(lambda axes: paint_spark(axes, values, COLOURS.get(colour, EVIDENCE)), 44, sheet)

        return self._once(("spark", place), (known(values), description), draw)

    def course(self, place: str, course: Course, telling: Telling, name: str, description: str) -> Markup:
        """A line with its band, and the margin; for a wide page and for a narrow one, which shows the one that fits."""

        def draw() -> str:
            sheets = (Sheet(size, name, f"{description} ({place})") for size in (WIDE, NARROW))
            return "".join(charts.course(course, telling, sheet) for sheet in sheets)

        return self._once(("course", place), (course, telling), draw)

    def _once(self, place: Hashable, shown: Any, draw: Callable[[], str]) -> Markup:
        """The same as before where it shows the same, was drawn a moment ago, or there is no time; or none."""
        now, before = time.monotonic(), self._known.get(place)
        if before is not None and (before[1] == shown or now - before[0] < REDRAWN_AFTER_S or now > self._until_s):
            return before[2]
        if now > self._until_s:
            return Markup()
        picture = Markup(draw())  # noqa: S704 - an element that was drawn here
        self._known[place] = (time.monotonic(), shown, picture)
        return picture


def known(values: Sequence[float]) -> tuple[float | None, ...]:
    """Which can be compared: NaN is not even itself."""
    return tuple(None if math.isnan(value) else round(value, 9) for value in values)


def paint_spark(axes: Any, values: Sequence[float], colour: str) -> None:
    places = range(len(values))
    top = max((value for value in values if math.isfinite(value)), default=0.0)
    shown = [value if math.isfinite(value) else math.nan for value in values]
    axes.axhline(0, color=GRID, linewidth=1)
    axes.fill_between(places, shown, 0, color=colour, alpha=0.16, linewidth=0)
    axes.plot(places, shown, color=colour, linewidth=1.6)
    if shown and not math.isnan(shown[-1]):
        axes.plot([len(shown) - 1], shown[-1:], color=colour, marker="o", markersize=4, clip_on=False)
    axes.set_xlim(0, max(1, len(values) - 1))
    axes.set_ylim(0, top * 1.15 or 1.0)
    axes.set_axis_off()
