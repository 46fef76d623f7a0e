"""What a check is: one question to a machine, and how long it may take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable

from stopgap.doctor.finding import Finding
from stopgap.doctor.machine import Machine

__all__ = ["Check"]

LIMIT_S = 12.0


@dataclass(frozen=True)
class Check:
    """One question to a machine.

    A StopgapError that `look` raises is its finding: something is broken, and the error says what and how to mend it.

    Attributes:
        topic: What it is about, among others.
        limit_s: How long it may take before the finding is that nobody knows.
    """

    topic: str
    name: str
    look: Callable[[Machine], Finding]
    limit_s: float = LIMIT_S
