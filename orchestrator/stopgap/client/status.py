"""gRPC's status codes as stopgap's errors, each with what a person can do about it."""

from __future__ import annotations

from typing import Final

import grpc

from stopgap.errors import PredictionError
from stopgap.printable import printable

__all__ = [
    "DEADLINE_EXCEEDED",
    "FAILED_PRECONDITION",
    "INTERNAL",
    "INVALID_ARGUMENT",
    "NOT_FOUND",
    "PERMISSION_DENIED",
    "REMEDIES",
    "RESOURCE_EXHAUSTED",
    "UNAVAILABLE",
    "UNIMPLEMENTED",
    "WORKER_DIED",
    "code_name",
    "to_error",
]

INVALID_ARGUMENT: Final = 3
DEADLINE_EXCEEDED: Final = 4
NOT_FOUND: Final = 5
PERMISSION_DENIED: Final = 7
RESOURCE_EXHAUSTED: Final = 8
FAILED_PRECONDITION: Final = 9
UNIMPLEMENTED: Final = 12
INTERNAL: Final = 13
UNAVAILABLE: Final = 14

# What the front says, with UNAVAILABLE, to a request that its worker did not survive.
WORKER_DIED: Final = "The model's worker died while it had this request; it is being replaced."

_ASK_THE_LOGS = "The model's log may tell more: stopgap logs NAME."

# What to do, by code; total over grpc.StatusCode. Where the text of the refusal is all there is to say, nothing.
REMEDIES = {
    grpc.StatusCode.OK: "",
    grpc.StatusCode.CANCELLED: "",
    grpc.StatusCode.UNKNOWN: _ASK_THE_LOGS,
    grpc.StatusCode.INVALID_ARGUMENT: "",
    grpc.StatusCode.DEADLINE_EXCEEDED: "Allow more time (--timeout, timeout_s=), or ask for less at once.",
    grpc.StatusCode.NOT_FOUND: "What is served, and where, is told by: stopgap status.",
    grpc.StatusCode.ALREADY_EXISTS: "",
    grpc.StatusCode.PERMISSION_DENIED: "",
    grpc.StatusCode.RESOURCE_EXHAUSTED: (
        "Send less at once, or later; or serve the model with more workers, more memory or larger messages."
    ),
    grpc.StatusCode.FAILED_PRECONDITION: "",
    grpc.StatusCode.ABORTED: "Try again.",
    grpc.StatusCode.OUT_OF_RANGE: "",
    grpc.StatusCode.UNIMPLEMENTED: "",
    grpc.StatusCode.INTERNAL: _ASK_THE_LOGS,
    grpc.StatusCode.UNAVAILABLE: "Whether it runs is told by: stopgap status. Why it stopped, by: stopgap logs NAME.",
    grpc.StatusCode.DATA_LOSS: _ASK_THE_LOGS,
    grpc.StatusCode.UNAUTHENTICATED: "",
}

_NAMES: Final[dict[int, str]] = {code.value[0]: code.name for code in grpc.StatusCode}


def to_error(error: grpc.RpcError, address: str) -> PredictionError:
    """The refusal of a call to `address`; its text may be a sandbox's, so it is made fit for a terminal."""
    code, details = (error.code(), error.details()) if isinstance(error, grpc.Call) else (None, None)
    code = code or grpc.StatusCode.UNKNOWN
    text = printable(details or "no reason was given")
    number: int = code.value[0]
    return PredictionError(f"{address} answered {code.name}: {text}", number, REMEDIES[code])


def code_name(number: int) -> str:
    """The name that gRPC has for a status code; `UNKNOWN` for what is none."""
    return _NAMES.get(number, grpc.StatusCode.UNKNOWN.name)
