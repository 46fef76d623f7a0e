"""What is known of a split at this moment: of callers, not of requests, and however often one looks.

Compared are those callers alone that were first seen at the latest share. Where a share grows from 10 % to 50 %, the
candidate's callers are of later days than the legacy model's, and a model that is worse on each day may look better.
"""

from __future__ import annotations

from dataclasses import dataclass

from stopgap.ledger.book import ARMS, Firsts, Known
from stopgap.ledger.reading import Reading, reading_of
from stopgap.stages import HandOver
from stopgap.store import Store
from stopgap.two_means import TwoMeans, TwoMeansVerdict

__all__ = ["Report", "report_of"]


@dataclass(frozen=True)
class Report:
    """Of one split.

    Attributes:
        share: The latest, of `SHARES`: `well` and `rewards` are of callers that were first seen at it.
        units: How many these are.
        well: Callers whose first answer was none of an error, of those who were there for it: 1 each, or 0.
        rewards: The first reward of each caller.
    """

    reading: Reading
    share: int
    units: int
    well: TwoMeansVerdict
    rewards: TwoMeansVerdict

    @property
    def known(self) -> Known:
        """What the book says."""
        return self.reading.known

    @property
    def left_out(self) -> int:
        """Callers that were first seen at another share."""
        return self.known.ratio.units - self.units


def report_of(record: HandOver, store: Store) -> Report | None:
    """None where no ledger was kept of that split.

    Raises:
        LedgerError: It cannot be read.
    """
    reading = reading_of(record, store)
    if reading is None:
        return None
    candidate, legacy = (reading.known.arm(arm).at(record.latest_share) for arm in ARMS)
    return Report(
        reading,
        record.latest_share,
        candidate.units + legacy.units,
        TwoMeans().add_counted(answered_well(candidate), answered_well(legacy)),
        TwoMeans(record.reward_margin).add_counted(dict(candidate.rewards), dict(legacy.rewards)),
    )


def answered_well(callers: Firsts) -> dict[float, int]:
    return {1.0: callers.judged - callers.failed, 0.0: callers.failed}
