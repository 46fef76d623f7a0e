"""From a request's bytes to a pair of answers: parsed, asked of both in shuffled order, joined.

Who was not there is asked first until it is back: the other model works for nobody meanwhile.
"""

from __future__ import annotations

from collections.abc import Mapping

from google.protobuf.message import DecodeError
from stopgap_protos.serving_pb2 import PredictRequest
from stopgap_protos.unfolding import unfolded_bytes

from stopgap.asking.asking import candidate_first
from stopgap.asking.live import LiveSide, nobody_was_there
from stopgap.client.signatures import DEFAULT_SIGNATURE
from stopgap.client.tensors import to_arrays
from stopgap.client.traits import TENSORS
from stopgap.comparison.mapping import ADAPTER_FAILED
from stopgap.comparison.pairs import Answer, Case, Failure, Pair
from stopgap.errors import ComparisonError, PredictionError
from stopgap.observer.models import Models
from stopgap.observer.tap import UNREADABLE, Shown

__all__ = ["CANDIDATE_DOWN", "LEGACY_DOWN", "NO_SIGNATURE", "Dropped", "pair_of", "request_in"]

CANDIDATE_DOWN, LEGACY_DOWN = "the candidate was down", "the legacy model was down"
NO_SIGNATURE = "named tensors of the graph"
MOST_UNFOLDED_BYTES = 64 * 2**20
MOST_UNFOLDED_FOR_A_BYTE = 20
SEED = 0


class Dropped(Exception):
    """Nobody can be asked about it, or nobody was there; its text is the reason."""


def pair_of(shown: Shown, models: Models, deadline_s: float) -> Pair:
    """
    Raises:
        Dropped: There is no pair.
    """
    case = case_of(shown)
    ask = {
        LEGACY_DOWN: lambda: models.legacy.question(case)(deadline_s),
        CANDIDATE_DOWN: lambda: asked_of_candidate(case, models, deadline_s),
    }
    first = models.down or (CANDIDATE_DOWN if candidate_first(SEED, shown.number) else LEGACY_DOWN)
    answers = {}
    for reason in sorted(ask, key=lambda reason: reason != first):
        answers[reason] = ask[reason]()
        if nobody_was_there(answers[reason]):
            models.down = reason
            raise Dropped(reason)
    models.down = ""
    return Pair(case, answers[LEGACY_DOWN], answers[CANDIDATE_DOWN])


def asked_of_candidate(case: Case, models: Models, deadline_s: float) -> Answer:
    side: LiveSide = models.candidate
    try:
        translated = models.translation.for_candidate(case)
    except ComparisonError as error:
        return Answer(failure=Failure(ADAPTER_FAILED, error.problem))
    return side.question(translated)(deadline_s)


def case_of(shown: Shown) -> Case:
    request = request_in(shown)
    try:
        inputs: Mapping[str, object] = to_arrays(request.inputs)
    except PredictionError as error:
        raise Dropped(UNREADABLE) from error
    return Case(shown.number, inputs, request.model_spec.signature_name or DEFAULT_SIGNATURE)  # type: ignore[arg-type]  # arrays by name


def request_in(shown: Shown) -> PredictRequest:
    """As it was sent, weighed before it is unfolded.

    Raises:
        Dropped: It is none, or asks for tensors of the graph, of which nobody knows what they change.
    """
    content = shown.content
    most = MOST_UNFOLDED_BYTES + MOST_UNFOLDED_FOR_A_BYTE * len(content)
    if unfolded_bytes(PredictRequest, content, most) > most:
        raise Dropped(UNREADABLE)
    try:
        request = PredictRequest.FromString(content)
    except DecodeError as error:
        raise Dropped(UNREADABLE) from error
    if request.model_spec.signature_name == TENSORS:
        raise Dropped(NO_SIGNATURE)
    return request
