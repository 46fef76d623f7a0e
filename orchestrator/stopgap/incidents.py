"""What has gone wrong with a sandbox's workers: asked of its parent. All that it says may be forged by a sandbox."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import stat
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, TypeVar

from stopgap.containment.specs import CONTROL_SOCKET
from stopgap.errors import SandboxError
from stopgap.printable import printable
from stopgap.store import Deployment, Store

__all__ = [
    "Incident",
    "WorkersState",
    "ask_bytes",
    "ask_workers_state",
    "checked",
    "exchanged",
    "forged",
    "release_quarantine",
    "state_in",
]

TIMEOUT_S = 5.0
LARGEST_ANSWER = 1 << 20
LONGEST_TEXT = 500
MOST_INCIDENTS = 1000
STATE, RELEASE = b"s", b"r"

T = TypeVar("T")


@dataclass(frozen=True)
class Incident:
    """One death of a worker, or what followed from several.

    Attributes:
        name: What a refused caller is told.
        kind: `died`, `quarantined`, `state_lost` or `backing_off`.
        worker: Its number, `lane` or `aside`.
        fingerprint: BLAKE2b of the request, hexadecimal; empty where it is not known which request it was.
        request_bytes: The size of that request's body.
        lines: The last that the worker printed.
    """

    name: str
    kind: str
    at: datetime
    worker: str
    cause: str
    fingerprint: str
    request_bytes: int | None
    lines: tuple[str, ...]


@dataclass(frozen=True)
class WorkersState:
    """How a sandbox's workers are.

    Attributes:
        workers: How many serve the model.
        backing_off_s: For how many seconds more it is not run, since its workers died too often.
        quarantined: How many requests are turned away.
        counts: Incidents by their kind, since the sandbox started.
        incidents: The newest ones, oldest first.
    """

    workers: int
    backing_off_s: float
    quarantined: int
    counts: Mapping[str, int]
    incidents: tuple[Incident, ...]


def ask_workers_state(deployment: Deployment, store: Store) -> WorkersState:
    """
    Raises:
        SandboxError: Nobody answers, or not in a runtime's words.
    """
    return state_in(ask_bytes(deployment, store, STATE), deployment.name)


def state_in(answer: bytes, name: str) -> WorkersState:
    """How the workers of the sandbox of that name are, as its parent has answered.

    Raises:
        SandboxError: It is not in a runtime's words.
    """
    told = told_in(answer, name)
    try:
        counts = {printable(kind, 32): checked(count, int) for kind, count in checked(told["counts"], dict).items()}
        return WorkersState(
            workers=checked(told["workers"], int),
            backing_off_s=float(checked(told["backing_off_s"], (int, float))),
            quarantined=checked(told["quarantined"], int),
            counts=counts,
            incidents=tuple(map(incident, checked(told["incidents"], list)[-MOST_INCIDENTS:])),
        )
    except (KeyError, TypeError, ValueError, OverflowError, OSError) as error:
        raise forged(name) from error


def release_quarantine(deployment: Deployment, store: Store) -> int:
    """Lets in again what is turned away, and says how many requests that were.

    Raises:
        SandboxError: Nobody answers, or not in a runtime's words.
    """
    try:
        told = told_in(ask_bytes(deployment, store, RELEASE), deployment.name)
        released: int = checked(told["released"], int)
    except (KeyError, TypeError) as error:
        raise forged(deployment.name) from error
    return released


def told_in(answer: bytes, name: str) -> dict[str, Any]:
    try:
        told = json.loads(answer)
    except (ValueError, RecursionError) as error:
        raise forged(name) from error
    if not isinstance(told, dict):
        raise forged(name)
    return told


def ask_bytes(deployment: Deployment, store: Store, question: bytes, largest: int = LARGEST_ANSWER) -> bytes:
    """What the sandbox's parent says to one letter.

    Raises:
        SandboxError: Nobody answers, or not within time and bounds.
    """
    path = store.sandbox_folder(deployment.front.grpc_port, deployment.name) / CONTROL_SOCKET
    try:
        return exchanged(path, question, largest=largest)
    except OSError as error:
        raise SandboxError(
            f"The sandbox of {deployment.name} does not answer: {error.strerror or error}.",
            f"See how it is: stopgap status {deployment.name}",
        ) from error


def exchanged(path: Path, question: bytes, timeout_s: float = TIMEOUT_S, *, largest: int = LARGEST_ANSWER) -> bytes:
    """One question and the whole answer, within a time. No link is followed: the sandbox might have made it.

    Raises:
        OSError: There is no socket, nobody answers, or not within time and bounds.
    """
    until = time.monotonic() + timeout_s
    place = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if not stat.S_ISSOCK(os.fstat(place).st_mode):
            raise OSError(f"{path.name} is no socket")
        with socket.socket(socket.AF_UNIX) as stream:
            stream.settimeout(timeout_s)
            stream.connect(f"/proc/self/fd/{place}")  # a socket's name has 107 bytes at most, its path may have more
            stream.sendall(question)
            answer = bytearray()
            while piece := stream.recv(LARGEST_ANSWER):
                answer += piece
                if len(answer) > largest or time.monotonic() > until:
                    raise OSError("it does not come to an end")
            return bytes(answer)
    finally:
        with contextlib.suppress(OSError):
            os.close(place)


def incident(told: Any) -> Incident:
    told = checked(told, dict)
    size = told.get("request_bytes")
    return Incident(
        name=text(told["incident"]),
        kind=text(told["kind"]),
        at=datetime.fromtimestamp(checked(told["at"], (int, float)), timezone.utc),
        worker=text(told["worker"]),
        cause=text(told["cause"]),
        fingerprint=text(told.get("fingerprint", "")),
        request_bytes=None if size is None else checked(size, int),
        lines=tuple(text(line) for line in checked(told["lines"], list)[:20]),
    )


def text(value: Any) -> str:
    return printable(checked(value, str), LONGEST_TEXT)


def checked(value: Any, kind: type[T] | tuple[type[Any], ...]) -> Any:
    if not isinstance(value, kind) or isinstance(value, bool):
        raise TypeError(f"{value!r} is none of {kind}")
    return value


def forged(name: str) -> SandboxError:
    return SandboxError(
        f"What the sandbox of {name} says of itself is not what the runtime says.",
        "Something in the sandbox forged it: do not trust this model.",
    )
