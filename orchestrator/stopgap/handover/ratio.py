"""Whether the callers of a split are shared out as they should be; if not, nothing that was measured in it counts.

Of callers, not of requests: those of one caller go the same way, and some ask a thousand times as often as others. It
may be looked at after every caller: what is returned is the capital of a bet against the share, a mixture over all
others (Beta(1, 1)), which is ever worth 1/alpha with a probability of at most alpha while the share is right (Ville).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["ALPHA", "Ratio", "SampleRatio"]

ALPHA = 0.001


@dataclass(frozen=True)
class Ratio:
    """What is known.

    Attributes:
        units: Distinct callers.
        candidates: Those of the candidate's.
        mismatch: The share is another than was asked for; once seen it stays so.
        evidence: The highest capital so far, in powers of e.
    """

    units: int
    candidates: int
    mismatch: bool
    evidence: float

    @property
    def share(self) -> float:
        """The candidate's; NaN without a caller."""
        return self.candidates / self.units if self.units else math.nan


class SampleRatio:
    """Takes in callers.

    Args:
        share: What the candidate's is to be, between 0 and 1.
        alpha: With what probability a mismatch may be seen where there is none.
    """

    def __init__(self, share: float, alpha: float = ALPHA) -> None:
        self._share, self._threshold = share, math.log(1 / alpha)
        self._units = self._candidates = 0
        self._highest = 0.0

    def update(self, candidates: int, legacy: int) -> Ratio:
        """Counts further callers, the first time that each is seen."""
        self._candidates += candidates
        self._units += candidates + legacy
        self._highest = max(self._highest, self._log_capital())
        return Ratio(self._units, self._candidates, self._highest >= self._threshold, self._highest)

    def _log_capital(self) -> float:
        mine, others = self._candidates, self._units - self._candidates
        mixture = math.lgamma(mine + 1) + math.lgamma(others + 1) - math.lgamma(self._units + 2)
        return mixture - mine * math.log(self._share) - others * math.log1p(-self._share)
