"""Which decisions turn into which: agreement alone hides that all of them turn the same way."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

__all__ = ["Flip", "Flips", "one_sidedness"]

MOST_KINDS = 2000  # remembered; further ones are counted together
OTHER = "(other)"


@dataclass(frozen=True)
class Flip:
    """So many rows that the legacy model decided one way and the candidate another.

    Attributes:
        reverse: How many turned the other way round.
        one_sided: With what probability a coin would be as one-sided as these two numbers or more.
    """

    legacy: str
    candidate: str
    count: int
    reverse: int
    one_sided: float


class Flips:
    """Counts them; the memory is bounded, whatever classes there are."""

    def __init__(self) -> None:
        self.pairs: Counter[tuple[str, str]] = Counter()
        self.rows = 0

    def add(self, legacy: tuple[str, ...], candidate: tuple[str, ...]) -> None:
        for pair in zip(legacy, candidate):
            known = pair in self.pairs or len(self.pairs) < MOST_KINDS
            self.pairs[pair if known else (OTHER, OTHER)] += 1
            self.rows += 1

    @property
    def kappa(self) -> float:
        """Cohen's: 1 for full agreement, 0 for what chance would give; NaN where chance gives all of it."""
        if not self.rows:
            return math.nan
        ours, theirs = Counter[str](), Counter[str]()
        for (one, other), count in self.pairs.items():
            ours[one] += count
            theirs[other] += count
        seen = sum(count for (one, other), count in self.pairs.items() if one == other and one != OTHER) / self.rows
        chance = sum(count * theirs[name] for name, count in ours.items()) / self.rows**2
        return (seen - chance) / (1 - chance) if chance < 1 else math.nan

    def most(self, number: int = 20) -> tuple[Flip, ...]:
        """The most frequent, those that did not turn left out."""
        turned = [(count, pair) for pair, count in self.pairs.items() if pair[0] != pair[1]]
        turned.sort(key=lambda each: (-each[0], each[1]))
        return tuple(self._flip(pair, count) for count, pair in turned[:number])

    def table(self, classes: int = 20) -> tuple[tuple[str, ...], tuple[tuple[int, ...], ...]]:
        """The most frequent classes, and the counts: a row for each of the legacy model's, the last for all others."""
        sizes: Counter[str] = Counter()
        for (one, other), count in self.pairs.items():
            sizes[one] += count
            sizes[other] += count
        names = [name for name, _ in sorted(sizes.items(), key=lambda each: (-each[1], each[0]))[:classes]]
        if len(sizes) > len(names):
            names = [*(name for name in names if name != OTHER), OTHER]
        places = {name: place for place, name in enumerate(names)}
        counts = [[0] * len(names) for _ in names]
        for (one, other), count in self.pairs.items():
            counts[places.get(one, len(names) - 1)][places.get(other, len(names) - 1)] += count
        return tuple(names), tuple(map(tuple, counts))

    def _flip(self, pair: tuple[str, str], count: int) -> Flip:
        reverse = self.pairs.get((pair[1], pair[0]), 0)
        return Flip(*pair, count, reverse, one_sidedness(count, reverse))


def one_sidedness(one: int, other: int) -> float:
    """The exact two-sided probability of a fair coin; beyond 10,000 tosses the normal distribution's."""
    tosses, fewer = one + other, min(one, other)
    if tosses > 10_000:
        return math.erfc(max(0.0, abs(one - other) - 1) / math.sqrt(2 * tosses))
    logs = [math.lgamma(tosses + 1) - math.lgamma(k + 1) - math.lgamma(tosses - k + 1) for k in range(fewer + 1)]
    tail = math.fsum(math.exp(log - tosses * math.log(2)) for log in logs)
    return min(1.0, 2 * tail)
