"""What may be looked at after each request, and goes off where too many of them are not well."""

from __future__ import annotations

import math

import numpy as np

from stopgap.verdict import FAIL, PASS, Agreement, agreement

__all__ = ["ALPHA", "Alarm"]

ALPHA = 0.01
A_FEW = 100  # units


class Alarm:
    """Goes off where fewer are well than a share: wrongly with a probability of at most alpha, however long it lasts.

    It has two verdicts. One sees what is a little wrong for long, and begins anew whenever it has shown that all is
    well. The other sees at once what goes very wrong after it was well for long, and begins anew after every few units.
    """

    def __init__(self, share: float, alpha: float = ALPHA) -> None:
        share = min(max(share, 0.001), 0.999)
        self._long, self._short = Repeated(share, alpha / 2), Repeated(share, alpha / 2)

    def goes_off(self, number: int, bad: int) -> bool:
        """
        Args:
            number: How many came since it was last asked.
            bad: How many of them were not well. They are taken first: the order makes no difference to the verdict.
        """
        number = max(number, 0)
        well = np.arange(number) >= min(max(bad, 0), number)
        outcomes = [each.judge.update(well).outcome for each in (self._long, self._short)]
        if self._long.judge.verdict.outcome == PASS:
            self._long.begin()
        if self._short.judge.verdict.units >= A_FEW:
            self._short.begin()
        return FAIL in outcomes


class Repeated:
    """One verdict after the other. The n-th has 6 / (pi n)^2 of `alpha`: all of them together have `alpha`."""

    def __init__(self, share: float, alpha: float) -> None:
        self._share, self._alpha, self._times = share, alpha, 0
        self.judge: Agreement
        self.begin()

    def begin(self) -> None:
        self._times += 1
        self.judge = agreement(margin=self._share, alpha=self._alpha * 6 / (math.pi * self._times) ** 2)
