"""All targets by their names."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from tests.fuzz.host_targets import ADMIN, ANNOUNCEMENT, ANSWER, KEPT_REQUESTS, METADATA, RECORDS, WORKERS_STATE
from tests.fuzz.http_target import HTTP
from tests.fuzz.journal_targets import PREDICTION_LOG, TFRECORD
from tests.fuzz.ledger_targets import ACCESS_LOG, FEEDBACK
from tests.fuzz.model_targets import GIVEN_SIGNATURES, SAVED_MODEL, SAVED_MODEL_TEXT, WORKER_WORDS
from tests.fuzz.request_targets import GRPC, JSON, LARGE_CONTENTS, REQUEST, TENSOR
from tests.fuzz.target import Target

__all__ = ["BUILD", "CORPUS", "TARGETS", "found_inputs", "replay_command"]

BUILD = Path(__file__).parents[2] / "build" / "fuzz"
"""Where runs keep what they have come upon, a folder for each target."""

CORPUS = Path(__file__).parent / "corpus"
"""Inputs that once broke something, one file each, in a folder for each target."""

TARGETS = {
    target.name: target
    for target in (
        *(HTTP, GRPC, REQUEST, TENSOR, LARGE_CONTENTS, JSON),
        *(SAVED_MODEL, SAVED_MODEL_TEXT, GIVEN_SIGNATURES, WORKER_WORDS),
        *(ANSWER, METADATA, ANNOUNCEMENT, RECORDS, WORKERS_STATE, KEPT_REQUESTS, ADMIN),
        *(TFRECORD, PREDICTION_LOG),
        *(ACCESS_LOG, FEEDBACK),
    )
}


def found_inputs(target: Target) -> Iterator[Path]:
    """The corpus of one target."""
    yield from sorted((CORPUS / target.name).glob("*"))


def replay_command(target: Target, data: bytes) -> str:
    """Keeps an input that broke something, and says how to see it break again."""
    file = BUILD / target.name / f"broken-{hashlib.sha256(data).hexdigest()[:12]}"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)
    return f".venv/bin/python -m tests.fuzz replay {target.name} {file.relative_to(BUILD.parents[1])}"
