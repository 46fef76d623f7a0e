"""Whether a candidate can carry what its legacy model carries: asked at that rate, for some seconds, and counted."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stopgap.asking.data.opening import open_data
from stopgap.asking.data.reading import Reading
from stopgap.asking.live import LiveSide
from stopgap.asking.sides import Identity
from stopgap.client.channel import ServingChannel
from stopgap.comparison.pairs import Answer, Case
from stopgap.errors import DataError, DeploymentError
from stopgap.front.admin import Admin
from stopgap.front.traffic import Traffic, traffic
from stopgap.journal.replay import AtRate, Replayed, replay
from stopgap.journal.warm_up import WARM_UP_FILE
from stopgap.printable import printable
from stopgap.progress import Progress
from stopgap.store import Deployment

__all__ = ["Capacity", "Peak", "asked_at", "measured_peak", "requests_at_hand"]

PROBE_S = 5.0
WINDOW_S = 3.0
TIMEOUT_S = 5.0
MOST_IN_FLIGHT = 64
MOST_CASES = 1000  # in memory; asked again from the first on
LEAST_ANSWERED = 0.99
PROBED_AT_LEAST_PER_S = 10.0  # below that, five seconds say nothing


@dataclass(frozen=True)
class Peak:
    """How much a model is asked.

    Attributes:
        per_s: Requests a second.
        told: Where that is from, in words.
    """

    per_s: float
    told: str


@dataclass(frozen=True)
class Capacity:
    """What became of requests that came so fast.

    Attributes:
        per_s: So many a second were due.
        answered: By outputs, in time.
        median_s: Of the answered, in seconds; NaN without any.
        trouble: What most of the others came to; empty where all were answered.
    """

    per_s: float
    due: int
    answered: int
    median_s: float
    q99_s: float
    trouble: str = ""

    @property
    def suffices(self) -> bool:
        """Whether as good as all were answered."""
        return self.due > 0 and self.answered >= LEAST_ANSWERED * self.due

    def __str__(self) -> str:
        said = f"answered {self.answered} of {self.due} at {self.per_s:g} requests a second"
        if self.answered:
            said += f", median {self.median_s * 1000:.1f} ms, 99 % {self.q99_s * 1000:.1f} ms"
        return f"{said}; of the others most came to {self.trouble}" if self.trouble else said


def measured_peak(admin: Admin, name: str, progress: Progress) -> Peak:
    """The rate of the next seconds, or the mean since the front started, whichever is higher.

    No front keeps rates, so a peak that is over is not in it: who knows it gives it.

    Raises:
        FrontError: No Envoy answers.
    """
    before, began = predictions(traffic(admin, [name])[name]), time.monotonic()
    while (elapsed_s := time.monotonic() - began) < WINDOW_S:
        progress(f"counting what {name} is asked", elapsed_s / WINDOW_S)
        time.sleep(0.1)
    now = predictions(traffic(admin, [name])[name])
    recent, mean = (now - before) / elapsed_s, now / max(admin.uptime_s(), elapsed_s)
    told = f"of the last {elapsed_s:.0f} s" if recent >= mean else "the mean since the front started"
    return Peak(max(recent, mean), told)


def predictions(counted: Traffic) -> int:
    return sum(each.times for each in counted.answered if each.protocol == "rest" or each.method == "Predict")


def requests_at_hand(legacy: Deployment) -> Path | None:
    """The model's own warm-up requests, where it has some."""
    file = legacy.model / WARM_UP_FILE
    return file if file.is_file() else None


def asked_at(candidate: Deployment, per_s: float, file: Path, progress: Progress, seconds: float = PROBE_S) -> Capacity:
    """Asks a candidate, under its own name, with a file's requests, over and over.

    Args:
        per_s: Requests a second; fewer than some are not asked.
        file: Data as `stopgap compare` takes them, in the legacy model's words.
        seconds: For how long.

    Raises:
        DataError: They cannot be read, or there is none that the model can be asked.
        PredictionError: It does not tell its signatures.
    """
    per_s = max(per_s, PROBED_AT_LEAST_PER_S)
    channel = ServingChannel(candidate.address)
    identity = Identity(candidate.name, candidate.sunset.digest, "")
    side = LiveSide(channel, candidate.name, lambda: identity, lambda: None)
    took_s: list[float] = []
    troubles: Counter[str] = Counter()
    try:
        check_stateless(candidate)
        cases = list(itertools.islice(open_data(file, Reading(signatures=side.signatures())).cases(), MOST_CASES))
        if not cases:
            raise DataError(f"{file} has no request.", "Give a file with some: --requests FILE")
        due = max(1, round(per_s * seconds))

        def note(replayed: Replayed[Case]) -> None:
            progress(f"asking {candidate.name} {per_s:g} times a second", min(1.0, replayed.number / due))
            answer = replayed.sides["candidate"].answer
            if not isinstance(answer, Answer):
                troubles["nothing"] += 1
            elif answer.failure is not None:
                troubles[f"{answer.failure.code}: {printable(answer.failure.text)}"] += 1
            elif answer.latency_s is not None:
                took_s.append(answer.latency_s)

        replay(
            over_and_over(cases, due),
            {"candidate": lambda case, timeout_s: side.question(case)(timeout_s)},
            AtRate(per_s),
            timeout_s=TIMEOUT_S,
            most_in_flight=MOST_IN_FLIGHT,
            on_answer=note,
        )
    finally:
        side.close()
    median_s, q99_s = (float(np.quantile(took_s, share)) if took_s else float("nan") for share in (0.5, 0.99))
    trouble = next((text for text, _ in troubles.most_common(1)), "")
    return Capacity(per_s, due, len(took_s), median_s, q99_s, trouble)


def check_stateless(candidate: Deployment) -> None:
    if candidate.changes_state:
        raise DeploymentError(
            f"{candidate.name} changes its state when it is asked: it is not asked for a measurement.",
            "Leave out --requests, and measure a twin of it.",
        )


def over_and_over(cases: list[Case], number: int) -> Iterator[tuple[float, Case]]:
    return ((0.0, case) for case in itertools.islice(itertools.cycle(cases), number))
