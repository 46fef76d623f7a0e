"""A recording asked again of one model or of several, at a pace of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from stopgap.asking.answers_out import InOrder
from stopgap.asking.data.prediction_logs import entry_case
from stopgap.asking.data.reading import Reading
from stopgap.asking.sides import Side
from stopgap.client.status import DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, code_name
from stopgap.comparison.pairs import Answer, Case, Failure
from stopgap.comparison.sketch import Sketch
from stopgap.errors import DataError
from stopgap.journal.reading import Journal, entries_in
from stopgap.journal.replay import Pace, Replayed, ReplayReport, replay
from stopgap.progress import Progress, silent

__all__ = ["SideReport", "asked_again"]

PHASE = "asking what was recorded"
DROPPED = Failure(code_name(RESOURCE_EXHAUSTED), "not asked: too many requests were in flight when it was due")
UNANSWERED = Failure(code_name(DEADLINE_EXCEEDED), "not answered in time")


@dataclass
class SideReport:
    """What one side said.

    Attributes:
        answered: How many requests.
        failures: By gRPC's code names; what was dropped or never answered is among them.
        latency_s: Of all that were asked and came back.
    """

    answered: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    latency_s: Sketch = field(default_factory=Sketch)


@dataclass(frozen=True)
class Request:
    case: Case
    arrived_s: float


def asked_again(
    recording: Path,
    sides: Sequence[Side],
    outs: Sequence[InOrder],
    pace: Pace,
    *,
    timeout_s: float,
    in_flight: int,
    seed: int = 0,
    progress: Progress = silent,
) -> tuple[ReplayReport, list[SideReport]]:
    """Asks all sides each request, in an order that is drawn for each; what they say goes out in the recording's order.

    Args:
        recording: A journal's folder, or a TFRecord of PredictionLogs.
        sides: Models that can be asked.
        outs: For each side where its answers go; or none.
        pace: When a request is due; with a `stopgap.journal.replay.Pace`.
        timeout_s: For each side.
        in_flight: Of requests; what is due beyond is dropped.
        seed: Of the order of the sides.
        progress: Told how much is done.

    Raises:
        DataError: A record is none that can be asked, or an answer has no place in its file.
        JournalError: The recording cannot be read.
    """
    reading = Reading(signatures=sides[0].signatures())
    total = sum(1 for _ in Journal(recording).lines()) if recording.is_dir() else None
    reports = [SideReport() for _ in sides]
    open_requests: dict[int, Request] = {}

    def requests() -> Iterator[tuple[float, Request]]:
        for number, entry in enumerate(entries_in(recording)):
            case = entry_case(number, entry.log, reading, f"{recording}, record {number}")
            open_requests[number] = Request(case, entry.line.arrived_s)
            yield entry.line.arrived_s, open_requests[number]

    def settle(number: int, answers: Sequence[Answer]) -> None:
        request = open_requests.pop(number)
        for place, answer in enumerate(answers):
            count(reports[place], answer)
            if outs:
                outs[place].take(request.case, request.arrived_s, answer)

    def came_back(replayed: Replayed[Request]) -> None:
        answers = [replayed.sides[str(place)] for place in range(len(sides))]
        settle(replayed.number, [answer_in(each.answer, each.error) for each in answers])
        progress(PHASE, None if not total else min(1.0, (replayed.number + 1) / total))

    asks = {str(place): asking(side) for place, side in enumerate(sides)}
    report = replay(
        requests(),
        asks,
        pace,
        timeout_s=timeout_s,
        most_in_flight=in_flight,
        seed=seed,
        on_answer=came_back,
        on_drop=lambda number, _: settle(number, [Answer(failure=DROPPED)] * len(sides)),
    )
    if not report.requests:
        raise DataError(f"{recording} holds no request.", "Name a journal's folder, or a TFRecord of PredictionLogs.")
    for number in sorted(open_requests):
        settle(number, [Answer(failure=UNANSWERED)] * len(sides))
    return report, reports


def asking(side: Side) -> Callable[[Request, float], Answer]:
    return lambda request, timeout_s: side.question(request.case)(timeout_s)


def answer_in(answer: Answer | None, error: Exception | None) -> Answer:
    """What a side raises is no answer of a model: it goes on to whoever asks."""
    if error is not None:
        raise error
    assert answer is not None  # noqa: S101 - one of both is there
    return answer


def count(report: SideReport, answer: Answer) -> None:
    if answer.failure is None:
        report.answered += 1
    else:
        report.failures[answer.failure.code] += 1
    if answer.latency_s is not None:
        report.latency_s.add(answer.latency_s)
