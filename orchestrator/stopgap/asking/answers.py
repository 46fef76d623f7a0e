"""Two models' answers to one case, to bytes and back."""

from __future__ import annotations

import json
import math
import struct

import numpy as np
from stopgap_protos.serving_pb2 import PredictResponse

from stopgap.client.tensors import to_arrays, to_proto
from stopgap.comparison.pairs import Answer, Failure

__all__ = ["packed", "unpacked"]

# The case's number, then for each answer: is it a failure, the latency (NaN: not known), how many bytes follow.
NUMBER, HEAD = struct.Struct("<Q"), struct.Struct("<?dQ")


def packed(number: int, legacy: Answer, candidate: Answer) -> bytes:
    """As `unpacked` reads it.

    Raises:
        PredictionError: An output is of a data type that TensorFlow has not.
    """
    return b"".join((NUMBER.pack(number), *packed_answer(legacy), *packed_answer(candidate)))


def unpacked(content: bytes) -> tuple[int, Answer, Answer]:
    """The case's number, and what both models said to it.

    Raises:
        ValueError, struct.error: It is not what `packed` gives.
        PredictionError, DecodeError: Likewise.
    """
    (number,) = NUMBER.unpack_from(content)
    legacy, place = answer_at(content, NUMBER.size)
    candidate, place = answer_at(content, place)
    if place != len(content):
        raise ValueError(f"{len(content) - place} bytes are left over")
    return number, legacy, candidate


def packed_answer(answer: Answer) -> tuple[bytes, bytes]:
    latency_s = math.nan if answer.latency_s is None else answer.latency_s
    if answer.failure is not None:
        body = json.dumps([answer.failure.code, answer.failure.text]).encode()
    else:
        body = outputs_message(answer).SerializeToString()
    return HEAD.pack(answer.failure is not None, latency_s, len(body)), body


def outputs_message(answer: Answer) -> PredictResponse:
    response = PredictResponse()
    for name, array in (answer.outputs or {}).items():
        response.outputs[name].CopyFrom(to_proto(np.asarray(array)))
    return response


def answer_at(content: bytes, place: int) -> tuple[Answer, int]:
    failed, latency, size = HEAD.unpack_from(content, place)
    begin = place + HEAD.size
    body = content[begin : begin + size]
    if len(body) < size:
        raise ValueError("an answer is cut short")
    latency_s = None if math.isnan(latency) else latency
    if failed:
        code, text = json.loads(body)
        return Answer(failure=Failure(code, text), latency_s=latency_s), begin + size
    return Answer(to_arrays(PredictResponse.FromString(body).outputs), latency_s=latency_s), begin + size
