"""All that decides a model's answers, as one digest: its files, and what they are served with."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from os import PathLike
from pathlib import Path

from stopgap.digests import sha256_of
from stopgap.overlay import GivenSignatures
from stopgap.store import Deployment

__all__ = ["deployed_as", "served_as"]


def served_as(
    model: str,
    bundle: str,
    op_libraries: Iterable[str | PathLike[str]],
    signatures: GivenSignatures,
    tags: Sequence[str],
) -> str:
    """The same wherever it is served.

    Args:
        model: SHA-256 of its files.
        bundle: By its name: whose TensorFlow.

    Raises:
        OSError: A library cannot be read.
    """
    libraries = sorted(sha256_of(Path(library)) for library in op_libraries)
    parts = [model, bundle, libraries, signatures, sorted(tags)]
    return hashlib.sha256(json.dumps(parts, default=str, sort_keys=True).encode()).hexdigest()


def deployed_as(found: Deployment) -> str | None:
    """None where one of its libraries is gone: then nobody can say."""
    try:
        return served_as(found.sunset.digest, found.bundle, found.op_libraries, found.signatures, found.tags)
    except OSError:
        return None
