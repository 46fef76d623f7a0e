"""Of recorded requests a file that TF Serving asks a model before it serves it."""

from __future__ import annotations

import random
from collections.abc import Iterable
from pathlib import Path

from stopgap_protos.prediction_log_pb2 import PredictionLog

from stopgap.errors import JournalError
from stopgap.journal.logs import kind_of, one_answer
from stopgap.journal.reading import Entry
from stopgap.journal.redaction import ZERO
from stopgap.journal.segments import write_whole
from stopgap.journal.tfrecord import framed

__all__ = ["MOST_RECORDS", "WARM_UP_FILE", "warm_up_file", "write_warm_up"]

# tensorflow/serving, `servables/tensorflow/saved_model_warmup_util.h`: kRequestsFileName, and the most that it takes.
WARM_UP_FILE = Path("assets.extra") / "tf_serving_warmup_requests"
MOST_RECORDS = 1000


def warm_up_file(given: Path) -> Path:
    """The file itself, or of a SavedModel's folder where TF Serving looks for it in there."""
    return given / WARM_UP_FILE if given.is_dir() else given


def write_warm_up(entries: Iterable[Entry], given: Path, most: int = MOST_RECORDS, seed: int = 0) -> int:
    """Draws from recorded requests those that a model is to be warmed with, each distinct one with the same chance.

    A request that failed is left out: TF Serving does not serve a model whose warm-up fails. So is one of which
    something was dropped or hashed: it no longer has the inputs that its signature asks for.

    Args:
        entries: Read through once; no more than `most` are held.
        given: The folder of a SavedModel, into which the file is written, or the file; over one that is there.
        most: From 1 to 1000.
        seed: The same draws the same.

    Returns:
        How many were written.

    Raises:
        JournalError: `most` cannot be, no request can be used, or the file cannot be written.
    """
    if not 1 <= most <= MOST_RECORDS:
        raise JournalError(f"A warm-up file cannot hold {most} requests.", f"It may be 1 to {MOST_RECORDS}.")
    drawn = sample([], entries, most, random.Random(seed))  # noqa: S311 - a sample, and no secret
    if not drawn:
        raise JournalError(
            "None of the recorded requests can warm a model: they failed, or something was dropped or hashed in them."
        )
    file = warm_up_file(given)
    try:
        file.parent.mkdir(exist_ok=True)
        write_whole(file, b"".join(framed(log.SerializeToString(deterministic=True)) for log in drawn))
    except OSError as error:
        raise JournalError(f"{file} cannot be written: {error.strerror or error}.") from error
    return len(drawn)


def sample(
    drawn: list[PredictionLog], entries: Iterable[Entry], most: int, chance: random.Random
) -> list[PredictionLog]:
    """Algorithm R of reservoir sampling, over the first of each request."""
    seen: set[str] = set()
    for entry in entries:
        if not is_usable(entry) or entry.line.digest in seen:
            continue
        seen.add(entry.line.digest)
        if len(drawn) < most:
            drawn.append(request_alone(entry.log))
            continue
        place = chance.randrange(len(seen))
        if place < most:
            drawn[place] = request_alone(entry.log)
    return drawn


def is_usable(entry: Entry) -> bool:
    zeros_only = all(rule.startswith(f"{ZERO}:") for rule in entry.line.redacted)
    return entry.line.legacy.status == "OK" and zeros_only and one_answer(entry.log) is not None


def request_alone(log: PredictionLog) -> PredictionLog:
    """Without what was answered: nobody asks for it."""
    alone = PredictionLog()
    within = one_answer(log)
    if within is not None:
        getattr(alone, kind_of(log)).request.CopyFrom(within.request)
    return alone
