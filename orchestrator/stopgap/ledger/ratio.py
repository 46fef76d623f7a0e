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

    While a split lasts its share may change. Who is new is drawn by the share of that moment, so that each share has a
    capital of its own, and theirs together is the product.

    Args:
        alpha: With what probability a mismatch may be seen where there is none.
        highest: The highest capital that was seen before, in powers of e.
    """

    def __init__(self, alpha: float = ALPHA, highest: float = 0.0) -> None:
        self._threshold, self._highest = math.log(1 / alpha), highest
        self._counts: dict[float, tuple[int, int]] = {}

    def update(self, share: float, candidates: int, legacy: int) -> Ratio:
        """`add`, and a look."""
        self.add(share, candidates, legacy)
        return self.look()

    def add(self, share: float, candidates: int, legacy: int) -> None:
        """Counts further callers, the first time that each is seen; to be looked at once all of that moment are in.

        Args:
            share: What the candidate's was to be, between 0 and 1.
        """
        before = self._counts.get(share, (0, 0))
        self._counts[share] = (before[0] + candidates, before[1] + legacy)

    def look(self) -> Ratio:
        """What is known now."""
        capital = sum(log_capital(share, *counts) for share, counts in self._counts.items())
        self._highest = max(self._highest, capital)
        mine, others = (sum(counts[arm] for counts in self._counts.values()) for arm in (0, 1))
        return Ratio(mine + others, mine, self._highest >= self._threshold, self._highest)


def log_capital(share: float, candidates: int, legacy: int) -> float:
    """Of the bets against one share, in powers of e."""
    mixture = math.lgamma(candidates + 1) + math.lgamma(legacy + 1) - math.lgamma(candidates + legacy + 2)
    return mixture - candidates * math.log(share) - legacy * math.log1p(-share)
