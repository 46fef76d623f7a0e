"""Exchanges, a request and what was answered, to and from TF Serving's PredictionLog. Opens no file but to read one."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Union

from google.protobuf.message import DecodeError, Message
from stopgap_protos import prediction_log_pb2 as logs
from stopgap_protos.inference_pb2 import ClassificationRequest, MultiInferenceRequest, RegressionRequest
from stopgap_protos.prediction_log_pb2 import PredictionLog
from stopgap_protos.serving_pb2 import ModelSpec, PredictRequest
from stopgap_protos.session_run_pb2 import SessionRunRequest
from stopgap_protos.unfolding import unfolded_bytes

from stopgap.errors import JournalError
from stopgap.journal.tfrecord import Damage, Record, read_records

__all__ = ["OneAnswer", "digest_of", "kind_of", "model_spec_of", "new_log", "one_answer", "parsed", "read_logs"]

# By kind of request: the field of a PredictionLog that holds it, and what stands in that.
FIELDS: dict[type[Message], tuple[str, type[Message]]] = {
    PredictRequest: ("predict_log", logs.PredictLog),
    ClassificationRequest: ("classify_log", logs.ClassifyLog),
    RegressionRequest: ("regress_log", logs.RegressLog),
    MultiInferenceRequest: ("multi_inference_log", logs.MultiInferenceLog),
    SessionRunRequest: ("session_run_log", logs.SessionRunLog),
}
# The same text of five bytes may unfold to a hundred: what a record may take in memory.
MOST_UNFOLDED_BYTES = 4 << 30

OneAnswer = Union[logs.PredictLog, logs.ClassifyLog, logs.RegressLog, logs.MultiInferenceLog, logs.SessionRunLog]


@dataclass(frozen=True)
class Logged:
    """A log as it stands in a file."""

    log: PredictionLog
    record: Record


def new_log(
    request: Message, response: Message | None, *, timestamp_s: float, sampling_rate: float = 1.0, origin: str = ""
) -> PredictionLog:
    """A log of one exchange; request and response are copied.

    Args:
        request: A PredictRequest, ClassificationRequest, RegressionRequest, MultiInferenceRequest or SessionRunRequest.
        response: What belongs to it; None where there was none.
        timestamp_s: When the request came, in seconds since 1970; the format keeps whole ones.
        sampling_rate: Which share of the requests is logged, from 0 to 1.
        origin: Who logs, if that is to be said.

    Raises:
        JournalError: They are not such messages.
    """
    if type(request) not in FIELDS:
        raise JournalError(f"A PredictionLog holds no {type(request).__name__}.")
    field, _ = FIELDS[type(request)]
    log = PredictionLog()
    within = getattr(log, field)
    try:
        within.request.CopyFrom(request)
        if response is not None:
            within.response.CopyFrom(response)
    except TypeError as error:
        raise JournalError(f"A {type(response).__name__} is no answer to a {type(request).__name__}.") from error
    log.log_metadata.timestamp_secs = int(timestamp_s)
    log.log_metadata.sampling_config.sampling_rate = sampling_rate
    log.log_metadata.request_origin = origin
    log.log_metadata.model_spec.CopyFrom(model_spec_of(request))
    return log


def model_spec_of(request: Message) -> ModelSpec:
    """Which model a request asks; of a MultiInferenceRequest that of its first task, which decides (TF Serving)."""
    if isinstance(request, MultiInferenceRequest):
        return request.tasks[0].model_spec if request.tasks else ModelSpec()
    spec: ModelSpec = request.model_spec  # type: ignore[attr-defined]  # every other request has one
    return spec


def kind_of(log: PredictionLog) -> str:
    """The name of the field that is set, `predict_log` say; empty where none is."""
    return log.WhichOneof("log_type") or ""


def one_answer(log: PredictionLog) -> OneAnswer | None:
    """What has one request and one response; None for a stream, and where nothing is set."""
    kind = kind_of(log)
    if not kind or kind == "predict_streamed_log":
        return None
    within: OneAnswer = getattr(log, kind)
    return within


def digest_of(message: Message) -> str:
    """SHA-256 of a message without the model that it names, so that two models' answers can be the same."""
    nameless = type(message)()
    nameless.CopyFrom(message)
    for field in message.DESCRIPTOR.fields:
        if field.name == "model_spec":
            nameless.ClearField(field.name)
    return hashlib.sha256(nameless.SerializeToString(deterministic=True)).hexdigest()


def parsed(content: bytes) -> PredictionLog:
    """
    Raises:
        ValueError: It is none, or would not fit into memory.
    """
    if unfolded_bytes(PredictionLog, content, MOST_UNFOLDED_BYTES) > MOST_UNFOLDED_BYTES:
        raise ValueError(f"it unfolds to more than {MOST_UNFOLDED_BYTES >> 30} GiB")
    try:
        return PredictionLog.FromString(content)
    except DecodeError as error:
        raise ValueError("it is no PredictionLog") from error


def read_logs(file: str | Path, start: int = 0) -> Iterator[Logged]:
    """The PredictionLogs of a TFRecord file, in their order: a recording, or a warm-up file of TF Serving's.

    Args:
        file: Compressed or not, see `read_records`.
        start: Where to begin: the offset or the end of a record.

    Raises:
        Damage: Something in it is not as it was written, or is no PredictionLog.
        JournalError: The file cannot be read at all.
    """
    for record in read_records(file, start):
        try:
            log = parsed(record.content)
        except ValueError as error:
            raise Damage(Path(file), record.offset, str(error), torn=False, next_offset=record.end) from error
        yield Logged(log, record)
