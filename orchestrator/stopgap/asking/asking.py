"""Asks both models the same, several cases at once, and gives the pairs in the data's order.

Which of the two is asked first is shuffled for each case: neither always meets the machine's warm cache, or a busy one.
"""

from __future__ import annotations

import hashlib
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain, islice
from typing import Optional, Protocol

from stopgap.asking.answers_file import AnswersFile
from stopgap.asking.data.reading import Data
from stopgap.asking.live import nobody_was_there
from stopgap.asking.sides import Question, Side
from stopgap.client.status import FAILED_PRECONDITION, UNAVAILABLE
from stopgap.comparison.pairs import Answer, Case, Pair
from stopgap.errors import DataError, PredictionError
from stopgap.progress import Progress, silent

__all__ = [
    "AS_IT_IS",
    "AsItIs",
    "Asking",
    "Manner",
    "Translation",
    "asked",
    "belongs_to",
    "candidate_first",
    "newly_asked",
    "questions_of",
]

# What is asked ahead of the oldest case that is not answered, as a multiple of what is in flight.
AHEAD = 4
LOOK_EVERY_S = 0.2
PHASE = "asking both models"


@dataclass(frozen=True)
class Manner:
    """How they are asked.

    Attributes:
        in_flight: How many cases at once. With more than one, a latency includes the wait for the others.
        timeout_s: Each request's deadline.
        seed: Decides whom each case asks first.
        warm_up: How many cases are asked before, and forgotten: first runs are slow, and no latency of theirs counts.
        most: After so many cases it is enough; None asks all.
        patience_s: How long is waited for a side that does not answer at all.
    """

    in_flight: int = 4
    timeout_s: float = 60.0
    seed: int = 0
    warm_up: int = 3
    most: Optional[int] = None  # noqa: UP045 - dataclasses are looked into at run time, by Python 3.9 too
    patience_s: float = 30.0

    def __post_init__(self) -> None:
        if self.in_flight < 1:
            raise DataError(f"{self.in_flight} requests in flight ask nothing.", "Ask one at a time, or more.")


class Translation(Protocol):
    """From the legacy model's words to the candidate's."""

    @property
    def digest(self) -> str:
        """Differs where it translates differently."""

    def for_candidate(self, case: Case) -> Case:
        """The same case by the candidate's names."""


class AsItIs:
    """The candidate has the legacy model's names."""

    digest = "as it is"

    def for_candidate(self, case: Case) -> Case:
        """The case itself."""
        return case


AS_IT_IS = AsItIs()


def belongs_to(data: Data, legacy: Side, candidate: Side, manner: Manner, translation: Translation) -> dict[str, str]:
    """What answers belong to, for an `AnswersFile`: when any of it changes, they are no answers to this any more.

    Raises:
        StopgapError: A side is not there any more.
    """
    return {
        "the legacy model": legacy.identity().state,
        "the candidate": candidate.identity().state,
        "the map": translation.digest,
        "the data": data.digest,
        "how the data are read": data.reading.told,
        "the seed": str(manner.seed),
        "the deadline": str(manner.timeout_s),
    }


def asked(
    data: Data,
    legacy: Side,
    candidate: Side,
    answers: AnswersFile,
    manner: Manner = Manner(),
    *,
    translation: Translation = AS_IT_IS,
    progress: Progress = silent,
) -> Iterator[Pair]:
    """The pairs, from the first case on: what `answers` has without asking, and the rest as it is answered.

    What a model says to a case, also that it fails, is in the pair. Nothing is asked twice, with one exception: where
    nobody was there to answer, it is asked once more when somebody is.

    Args:
        data: What they are asked.
        legacy: By its own names.
        candidate: By what `translation` makes of them.
        answers: All answers are kept there; at any end, forced or not, it has those of the pairs that were given.
        manner: How they are asked.
        translation: From legacy to candidate.
        progress: Told how much is done.

    Raises:
        DataError: The data cannot be read on, or a model is not what it was when this began.
        PredictionError: A side does not answer any more, or remembers what it was asked before.
    """
    belonging = answers.belongs_to
    total = data.count if manner.most is None else min(manner.most, data.count or manner.most)
    questions = questions_of(data, legacy, candidate, translation, manner)
    done = 0
    for (kept_legacy, kept_candidate), (case, *_) in zip(islice(answers.kept(), manner.most), questions):
        yield Pair(case, kept_legacy, kept_candidate)
        done += 1
    first = next(questions, None)
    if first is None:
        return
    check_stateless(first[0], legacy, candidate, translation)
    warm_up(data, legacy, candidate, translation, manner)
    for pair in newly_asked(chain([first], questions), legacy, candidate, manner):
        answers.append(pair.legacy, pair.candidate)
        done += 1
        progress(PHASE, None if not total else min(1.0, done / total))
        yield pair
    check_unchanged(belonging, belongs_to(data, legacy, candidate, manner, translation))


Asking = tuple[Case, Question, Question]


def questions_of(
    data: Data, legacy: Side, candidate: Side, translation: Translation, manner: Manner
) -> Iterator[Asking]:
    """In the data's order, which recordings rely on."""
    for case in islice(data.cases(), manner.most):
        yield case, legacy.question(case), candidate.question(translation.for_candidate(case))


def newly_asked(askings: Iterator[Asking], legacy: Side, candidate: Side, manner: Manner) -> Iterator[Pair]:
    """What both say, in the order of the questions, several asked at once."""
    pool = ThreadPoolExecutor(manner.in_flight, thread_name_prefix="asking")
    begun: deque[Future[Pair]] = deque()
    try:
        for asking in askings:
            begun.append(pool.submit(pair_of, asking, legacy, candidate, manner))
            if len(begun) >= AHEAD * manner.in_flight:
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()
    finally:
        # Nobody waits for what is in flight: whoever closes the sides ends it.
        pool.shutdown(wait=False, cancel_futures=True)


def pair_of(asking: Asking, legacy: Side, candidate: Side, manner: Manner) -> Pair:
    case, to_legacy, to_candidate = asking
    if candidate_first(manner.seed, case.number):
        from_candidate = answer_of(to_candidate, candidate, manner)
        return Pair(case, answer_of(to_legacy, legacy, manner), from_candidate)
    from_legacy = answer_of(to_legacy, legacy, manner)
    return Pair(case, from_legacy, answer_of(to_candidate, candidate, manner))


def candidate_first(seed: int, number: int) -> bool:
    """Whom a case asks first: of each case for itself, so that it is the same wherever a comparison goes on."""
    return bool(hashlib.sha256(f"{seed}:{number}".encode()).digest()[0] & 1)


def answer_of(question: Question, side: Side, manner: Manner) -> Answer:
    answer = question(manner.timeout_s)
    if not nobody_was_there(answer):
        return answer
    wait_until_there(side, manner.patience_s)
    return question(manner.timeout_s)  # once: if it is this that ends the server, it is not to be ended for ever


def wait_until_there(side: Side, patience_s: float) -> None:
    """
    Raises:
        PredictionError: UNAVAILABLE; it does not come back.
    """
    deadline = time.monotonic() + patience_s
    while not side.is_there():
        if time.monotonic() > deadline:
            raise PredictionError(
                f"Nobody answers any more for {patience_s:g} s: {side.identity().told}.",
                UNAVAILABLE,
                "See to it that it runs, then type the same again: it goes on where it ended.",
            )
        time.sleep(LOOK_EVERY_S)


def warm_up(data: Data, legacy: Side, candidate: Side, translation: Translation, manner: Manner) -> None:
    """Asks what comes first, and forgets it. Recordings are left out: each question takes their next rows."""
    live = [side for side in (legacy, candidate) if side.signatures()]
    for case in islice(data.cases(), min(manner.warm_up, manner.most or manner.warm_up)):
        for side in live:
            side.question(case if side is legacy else translation.for_candidate(case))(manner.timeout_s)


def check_stateless(case: Case, legacy: Side, candidate: Side, translation: Translation) -> None:
    """
    Raises:
        PredictionError: FAILED_PRECONDITION; what a side answers depends on what it was asked before.
    """
    for side, signature in (
        (legacy, case.signature),
        (candidate, translation.for_candidate(case).signature),
    ):
        if side.changes_state(signature):
            raise PredictionError(
                f"The signature {signature!r} changes its model's state: {side.identity().told}.",
                FAILED_PRECONDITION,
                "Two such models cannot be compared request by request: each answer depends on all requests before it.",
            )


def check_unchanged(before: dict[str, str], now: dict[str, str]) -> None:
    """
    Raises:
        DataError: Something is not what it was when its answers were begun.
    """
    changed = [name for name, value in now.items() if before.get(name) != value]
    if changed:
        raise DataError(
            f"While it was asked, {' and '.join(changed)} changed: the answers are of two kinds.",
            "Type the same again: it begins anew.",
        )
