"""What `stopgap compare` has found, as far as a hand-over rests on it: its verdict, and which two models it is of."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from stopgap.comparison.result import SCHEMA
from stopgap.errors import DeploymentError
from stopgap.printable import printable
from stopgap.served_as import deployed_as
from stopgap.store import Deployment

__all__ = ["Evidence", "check_evidence", "in_words", "read_evidence"]

LARGEST_BYTES = 64 << 20
UNPINNED = "unpinned"
AGAIN = "Compare them again, and show that: stopgap compare {0} {1} --data FILE --plan FILE --out RESULT.json"


@dataclass(frozen=True)
class Known:
    """One of the two models that it is of.

    Attributes:
        digest: SHA-256 of its files; `unpinned` where nobody could know.
        served: SHA-256 of all that decides its answers, likewise.
        told: What it was, in a sentence.
    """

    digest: str
    served: str
    told: str


@dataclass(frozen=True)
class Evidence:
    """A result.

    Attributes:
        outcome: PASS, FAIL or INCONCLUSIVE.
        reason: Why it is not PASS.
        scope: What it is of: the stream so far, the file alone, or what is beyond it.
        units: How many it is made of.
        digest: SHA-256 of the file.
        content: The file's, to be kept.
    """

    file: Path
    outcome: str
    reason: str
    scope: str
    legacy: Known
    candidate: Known
    units: int
    digest: str
    content: bytes


def in_words(outcome: object, scope: object, units: object) -> str:
    """What a verdict is made of, as far as it is known."""
    of = {"stream": "users' requests", "file": "a file, and said of nothing else", "beyond the file": "a file"}
    number = f"{units:,}" if isinstance(units, int) else "unknown"
    return f"{outcome}, of {number} unit{'' if units == 1 else 's'} of {of.get(str(scope), scope)}"


def read_evidence(file: Path) -> Evidence:
    """
    Raises:
        DeploymentError: It cannot be read, or is no comparison's result.
    """
    try:
        with file.open("rb") as stream:
            content = stream.read(LARGEST_BYTES + 1)
    except OSError as error:
        raise DeploymentError(f"The evidence {file} cannot be read: {error.strerror}.") from error
    try:
        return evidence_in(content, file)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise DeploymentError(
            f"{file} is no result of a comparison ({type(error).__name__}: {error}).",
            "Show what stopgap compare --out FILE has written.",
        ) from error


def evidence_in(content: bytes, file: Path) -> Evidence:
    if len(content) > LARGEST_BYTES:
        raise ValueError(f"it has more than {LARGEST_BYTES} bytes")
    fields = json.loads(content)
    if fields["schema"] != SCHEMA:
        raise ValueError(f"its schema is {fields['schema']!r}, not {SCHEMA}")
    texts = (fields["outcome"], fields["reason"], fields["scope"])
    parties = [
        (fields[which]["digest"], fields[which].get("served", UNPINNED), fields[which].get("told", ""))
        for which in ("legacy", "candidate")
    ]
    if not all(isinstance(text, str) for text in chain(texts, *parties)) or type(fields["units"]) is not int:
        raise TypeError("a text or a number is none")
    legacy, candidate = (Known(*party) for party in parties)
    return Evidence(file, *texts, legacy, candidate, fields["units"], hashlib.sha256(content).hexdigest(), content)


def check_evidence(evidence: Evidence, legacy: Deployment, candidate: Deployment) -> None:
    """
    Args:
        legacy: What is served, and its place to be taken.
        candidate: What is served, and to take it.

    Raises:
        DeploymentError: It does not say PASS, or not of these two.
    """
    again = AGAIN.format(legacy.name, candidate.name)
    if evidence.outcome != "PASS":
        why = f": {printable(evidence.reason)}" if evidence.reason else ""
        raise DeploymentError(
            f"The evidence says {printable(evidence.outcome)}{why}.",
            f"Mend {candidate.name}, or give it more data. {again}\n"
            "If it must be all the same, say why: --force --reason TEXT",
        )
    for whose, told, model in (("legacy", evidence.legacy, legacy), ("candidate", evidence.candidate, candidate)):
        if told.digest == UNPINNED:
            raise DeploymentError(
                f"The evidence does not say which {whose} model it is of: it was asked at an address, unpinned.",
                again,
            )
        digest = model.sunset.digest
        if told.digest != digest:
            raise DeploymentError(
                f"The evidence is of another {whose} model: {printable(told.digest, longest=12)}…, and {model.name} "
                f"serves {digest[:12]}….",
                again,
            )
        if told.served != deployed_as(model):
            raise DeploymentError(
                f"The evidence is of the same {whose} model, but served otherwise ({printable(told.told)}): "
                f"{model.name} has another TensorFlow, {model.bundle}, or other op libraries, signatures or tags.",
                again,
            )
