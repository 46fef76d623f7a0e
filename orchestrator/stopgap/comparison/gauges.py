"""From a measure's values, one for each unit, to a verdict: of a stream, at any time, or of a whole file, once."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Optional, Protocol

from stopgap.comparison.sight import Evidence
from stopgap.verdict import Verdict, agreement, bounded, whole_file

__all__ = ["Gauge", "Terms", "gauge_for"]

LOOK_EVERY = 100  # units: a look takes about a millisecond, and none has to be made


@dataclass(frozen=True)
class Terms:
    """Under which a verdict is made.

    Attributes:
        alpha: Already divided by the number of candidates.
        whole_file: All units are there, and looked at once.
        independent: They were drawn independently from what is to come: only then a file says more than itself.
    """

    alpha: float
    most_units: Optional[int] = None  # noqa: UP045 - read by Python 3.9 too
    whole_file: bool = False
    independent: bool = False


class Gauge(Protocol):
    def add(self, value: float) -> None: ...

    def drop(self, units: int) -> None:
        """Units of which nothing is known: at their worst for a PASS, at their best for a FAIL."""

    def read(self) -> Verdict: ...


def gauge_for(evidence: Evidence, margin: float | None, terms: Terms, *, fractions: bool = False) -> Gauge:
    """
    Args:
        fractions: A unit of a share may agree in part: it is a mean then.

    Raises:
        VerdictError: The margin cannot be.
    """
    if evidence.kind == "share" and not fractions:
        return FileShare(margin, terms) if terms.whole_file else StreamShare(margin, terms)
    return Mean(evidence, margin, terms)


class StreamShare:
    """Units that agree or do not, judged as they come."""

    def __init__(self, margin: float | None, terms: Terms) -> None:
        self._judge = agreement(margin=margin, alpha=terms.alpha, most_units=terms.most_units)
        self._waiting: list[bool] = []
        self._dropped = 0

    def add(self, value: float) -> None:
        self._waiting.append(value >= 1)
        if len(self._waiting) >= LOOK_EVERY:
            self.read()

    def drop(self, units: int) -> None:
        self._dropped += units

    def read(self) -> Verdict:
        waiting, dropped, self._waiting, self._dropped = self._waiting, self._dropped, [], 0
        return self._judge.update(waiting, dropped) if waiting or dropped else self._judge.verdict


class FileShare:
    """The same of a whole file."""

    def __init__(self, margin: float | None, terms: Terms) -> None:
        agreement(margin=margin, alpha=terms.alpha)  # refuses what cannot be
        self._margin, self._terms = margin, terms
        self._agreeing = self._units = self._dropped = 0

    def add(self, value: float) -> None:
        self._agreeing += value >= 1
        self._units += 1

    def drop(self, units: int) -> None:
        self._dropped += units

    def read(self) -> Verdict:
        units = self._units + self._dropped
        estimate = self._agreeing / self._units if self._units else math.nan
        if not self._units:
            return nothing(units, 0.0, 1.0)
        if not self._terms.independent:
            ends = (self._agreeing / units, (self._agreeing + self._dropped) / units)
            return on_the_file(estimate, ends, units, self._margin)
        worst, best = (
            whole_file(agreeing, units, margin=self._margin, alpha=self._terms.alpha)
            for agreeing in (self._agreeing, self._agreeing + self._dropped)
        )
        found = worst if worst.outcome == "PASS" else best if best.outcome == "FAIL" else worst
        if found is worst and worst.outcome == "FAIL":
            found = replace(worst, outcome="INCONCLUSIVE", reason="too many units are not known")
        return replace(found, estimate=estimate, lower=worst.lower, upper=best.upper)


class Mean:
    """Values in a range: of a stream, and of a file under the claim, by the same bets."""

    def __init__(self, evidence: Evidence, margin: float | None, terms: Terms) -> None:
        self._sign = -1.0 if evidence.higher_is_better else 1.0
        self._ends = sorted((self._sign * evidence.low, self._sign * evidence.high))
        self._margin = None if margin is None else self._sign * margin
        self._terms = terms
        self._judge = bounded(*self._ends, margin=self._margin, alpha=terms.alpha, most_units=terms.most_units)
        self._waiting: list[float] = []
        self._dropped = self._all_dropped = self._units = 0
        self._sum = 0.0

    def add(self, value: float) -> None:
        value = min(max(self._sign * value, self._ends[0]), self._ends[1])  # a mean's last digit may lie beyond
        self._waiting.append(value)
        self._sum += value
        self._units += 1
        if len(self._waiting) >= LOOK_EVERY:
            self._look()

    def drop(self, units: int) -> None:
        self._dropped += units
        self._all_dropped += units

    def read(self) -> Verdict:
        found = self._exact() if self._of_the_file_alone else self._look()
        if self._sign > 0:
            return found
        return replace(found, estimate=-found.estimate, lower=-found.upper, upper=-found.lower)

    @property
    def _of_the_file_alone(self) -> bool:
        return self._terms.whole_file and not self._terms.independent

    def _look(self) -> Verdict:
        if self._of_the_file_alone:
            self._waiting.clear()
            return self._judge.verdict
        waiting, dropped, self._waiting, self._dropped = self._waiting, self._dropped, [], 0
        return self._judge.update(waiting, dropped) if waiting or dropped else self._judge.verdict

    def _exact(self) -> Verdict:
        units = self._units + self._all_dropped
        if not self._units:
            return nothing(units, *self._ends)
        ends = [(self._sum + self._all_dropped * end) / units for end in self._ends]
        estimate = self._sum / self._units
        mirrored = None if self._margin is None else -self._margin
        found = on_the_file(-estimate, (-ends[1], -ends[0]), units, mirrored)
        return replace(found, estimate=estimate, lower=ends[0], upper=ends[1])


def on_the_file(estimate: float, ends: tuple[float, float], units: int, margin: float | None) -> Verdict:
    """What is so, and not what can be concluded: the ends differ by what was dropped alone. Higher is better."""
    if margin is None:
        return Verdict("INCONCLUSIVE", estimate, *ends, units, reason="no margin was stated")
    if ends[0] >= margin or ends[1] < margin:
        return Verdict("PASS" if ends[0] >= margin else "FAIL", estimate, *ends, units)
    return Verdict("INCONCLUSIVE", estimate, *ends, units, reason="too many units are not known")


def nothing(units: int, low: float, high: float) -> Verdict:
    return Verdict("INCONCLUSIVE", math.nan, low, high, units, reason="there is no unit to judge")
