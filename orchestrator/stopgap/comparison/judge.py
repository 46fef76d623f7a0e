"""Pairs in, a result out: as they come from a stream, for as long as it lasts, or all of a file, once.

    judge = Judge(plan)
    for pair in pairs:
        judge.add(pair)
    judge.result().outcome

The first observation of each unit counts, a request that repeats it does not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from stopgap.comparison.classes import label
from stopgap.comparison.failures import code_of, parity_of
from stopgap.comparison.pairs import Answer, Case, Pair, Tensors
from stopgap.comparison.plan import Plan
from stopgap.comparison.result import Finding, Result
from stopgap.comparison.sketch import Sketch
from stopgap.comparison.tally import MOST_REASONS, SHOWN, Tally, quantiles_of
from stopgap.comparison.units import MOST_UNITS, Units, unit_of
from stopgap.comparison.values import as_array
from stopgap.errors import ComparisonError
from stopgap.printable import printable

__all__ = ["Judge"]

WORST_FIRST = ("FAIL", "INCONCLUSIVE", "PASS")
LONGEST_SLICE = 60


class Judge:
    """Its memory is bounded: about 1 MB for each condition, and 16 to 27 bytes for each distinct unit."""

    def __init__(
        self,
        plan: Plan,
        floor: Mapping[str, float] | None = None,
        *,
        whole_file: bool = False,
        most_remembered: int = MOST_UNITS,
    ) -> None:
        """
        Args:
            floor: The noise floor by the legacy model's outputs: see `closeness.noise_floor`.
            whole_file: All of a file is added, and only then looked at.
            most_remembered: Units; what comes after so many distinct ones does not count.
        """
        self.plan = plan
        self._whole_file = whole_file
        terms = plan.terms(whole_file=whole_file)
        self._tallies = [Tally(plan, condition, terms, floor or {}) for condition in plan.conditions]
        self._units = Units(most_remembered)
        self._requests = self._repeated = self._untold = 0
        self._dropped, self._parity, self._codes = Counter[str](), Counter[str](), Counter[str]()
        self._latency = {"legacy": Sketch(), "candidate": Sketch()}
        self._closed = False

    def add(self, pair: Pair) -> bool:
        """Counts one pair, the candidate's answer under its own names; whatever was answered, nothing is raised.

        Returns:
            Whether it is the first of its unit.

        Raises:
            ComparisonError: The file was looked at already.
        """
        self._check_open()
        self._requests += 1
        unit = unit_of(pair.case)
        if unit in self._units:
            self._repeated += 1
            return False
        if not self._units.add(unit):
            self._untold += 1
            return False
        prepared = self._prepared(pair)
        self._count_failures(prepared)
        slices = {name: slice_of(prepared.case, name) for name in self.plan.slices}
        for tally in self._tallies:
            tally.add(prepared, slices)
        return True

    def dropped(self, requests: int, reason: str = "dropped") -> None:
        """Requests that were lost before anybody was asked. In every condition each is a unit at its worst.

        Raises:
            ComparisonError: There cannot be so many, or the file was looked at already.
        """
        self._check_open()
        if requests < 0:
            raise ComparisonError(f"{requests} requests cannot have been dropped.")
        counted(self._dropped, reason, requests)
        for tally in self._tallies:
            tally.drop(requests)

    @property
    def drops(self) -> Mapping[str, int]:
        """Requests that were lost before anybody was asked, by reason."""
        return dict(self._dropped)

    def result(self) -> Result:
        """What is known so far. Of a file it is the one look: afterwards nothing can be added."""
        self._closed = self._whole_file
        findings = tuple(tally.finding() for tally in self._tallies)
        outcome, reason = overall(findings)
        scope = "stream" if not self._whole_file else "beyond the file" if self.plan.independent else "file"
        return Result(
            outcome,
            reason,
            scope,
            self.plan.mode,
            self.plan.digest,
            self.plan.alpha / self.plan.candidates,
            self.plan.candidates,
            self._requests,
            self._units.count,
            self._repeated,
            self._untold,
            dict(self._dropped),
            dict(self._parity),
            dict(self._codes),
            {model: quantiles_of(sketch) for model, sketch in self._latency.items()},
            findings,
            self._notices(),
        )

    def _prepared(self, pair: Pair) -> Pair:
        pair = replace(pair, candidate=self.plan.mapping.told(pair.candidate))
        if self.plan.batched:
            return pair
        case = replace(pair.case, extras=one_row(pair.case.extras))
        return Pair(case, in_one_row(pair.legacy), in_one_row(pair.candidate))

    def _count_failures(self, pair: Pair) -> None:
        self._parity[parity_of(pair)] += 1
        for model, answer in (("legacy", pair.legacy), ("candidate", pair.candidate)):
            if answer.outputs is None:
                counted(self._codes, f"{model} {code_of(answer)}", 1)
            elif answer.latency_s is not None:
                self._latency[model].add(answer.latency_s)

    def _notices(self) -> tuple[str, ...]:
        told = [f"{each.condition.name}: {printable(each.notice)}" for each in self._tallies if each.notice]
        if self._untold:
            told.append(f"{self._untold} requests came after {self._units.count} distinct units and do not count.")
        if self._whole_file and not self.plan.independent:
            told.append("The result is of this file alone: that its units were drawn independently was not claimed.")
        return tuple(told)

    def _check_open(self) -> None:
        if self._closed:
            raise ComparisonError(
                "The file was looked at already, and a second look would err more often than it says.",
                "Judge it anew from the start, or as a stream.",
            )


def overall(findings: tuple[Finding, ...]) -> tuple[str, str]:
    """The worst outcome and why: all conditions must hold, so that none needs a correction for the others."""
    judged = [finding for finding in findings if finding.outcome != SHOWN]
    if not judged:
        return "INCONCLUSIVE", "no condition can be judged: what is shown has no bounds"
    outcome = next(each for each in WORST_FIRST if any(finding.outcome == each for finding in judged))
    if outcome == "PASS":
        return outcome, ""
    of = [finding for finding in judged if finding.outcome == outcome]
    return outcome, "; ".join(f"{each.name}: {each.reason or 'the margin is missed'}" for each in of)


def slice_of(case: Case, name: str) -> str:
    """Its value, where all its rows have the same."""
    value = as_array(case.extras.get(name, case.inputs.get(name)))
    if value is None or not value.size:
        return "(none)"
    found = {shown(each) for each in value.flat} if value.size <= MOST_REASONS or value.ndim == 1 else {"", "several"}
    return found.pop() if len(found) == 1 else "(several)"


def shown(element: object) -> str:
    return printable(label(element).decode("utf-8", "backslashreplace"), LONGEST_SLICE)


def counted(counter: Counter[str], word: str, number: int) -> None:
    counter[word if word in counter or len(counter) < MOST_REASONS else "(other)"] += number


def one_row(tensors: Tensors) -> dict[str, Any]:
    arrays = {name: as_array(value) for name, value in tensors.items()}
    return {name: array[np.newaxis] for name, array in arrays.items() if array is not None}


def in_one_row(answer: Answer) -> Answer:
    return answer if answer.outputs is None else replace(answer, outputs=one_row(answer.outputs))
