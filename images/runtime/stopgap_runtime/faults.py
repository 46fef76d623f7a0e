"""The runtime's one kind of error: a status code and a text, as they go to the caller. It knows nothing else."""

from __future__ import annotations

import enum

__all__ = ["Code", "Fault"]


class Code(enum.IntEnum):
    """The 17 numbers that TensorFlow's error codes and gRPC's status codes share."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class Fault(Exception):
    """What was asked cannot be done.

    Args:
        code: What kind of failure it is.
        text: What is wrong, for the caller to read.
    """

    def __init__(self, code: Code, text: str) -> None:
        super().__init__(code, text)
        self.code = code
        self.text = text

    def __str__(self) -> str:
        return f"{self.code.name}: {self.text}"
