"""What is known of a split at this moment: of callers, not of requests, and however often one looks."""

from __future__ import annotations

from dataclasses import dataclass

from stopgap.ledger.book import Arm, Known
from stopgap.ledger.reading import Reading, reading_of
from stopgap.stages import HandOver
from stopgap.store import Store
from stopgap.two_means import TwoMeans, TwoMeansVerdict

__all__ = ["Report", "report_of"]


@dataclass(frozen=True)
class Report:
    """Of one split.

    Attributes:
        well: Callers whose first answer was none of an error, of those who were there for it: 1 each, or 0.
        rewards: The first reward of each caller.
    """

    reading: Reading
    well: TwoMeansVerdict
    rewards: TwoMeansVerdict

    @property
    def known(self) -> Known:
        """What the book says."""
        return self.reading.known


def report_of(record: HandOver, store: Store) -> Report | None:
    """None where no ledger was kept of that split.

    Raises:
        LedgerError: It cannot be read.
    """
    reading = reading_of(record, store)
    if reading is None:
        return None
    candidate, legacy = reading.known.candidate, reading.known.legacy
    return Report(
        reading,
        TwoMeans().add_counted(answered_well(candidate), answered_well(legacy)),
        TwoMeans(record.reward_margin).add_counted(dict(candidate.rewards), dict(legacy.rewards)),
    )


def answered_well(arm: Arm) -> dict[float, int]:
    return {1.0: arm.judged - arm.failed, 0.0: arm.failed}
