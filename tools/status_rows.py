"""What each of the 17 status codes means when stopgap answers with it."""

from __future__ import annotations

from collections.abc import Mapping

import grpc

__all__ = ["MEANINGS"]

_ONLY_A_MODELS = "stopgap never says it of itself; a model's operation may"

MEANINGS: Mapping[grpc.StatusCode, str] = {
    grpc.StatusCode.OK: "it went well",
    grpc.StatusCode.CANCELLED: "the caller hung up before the answer was there",
    grpc.StatusCode.UNKNOWN: "something failed that has no better word, mostly in TensorFlow itself",
    grpc.StatusCode.INVALID_ARGUMENT: "the request does not fit: a name, a dtype, a shape, JSON that is none; or an "
    "operation of the model refuses the values. The text says which",
    grpc.StatusCode.DEADLINE_EXCEEDED: "the caller's deadline has passed, or the model's run limit",
    grpc.StatusCode.NOT_FOUND: "behind this address is no model of that name, or not in that version",
    grpc.StatusCode.ALREADY_EXISTS: _ONLY_A_MODELS,
    grpc.StatusCode.PERMISSION_DENIED: "the request names the graph's own tensors, and the model was served without "
    "`--allow-tensors`",
    grpc.StatusCode.RESOURCE_EXHAUSTED: "the message or a tensor is too large, or the sandbox lacks the memory for it; "
    "or too many requests wait, and the answer says when to ask again",
    grpc.StatusCode.FAILED_PRECONDITION: "the model has no such signature; the tensors asked for would change its "
    "state; or, in Python, the model is closed",
    grpc.StatusCode.ABORTED: _ONLY_A_MODELS,
    grpc.StatusCode.OUT_OF_RANGE: "an operation of the model has come to an end: an iterator, say",
    grpc.StatusCode.UNIMPLEMENTED: "the method is not served, the message is compressed, or a dtype cannot travel",
    grpc.StatusCode.INTERNAL: "the runtime failed, or the answer is not what the signature says",
    grpc.StatusCode.UNAVAILABLE: "nobody answers there; the worker died with this request, and is being replaced; "
    "or the signature needs a program that no sandbox has (FFmpeg)",
    grpc.StatusCode.DATA_LOSS: "an operation of the model found its data damaged",
    grpc.StatusCode.UNAUTHENTICATED: f"{_ONLY_A_MODELS}. stopgap asks no caller who it is",
}
