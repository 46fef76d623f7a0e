"""Proposes a map: both models are asked a sample of the data, the candidate by what its signature seems to want."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Optional

from stopgap.asking.asking import Asking, Manner, newly_asked, questions_of
from stopgap.asking.data.reading import Data
from stopgap.asking.sides import Side
from stopgap.asking.translation import MapTranslation
from stopgap.client.signatures import Signature, TensorSpec
from stopgap.comparison.finder import Match, Spec, class_order, matches
from stopgap.comparison.mapping import Map
from stopgap.comparison.pairs import Answer, Pair
from stopgap.comparison.proposal import Proposal
from stopgap.comparison.values import as_array
from stopgap.errors import DataError
from stopgap.progress import Progress, silent

__all__ = ["SAMPLE", "proposed"]

SAMPLE = 500
PHASE = "asking both models a sample"
UNKNOWN = "unknown"


@dataclass(frozen=True)
class Called:
    """How a model is called: None of what nobody can know, as of a recording."""

    signature: str
    inputs: Optional[tuple[Spec, ...]] = None  # noqa: UP045 - dataclasses are looked into at run time, by Python 3.9 too
    outputs: Optional[tuple[Spec, ...]] = None  # noqa: UP045


def proposed(
    data: Data, legacy: Side, candidate: Side, manner: Manner, *, sample: int = SAMPLE, progress: Progress = silent
) -> Proposal:
    """Asks requests from all over the data, where it is known how many there are, and else the first.

    Only those of one signature are asked, that of the first request. What a recording is called by is taken from its
    answers.

    Raises:
        DataError: There is nothing to ask, or it cannot be read.
    """
    first = next(iter(data.cases()), None)
    if first is None:
        raise DataError(f"{data.file} holds no request.", "Give it something to ask.")
    ours = called(legacy, first.signature)
    theirs, inputs = best_of(ours, candidate)
    provisional = Proposal(theirs.signature if theirs.signature != first.signature else "", inputs, ())
    pairs = []
    every = questions_of(data, legacy, candidate, MapTranslation(provisional.map), Manner())
    chosen = sampled(every, first.signature, sample, stride=max(1, (data.count or 0) // sample))
    for pair in newly_asked(chosen, legacy, candidate, manner):
        pairs.append(pair)
        progress(PHASE, min(1.0, len(pairs) / sample) if data.count is None else len(pairs) / min(sample, data.count))
    known, found = ours.outputs or told_by(pair.legacy for pair in pairs), theirs.outputs
    outputs = matches(known, found or told_by(pair.candidate for pair in pairs))
    return with_orders(provisional, outputs, pairs)


def with_orders(provisional: Proposal, outputs: tuple[Match, ...], pairs: Sequence[Pair]) -> Proposal:
    mapped = Map(outputs=Proposal("", (), outputs).map.outputs)
    ours, theirs = [pair.legacy for pair in pairs], [mapped.told(pair.candidate) for pair in pairs]
    orders = {match.legacy: class_order(ours, theirs, match.legacy) for match in outputs if match.candidate}
    refusal = next((pair.candidate.failure for pair in pairs if pair.candidate.failure is not None), None)
    return Proposal(
        provisional.signature,
        provisional.inputs,
        outputs,
        {output: order for output, order in orders.items() if order is not None},
        len(pairs),
        sum(pair.legacy.outputs is not None and pair.candidate.outputs is not None for pair in pairs),
        "" if refusal is None else f"{refusal.code}: {refusal.text}",
    )


def called(side: Side, signature: str) -> Called:
    """By the signature of that name; a recording's is not known."""
    found = side.signatures().get(signature)
    return Called(signature) if found is None else of_signature(found)


def of_signature(signature: Signature) -> Called:
    return Called(
        signature.name,
        tuple(spec_of(each) for each in signature.inputs.values()),
        tuple(spec_of(each) for each in signature.outputs.values()),
    )


def best_of(ours: Called, candidate: Side) -> tuple[Called, tuple[Match, ...]]:
    """The candidate's signature of the same name, or the one that is most like it, and its inputs."""
    signatures = candidate.signatures()
    if not signatures:
        return Called(ours.signature), ()
    same = [ours.signature] if ours.signature in signatures else sorted(signatures)
    each = [of_signature(signatures[name]) for name in same]
    if ours.inputs is None:
        return each[0], ()
    scored = [(one, matches(ours.inputs, one.inputs or (), inputs=True)) for one in each]
    return max(scored, key=lambda found: sum(match.sure for match in found[1]) + outputs_alike(ours, found[0]))


def outputs_alike(ours: Called, theirs: Called) -> float:
    return sum(match.sure for match in matches(ours.outputs or (), theirs.outputs or ()))


def sampled(every: Iterator[Asking], signature: str, sample: int, stride: int) -> Iterator[Asking]:
    """Every so many-th. Each was made a question before: a recording has the answers in their order."""
    chosen = (asking for place, asking in enumerate(every) if not place % stride and asking[0].signature == signature)
    return islice(chosen, sample)


def told_by(answers: Iterator[Answer]) -> tuple[Spec, ...]:
    """From the first that has outputs."""
    outputs = next((answer.outputs for answer in answers if answer.outputs), {})
    found = []
    for name, value in outputs.items():
        array = as_array(value)
        if array is not None:
            dtype = "string" if array.dtype.kind in "OSU" else array.dtype.name
            found.append(Spec(name, dtype, (None, *array.shape[1:]) if array.ndim else ()))
    return tuple(found)


def spec_of(spec: TensorSpec) -> Spec:
    """A bfloat16 is read as float32."""
    dtype = spec.dtype.name if spec.dtype else UNKNOWN
    return Spec(spec.name, "float32" if dtype == "bfloat16" else dtype, spec.shape)
