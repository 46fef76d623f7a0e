"""The lines beside a file of records: what PredictionLog has no place for. Words only; opens nothing.

JSON lines and not a database: they are appended as the records are, are rotated and removed together with them, show
themselves to whoever looks, and of a writer that is killed at most the last line is torn.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, Optional

__all__ = ["AnswerLine", "IndexLine", "line_in"]


@dataclass(frozen=True)
class AnswerLine:
    """What one model said.

    Attributes:
        status: gRPC's name of it, OK or `UNAVAILABLE`, say.
        latency_s: From the request to the answer; None where nobody measured.
        digest: SHA-256 of the response as it is recorded, without the model it names; empty where there was none.
    """

    status: str
    latency_s: Optional[float] = None  # noqa: UP045 - dataclasses are looked into at run time, by Python 3.9 too
    digest: str = ""


@dataclass(frozen=True)
class IndexLine:
    """What is known of one record.

    Attributes:
        id: The request's own.
        offset: Where the record begins.
        end: Where it ends.
        arrived_s: When the request came, in seconds since 1970.
        kind: Which field of the PredictionLog is set, `predict_log` say.
        key: What it is a unit of, where that was said.
        digest: SHA-256 of the request as it is recorded, without the model it names.
        legacy: What the legacy model said; the record has the answer itself.
        candidate: What the candidate said, where it was asked; None otherwise.
        redacted: The rules that took something out.
    """

    id: str
    offset: int
    end: int
    arrived_s: float
    kind: str
    digest: str
    legacy: AnswerLine
    key: str = ""
    candidate: Optional[AnswerLine] = None  # noqa: UP045
    redacted: tuple[str, ...] = ()

    def written(self) -> bytes:
        """With the end of the line."""
        return json.dumps(asdict(self), separators=(",", ":")).encode() + b"\n"


def line_in(text: bytes) -> IndexLine | None:
    """None for what is no whole line of ours: a torn one has no end, or is no JSON."""
    if not text.endswith(b"\n"):
        return None
    try:
        told: dict[str, Any] = json.loads(text)
        told["legacy"] = AnswerLine(**told["legacy"])
        told["candidate"] = AnswerLine(**told["candidate"]) if told["candidate"] else None
        told["redacted"] = tuple(told["redacted"])
        return IndexLine(**told)
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
