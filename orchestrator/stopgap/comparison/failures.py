"""Whether both answer at all, and how fast: what is compared also where there are no outputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from stopgap.comparison.pairs import Pair
from stopgap.comparison.sight import SHARE, Evidence, Sight, excluded, unknown
from stopgap.errors import ComparisonError
from stopgap.printable import printable

__all__ = ["Answered", "Latency", "Parity", "code_of", "parity_of"]

BOTH, ONLY_LEGACY, ONLY_CANDIDATE = "both answered", "only the legacy model failed", "only the candidate failed"
SAME_CODE, OTHER_CODE = "both failed, with the same code", "both failed, with different codes"


@dataclass(frozen=True)
class Parity:
    """Whether both answered, or both failed: with the same code, unless that does not matter."""

    same_code: bool = True
    sees_failures: ClassVar[bool] = True

    @property
    def evidence(self) -> Evidence:
        return SHARE

    def look(self, pair: Pair) -> Sight:
        found = parity_of(pair)
        agrees = found in (BOTH, SAME_CODE) or (found == OTHER_CODE and not self.same_code)
        return Sight(np.array([float(agrees)]), "" if agrees else found, severity=float(not agrees))


@dataclass(frozen=True)
class Answered:
    """Whether the candidate answers what the legacy model answers."""

    sees_failures: ClassVar[bool] = True

    @property
    def evidence(self) -> Evidence:
        return SHARE

    def look(self, pair: Pair) -> Sight:
        if pair.legacy.outputs is None:
            return excluded("the legacy model did not answer")
        agrees = pair.candidate.outputs is not None
        return Sight(np.array([float(agrees)]), "" if agrees else ONLY_CANDIDATE, severity=float(not agrees))


@dataclass(frozen=True)
class Latency:
    """Whether the candidate answers within `budget_s`. One that does not answer does not do so in time."""

    budget_s: float
    sees_failures: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not 0 < self.budget_s < np.inf:
            raise ComparisonError(f"A budget of {self.budget_s} s is none.", "State the seconds, above 0.")

    @property
    def evidence(self) -> Evidence:
        return SHARE

    def look(self, pair: Pair) -> Sight:
        if pair.legacy.outputs is None:
            return excluded("the legacy model did not answer")
        if pair.candidate.outputs is None:
            return Sight(np.zeros(1), "the candidate did not answer", severity=np.inf)
        taken = pair.candidate.latency_s
        if taken is None or not taken >= 0:
            return unknown("the latency is not known")
        return Sight(np.array([float(taken <= self.budget_s)]), severity=float(taken))


def parity_of(pair: Pair) -> str:
    ours, theirs = pair.legacy.outputs is None, pair.candidate.outputs is None
    if ours and theirs:
        return SAME_CODE if code_of(pair.legacy) == code_of(pair.candidate) else OTHER_CODE
    return ONLY_LEGACY if ours else ONLY_CANDIDATE if theirs else BOTH


def code_of(answer: object) -> str:
    """The code of a failure, fit to be shown; `UNKNOWN` where it says none."""
    failure = getattr(answer, "failure", None)
    code = getattr(failure, "code", "")
    return printable(str(code), 40) or "UNKNOWN"
