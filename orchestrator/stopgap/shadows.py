"""Shadows: what is wanted of each. Knows neither Envoy nor how two models are compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from stopgap.errors import ShadowError
from stopgap.observers import LOG, RESULTS, Kind, Wanted, new_token

__all__ = [
    "LOG",
    "RESULTS",
    "SHADOWS",
    "Shadow",
    "find",
    "folder_of",
    "forget",
    "is_observed",
    "new_token",
    "put",
    "remove",
    "shadow_names",
    "shadows",
]


@dataclass(frozen=True)
class Shadow(Wanted):
    """What is wanted.

    Attributes:
        candidate: What is asked beside the legacy model: a deployment's name, or HOST:PORT/MODEL.
        typed: What was named as the candidate.
        plan: As a plan's file has it, see `stopgap.comparison.plan`.
        served_for_it: The candidate is a deployment that was served for this, and ends with it.
        rows: How many pairs of answers are kept; the oldest go.
        rows_mib: Likewise, in MiB.
    """

    kind: ClassVar[str] = "shadow"

    candidate: str = ""
    typed: str = ""
    plan: Mapping[str, Any] = field(default_factory=dict)
    served_for_it: bool = False
    rows: int = 100_000
    rows_mib: int = 256

    def __post_init__(self) -> None:
        """
        Raises:
            ValueError: It cannot be; so a damaged file is noticed.
        """
        if not self.candidate:
            raise ValueError("a shadow without a candidate")

    @property
    def asks(self) -> tuple[str, ...]:
        """See `Wanted`."""
        return (self.name, self.candidate)


SHADOWS: Kind[Shadow] = Kind(Shadow, "observer", "shadow", "shadows", ShadowError)

# For those who ask of shadows alone.
shadows, shadow_names, find, put, remove = SHADOWS.all, SHADOWS.names, SHADOWS.find, SHADOWS.put, SHADOWS.remove
folder_of, forget, is_observed = SHADOWS.folder_of, SHADOWS.forget, SHADOWS.lives
