"""A TFRecord of PredictionLogs as cases: what TF Serving logs and warms up with, and what was answered then."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from stopgap_protos.inference_pb2 import (
    ClassificationResponse,
    Input,
    RegressionResponse,
)
from stopgap_protos.prediction_log_pb2 import PredictionLog
from stopgap_protos.serving_pb2 import PredictResponse
from stopgap_protos.tensor_pb2 import TensorProto

from stopgap.asking.data.reading import Reading, key_of
from stopgap.asking.data.tf_examples import string_input
from stopgap.client.dtypes import BFLOAT16, dtype_of
from stopgap.client.tensors import to_arrays
from stopgap.client.values import widened
from stopgap.comparison.pairs import Answer, Case, Failure, Tensors
from stopgap.errors import DataError, JournalError, PredictionError
from stopgap.journal.logs import kind_of, one_answer, read_logs

__all__ = ["entry_case", "logged_answers", "logged_cases"]

PREDICT, CLASSIFY, REGRESS = "predict_log", "classify_log", "regress_log"
ASKABLE = {PREDICT, CLASSIFY, REGRESS}


@dataclass(frozen=True)
class Logged:
    """One log that can be asked again, and where it stands."""

    log: PredictionLog
    kind: str
    place: str


def logged_cases(file: Path, reading: Reading) -> Iterator[Case]:
    """Predict as it was asked; Classify and Regress as Predict of the same signature, which is all that is asked.

    A request is given on as it was recorded, whether it fits the signature or not: how each model refuses it is what
    is compared then.

    Raises:
        DataError: A record cannot be read, or is of a kind that nobody can ask.
    """
    for number, logged in enumerate(logs_in(file)):
        yield log_case(number, logged, reading)


def logged_answers(file: Path) -> Iterator[Answer]:
    """What was answered, in the same order; a log without an answer fails as UNKNOWN.

    Raises:
        DataError: As for `logged_cases`.
    """
    for logged in logs_in(file):
        outputs = outputs_of(logged)
        if outputs is None:
            yield Answer(failure=Failure("UNKNOWN", "the log holds no answer"))
        else:
            yield Answer(outputs)


def entry_case(number: int, log: PredictionLog, reading: Reading, place: str) -> Case:
    """One recorded request, as `logged_cases` gives it.

    Raises:
        DataError: It is of a kind that nobody can ask.
    """
    return log_case(number, askable(log, place), reading)


def logs_in(file: Path) -> Iterator[Logged]:
    try:
        for number, found in enumerate(read_logs(file)):
            yield askable(found.log, f"{file}, record {number} (at byte {found.record.offset})")
    except JournalError as error:
        raise DataError(error.problem, error.remedy) from error


def askable(log: PredictionLog, place: str) -> Logged:
    kind = kind_of(log)
    if kind not in ASKABLE:
        what = kind.replace("_log", "").replace("_", " ") or "nothing"
        raise DataError(
            f"{place} is a log of {what}, which is not asked.",
            "Take out what is neither predict, classify nor regress.",
        )
    return Logged(log, kind, place)


def log_case(number: int, logged: Logged, reading: Reading) -> Case:
    request: Any = one_answer(logged.log).request  # type: ignore[union-attr]  # of these kinds there is one
    signature = request.model_spec.signature_name or reading.signature
    if logged.kind == PREDICT:
        values = arrays(request.inputs, logged.place)
    else:
        values = {examples_input(reading, signature, logged.place): serialised(request.input)}
    absent = sorted(name for name in reading.beside if name not in values)
    if absent:
        raise DataError(
            f"{logged.place}: there is no {', '.join(map(repr, absent))}.", "A log holds a model's inputs alone."
        )
    key = key_of(values[reading.key], reading.key, logged.place) if reading.key else ""
    known = reading.signatures.get(signature)
    # In a log all is an input; so what goes by an input's name stays one, whatever it is besides.
    inputs = {
        name: value for name, value in values.items() if name not in reading.beside or (known and name in known.inputs)
    }
    return Case(number, inputs, signature, key, {name: values[name] for name in reading.extras})


def examples_input(reading: Reading, signature: str, place: str) -> str:
    known = reading.signatures.get(signature)
    if known is None:
        raise DataError(f"{place}: the signature {signature!r} that was asked with tf.Examples is not the model's.")
    return string_input(known)


def serialised(given: Input) -> NDArray[Any]:
    """As TF Serving gives them to the graph: before each tf.Example the context, which the example's own overrides."""
    context = b""
    if given.WhichOneof("kind") == "example_list_with_context":
        context = given.example_list_with_context.context.SerializeToString()
        examples = given.example_list_with_context.examples
    else:
        examples = given.example_list.examples
    strings = np.empty(len(examples), object)
    strings[:] = [context + example.SerializeToString() for example in examples]
    return strings


def outputs_of(logged: Logged) -> Tensors | None:
    within: Any = one_answer(logged.log)
    if not within.HasField("response"):
        return None
    if logged.kind == PREDICT:
        return predicted(within.response, logged.place)
    return classified(within.response) if logged.kind == CLASSIFY else regressed(within.response)


def predicted(response: PredictResponse, place: str) -> Tensors:
    return arrays(response.outputs, place)


def classified(response: ClassificationResponse) -> Tensors | None:
    """By the names that TF Serving's classify signatures have; None where rows differ in how many classes they have."""
    rows = [list(row.classes) for row in response.result.classifications]
    if len({len(row) for row in rows}) > 1:
        return None
    shape = (len(rows), len(rows[0]) if rows else 0)
    labels = np.empty(shape, object)
    labels[...] = np.array([one.label.encode() for row in rows for one in row], object).reshape(shape)
    scores = np.array([one.score for row in rows for one in row], np.float32).reshape(shape)
    return {"classes": labels, "scores": scores}


def regressed(response: RegressionResponse) -> Tensors:
    return {"outputs": np.array([one.value for one in response.result.regressions], np.float32)}


def arrays(protos: Mapping[str, TensorProto], place: str) -> dict[str, NDArray[Any]]:
    try:
        found = to_arrays(protos)
    except PredictionError as error:
        raise DataError(f"{place}: {error.problem}", error.remedy) from error
    bfloat16 = dtype_of(BFLOAT16)
    return {
        name: widened(array, bfloat16) if bfloat16 and protos[name].dtype == BFLOAT16 else array
        for name, array in found.items()
    }
