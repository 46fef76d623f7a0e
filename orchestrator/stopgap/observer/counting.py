"""The front's own counts for an observer, added up over its restarts, and held against what that one has counted."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from stopgap.front.mirrored import Mirrored

__all__ = ["LOST", "RECORDED", "UNDELIVERED", "Totals", "advanced", "totals_in", "warnings"]

# What Envoy counts, and under which names totals and last readings are kept.
FIELDS = ("predictions", "sent", "delivered", "undelivered", "not_mirrored")
TOTAL, READ = "front: ", "read: "
EXPECTED, UNCERTAIN = "expected in a million", "uncertain in a million"
SAMPLE = "sample at the last reading, in a million"
BEGUN = "begun"
MISSING = "missing at the last reading"
SEEN, JOINED, DROPPED = "seen", "joined", "dropped: "
UNDELIVERED, LOST = "not delivered", "lost with the observer"
COMPARED, RECORDED = "compared", "recorded"
DEVIATIONS = 5.0
# Copies that are just on their way, and what a reading of the counters a moment apart may differ by.
ON_THEIR_WAY = 64


@dataclass(frozen=True)
class Totals:
    """Since the experiment began.

    Attributes:
        predictions: What users asked by gRPC's Predict.
        expected: How many of them should have been drawn for the sample.
        uncertain: By how many that may be wrong, since the sample was changed between two readings.
        sent: How many were.
        undelivered: Of those, how many the observer did not take.
        not_mirrored: What came over REST, or by other methods.
        seen: How many the observer took, those that were lost with it included.
        joined: How many were asked about, and compared or recorded.
        dropped: The others, by reason.
        missing: What was unaccounted for when both accounts were last read at the same moment.
    """

    predictions: int
    expected: float
    uncertain: float
    sent: int
    undelivered: int
    not_mirrored: int
    seen: int
    joined: int
    dropped: Mapping[str, int]
    missing: int = 0

    def as_json(self) -> dict[str, object]:
        """For scripts."""
        return {
            "predictions": self.predictions,
            "expected": round(self.expected, 1),
            "mirrored": self.sent,
            "undelivered": self.undelivered,
            "seen": self.seen,
            "joined": self.joined,
            "waiting": self.waiting,
            "dropped": dict(self.dropped),
            "unaccounted": self.unaccounted,
            "not_mirrored": self.not_mirrored,
        }

    @property
    def share(self) -> float:
        """The sample that was wanted, on the average."""
        return self.expected / self.predictions if self.predictions else 0.0

    @property
    def waiting(self) -> int:
        """Seen, and neither joined nor dropped."""
        return self.seen - self.joined - sum(self.dropped.values()) + self.dropped.get(UNDELIVERED, 0)

    @property
    def unaccounted(self) -> int:
        """Sent, and neither seen nor known as undelivered."""
        return self.sent - self.undelivered - self.seen


def totals_in(counts: Mapping[str, int]) -> Totals:
    """From the names under which they are kept."""
    front = {name: counts.get(TOTAL + name, 0) for name in FIELDS}
    dropped = {name[len(DROPPED) :]: value for name, value in counts.items() if name.startswith(DROPPED) and value}
    return Totals(
        predictions=front["predictions"],
        expected=counts.get(EXPECTED, 0) / 1e6,
        uncertain=counts.get(UNCERTAIN, 0) / 1e6,
        sent=front["sent"],
        undelivered=front["undelivered"],
        not_mirrored=front["not_mirrored"],
        seen=counts.get(SEEN, 0),
        joined=counts.get(JOINED, 0),
        dropped=dropped,
        missing=counts.get(MISSING, 0),
    )


def advanced(
    counts: Mapping[str, int], read: Mirrored, per_million: int, *, unsure: int = 0, only_read: bool = False
) -> dict[str, int]:
    """The counts that a reading changes; an Envoy that has started anew counts from 0.

    Args:
        per_million: The sample now. Where it was another at the last reading, nobody knows when it was changed.
        unsure: By how much else it may have been another meanwhile.
        only_read: It is where counting begins.
    """
    now = {name: getattr(read, name) for name in FIELDS}
    changed = {**{READ + name: value for name, value in now.items()}, SAMPLE: per_million}
    if only_read:
        return changed
    last = {name: counts.get(READ + name, 0) for name in FIELDS}
    grown = {name: now[name] - last[name] if now[name] >= last[name] else now[name] for name in FIELDS}
    totals = {TOTAL + name: counts.get(TOTAL + name, 0) + grown[name] for name in FIELDS}
    drawn = {EXPECTED: per_million, UNCERTAIN: max(unsure, abs(per_million - counts.get(SAMPLE, per_million)))}
    grown_by = {name: counts.get(name, 0) + each * grown["predictions"] for name, each in drawn.items()}
    return {**changed, **totals, **grown_by}


def warnings(totals: Totals, done: str = COMPARED) -> list[str]:
    """What a person has to know, the worst first.

    Args:
        done: What becomes of a request: `COMPARED` or `RECORDED`.
    """
    found = []
    if not totals.predictions:
        found.append(f"No prediction has come over gRPC yet, so nothing was {done}.")
    elif not totals.sent and totals.expected >= 1:
        found.append(f"NOTHING WAS MIRRORED of {totals.predictions} predictions.")
    elif off_the_sample(totals):
        found.append(
            f"The front mirrored {totals.sent} of {totals.predictions} predictions, where about "
            f"{totals.expected:.0f} were to be expected: the sample is not what it should be."
        )
    if totals.not_mirrored:
        found.append(
            f"{totals.not_mirrored} requests came over REST or by other methods than Predict: those are never mirrored."
        )
    if totals.dropped:
        reasons = ", ".join(f"{number} {reason}" for reason, number in sorted(totals.dropped.items()))
        lost, of = sum(totals.dropped.values()), totals.seen + totals.undelivered
        held = " and count against the candidate" if done == COMPARED else ""
        found.append(f"{lost} of {of} sampled requests were DROPPED{held}: {reasons}.")
    if abs(totals.missing) > ON_THEIR_WAY:
        found.append(f"{totals.missing} requests were mirrored and neither arrived nor failed to.")
    return found


def off_the_sample(totals: Totals) -> bool:
    deviation = math.sqrt(max(totals.predictions * totals.share * (1 - totals.share), 0.0))
    return abs(totals.sent - totals.expected) > DEVIATIONS * deviation + totals.uncertain + ON_THEIR_WAY
