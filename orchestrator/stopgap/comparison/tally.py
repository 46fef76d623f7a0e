"""One condition as the units come in: its verdict, and all that is shown of it, in a memory that does not grow."""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from stopgap.comparison.flips import Flips
from stopgap.comparison.gauges import LOOK_EVERY, Gauge, Terms, gauge_for
from stopgap.comparison.pairs import Pair
from stopgap.comparison.plan import MEAN, Condition, Plan
from stopgap.comparison.result import Bin, Case, Finding, Moment, OutputErrors, Quantiles, SliceFinding, Table
from stopgap.comparison.sight import Sight, sight_of
from stopgap.comparison.sketch import Sketch
from stopgap.comparison.worst import Worst
from stopgap.verdict import Verdict

__all__ = ["Tally", "quantiles_of"]

MOST_MOMENTS = 200
MOST_REASONS = 50
MOST_SLICES = 32  # values of each; further ones are counted together
OTHER = "(other)"
SHOWN = "SHOWN"


@dataclass
class ElementErrors:
    """Of one output."""

    elements: int = 0
    outside: int = 0
    absolute: Sketch = field(default_factory=Sketch)
    relative: Sketch = field(default_factory=Sketch)


class Tally:
    """Raises nothing while it counts."""

    def __init__(self, plan: Plan, condition: Condition, terms: Terms, floor: Mapping[str, float]) -> None:
        self.condition = condition
        self._terms, self._floor = terms, floor
        self._measure = plan.measure(condition, floor)
        self._evidence = self._measure.evidence
        self._by_mean = plan.rows == MEAN
        self._gauge = self._new_gauge()
        self._course = self._gauge_of_the_course()
        self._all = [gauge for gauge in dict.fromkeys((self._gauge, self._course)) if gauge is not None]
        self._slices: dict[str, dict[str, Gauge]] = {name: {} for name in plan.slices}
        self._units = self._unknown = self._excluded = 0
        self._values, self._differences, self._sizes = Sketch(), Sketch(), Sketch()
        self._window: deque[float] = deque(maxlen=plan.window)
        self._reasons, self._notes = Counter[str](), Counter[str]()
        self._flips = Flips()
        self._errors: dict[str, ElementErrors] = {}
        self._worst = Worst()
        self._history: list[Moment] = []
        self._stride = 1 if terms.whole_file else LOOK_EVERY
        self.notice = ""

    def add(self, pair: Pair, slices: Mapping[str, str]) -> None:
        """One unit.

        Args:
            slices: Its value of each slice.
        """
        sight = sight_of(self._measure, pair)
        self._beside(sight)
        if sight.excluded:
            self._excluded += 1
            return
        gauges = [*self._all, *filter(None, (self._slice(name, value) for name, value in slices.items()))]
        if sight.unknown or not sight.values.size:
            self._unknown += 1
            for gauge in gauges:
                gauge.drop(1)
        else:
            self._count(sight, pair.case.number, gauges)
        self._remember()

    def drop(self, units: int) -> None:
        """Units that nobody was asked about."""
        self._unknown += units
        for gauge in self._all:
            gauge.drop(units)

    def finding(self) -> Finding:
        """What is known so far."""
        verdict = self._verdict()
        differences = quantiles_of(self._differences) if self._differences.count else None
        limits = None
        if differences is not None:
            spread = 1.96 * differences.deviation
            limits = (differences.mean - spread, differences.mean + spread)
        return Finding(
            self.condition.name,
            self.condition.measure,
            self.condition.output,
            self._evidence.kind,
            self.condition.margin,
            verdict.outcome,
            verdict.reason,
            verdict.estimate,
            verdict.lower,
            verdict.upper,
            self._units + self._unknown,
            self._unknown,
            self._excluded,
            verdict.more_units,
            self._of_the_window(),
            len(self._window),
            dict(self._reasons.most_common()),
            dict(self._notes.most_common()),
            quantiles_of(self._values),
            self._worst.cases,
            tuple(self._history),
            self._slice_findings(),
            self._table(),
            self._element_errors(),
            differences,
            quantiles_of(self._sizes) if self._sizes.count else None,
            limits,
            self._evidence.low,
            self._evidence.high,
            self._evidence.higher_is_better,
        )

    def _new_gauge(self) -> Gauge | None:
        if self._evidence.kind == "shown":
            return None
        return gauge_for(self._evidence, self.condition.margin, self._terms, fractions=self._by_mean)

    def _gauge_of_the_course(self) -> Gauge | None:
        """What tells the history: of a file that is to be looked at once another, which may be looked at at any time.

        It decides nothing. Where nothing is concluded from a file, what is so may be looked at as it is.
        """
        if self._evidence.kind == "shown" or not (self._terms.whole_file and self._terms.independent):
            return self._gauge
        as_a_stream = replace(self._terms, whole_file=False)
        return gauge_for(self._evidence, self.condition.margin, as_a_stream, fractions=self._by_mean)

    def _count(self, sight: Sight, number: int, gauges: list[Gauge]) -> None:
        whole = self._evidence.kind == "share" and not self._by_mean
        value = float(sight.values.min() if whole else sight.values.mean())
        self._units += 1
        self._values.add(value)
        self._window.append(value)
        for gauge in gauges:
            gauge.add(value)
        best = self._evidence.high if self._evidence.higher_is_better else max(self._evidence.low, 0.0)
        if value != best and (self._evidence.kind != "loss" or value > 0):
            self._worst.add(Case(number, value, sight.severity, sight.reason))

    def _beside(self, sight: Sight) -> None:
        for counter, words in ((self._reasons, filter(None, (sight.reason,))), (self._notes, iter(sight.notes))):
            for word in words:
                counter[word if word in counter or len(counter) < MOST_REASONS else OTHER] += 1
        self.notice = self.notice or sight.notice
        if sight.labels is not None:
            self._flips.add(*sight.labels)
        if sight.differences is not None:
            self._differences.add(sight.differences)
            self._sizes.add(np.abs(sight.differences))
        for output, seen in sight.errors.items():
            errors = self._errors.setdefault(output, ElementErrors()) if len(self._errors) < MOST_REASONS else None
            errors = errors or self._errors.get(output)
            if errors is not None:
                errors.elements += seen.elements
                errors.outside += int(seen.outside.sum())
                errors.absolute.add(seen.absolute)
                errors.relative.add(seen.relative)

    def _slice(self, name: str, value: str) -> Gauge | None:
        values = self._slices[name]
        if value not in values and len(values) >= MOST_SLICES:
            value = OTHER
        if value not in values:
            gauge = self._new_gauge()
            if gauge is None:
                return None
            values[value] = gauge
        return values[value]

    def _remember(self) -> None:
        """A point of the history; when there are too many, every other one goes."""
        units = self._units + self._unknown
        if self._course is None or units % self._stride:
            return
        seen = self._course.read()
        self._history.append(Moment(units, seen.estimate, seen.lower, seen.upper, self._of_the_window()))
        if len(self._history) >= MOST_MOMENTS:
            self._history = self._history[1::2]
            self._stride *= 2

    def _of_the_window(self) -> float:
        return float(np.mean(self._window)) if self._window else math.nan

    def _verdict(self) -> Verdict:
        if self._gauge is None:
            return Verdict(SHOWN, self._values.mean, math.nan, math.nan, self._units, reason="it has no bounds")
        return self._gauge.read()

    def _slice_findings(self) -> tuple[SliceFinding, ...]:
        found = []
        for name, values in self._slices.items():
            for value, gauge in sorted(values.items()):
                seen = gauge.read()
                found.append(SliceFinding(name, value, seen.units, seen.estimate, seen.lower, seen.upper, seen.outcome))
        return tuple(found)

    def _table(self) -> Table | None:
        if not self._flips.rows:
            return None
        return Table(*self._flips.table(), self._flips.kappa, self._flips.most())

    def _element_errors(self) -> tuple[OutputErrors, ...]:
        return tuple(
            OutputErrors(
                output,
                errors.elements,
                errors.outside,
                self._floor.get(output, 0.0),
                quantiles_of(errors.absolute),
                quantiles_of(errors.relative),
            )
            for output, errors in sorted(self._errors.items())
        )


def quantiles_of(sketch: Sketch) -> Quantiles:
    """NaN where there is no number."""
    least, most = (sketch.least, sketch.most) if sketch.count else (math.nan, math.nan)
    half, nine_tenths, all_but_one, nearly_all = (sketch.quantile(share) for share in (0.5, 0.9, 0.99, 0.999))
    return Quantiles(
        sketch.count,
        sketch.not_a_number + sketch.infinite,
        sketch.mean,
        sketch.deviation,
        least,
        half,
        nine_tenths,
        all_but_one,
        nearly_all,
        most,
        tuple(Bin(*each) for each in sketch.bins()),
    )
