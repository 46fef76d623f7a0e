"""The requests that a sandbox has kept because each ended a worker alone: fetched, and written to files.

What comes out of a sandbox may be forged: the names are checked, the sizes are bounded, and the contents stay bytes.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from stopgap.errors import DeploymentError, SandboxError
from stopgap.incidents import ask_bytes, checked, forged
from stopgap.printable import printable
from stopgap.store import Deployment, Store

__all__ = ["KeptRequest", "fetch_kept", "kept_in", "write_kept"]

QUESTION = b"k"
MOST_BYTES = 20 << 20  # four requests of at most 4 MiB each, and what is said of them
HEADER = struct.Struct("<II")
FRAME = struct.Struct(">?I")  # what gRPC writes before a message: is it compressed, how long is it
NAME = re.compile(r"[0-9a-f]{8}")


@dataclass(frozen=True)
class KeptRequest:
    """One of them.

    Attributes:
        incident: The one that it caused.
        path: The method that was called, or REST's path.
        body: As the worker got it.
    """

    incident: str
    path: str
    body: bytes

    @property
    def file_name(self) -> str:
        """`<incident>.pb` for a gRPC message, `.json` for REST's."""
        return f"{self.incident}.{'json' if self.path.startswith('/v1/') else 'pb'}"

    @property
    def content(self) -> bytes:
        """The body; of gRPC's the message alone, without what frames it."""
        if len(self.body) >= FRAME.size and not self.path.startswith("/v1/"):
            compressed, length = FRAME.unpack_from(self.body)
            if not compressed and length == len(self.body) - FRAME.size:
                return self.body[FRAME.size :]
        return self.body


def fetch_kept(deployment: Deployment, store: Store) -> tuple[KeptRequest, ...]:
    """The newest ones, oldest first; empty where there are none.

    Raises:
        DeploymentError: It was not served with --keep-requests.
        SandboxError: Nobody answers, or not in a runtime's words.
    """
    if not deployment.requests_kept:
        raise DeploymentError(
            f"{deployment.name} keeps no requests: they are its callers', and nobody has allowed it.",
            "Serve it with --keep-requests.",
        )
    return kept_in(ask_bytes(deployment, store, QUESTION, MOST_BYTES), deployment.name)


def kept_in(answer: bytes, name: str) -> tuple[KeptRequest, ...]:
    """What the sandbox of that name has handed over.

    Raises:
        SandboxError: It is not in a runtime's words.
    """
    try:
        return tuple(read(answer))
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise forged(name) from error


def write_kept(requests: tuple[KeptRequest, ...], folder: Path) -> tuple[Path, ...]:
    """One file each, for its owner alone; one that is there already stays as it is. Gives those that are new.

    Raises:
        SandboxError: The folder cannot be written to.
    """
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for request in requests:
            path = folder / request.file_name
            with contextlib.suppress(FileExistsError):
                descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
                with os.fdopen(descriptor, "wb") as stream:
                    stream.write(request.content)
                written.append(path)
    except OSError as error:
        raise SandboxError(
            f"The requests cannot be written to {folder}: {error.strerror}.", "Name another folder."
        ) from error
    return tuple(written)


def read(answer: bytes) -> Iterator[KeptRequest]:
    """
    Raises:
        KeyError, TypeError, ValueError, RecursionError: It is none of a runtime's.
    """
    while answer:
        line, _, rest = answer.partition(b"\n")
        said = checked(json.loads(line), dict)
        length = checked(said["bytes"], int)
        name = checked(said["incident"], str)
        if not NAME.fullmatch(name) or not HEADER.size <= length <= len(rest):
            raise ValueError
        path_bytes, body_bytes = HEADER.unpack_from(rest)
        if HEADER.size + path_bytes + body_bytes != length:
            raise ValueError
        path, body = rest[HEADER.size : length - body_bytes], rest[length - body_bytes : length]
        if path:  # else it was too large to be kept
            yield KeptRequest(name, printable(path.decode("latin-1")), body)
        answer = rest[length:]
