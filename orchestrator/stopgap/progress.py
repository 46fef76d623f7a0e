"""How a long step tells whoever waits how far it is; knows nothing of terminals."""

from __future__ import annotations

from typing import Callable, Optional

__all__ = ["Progress", "silent"]

# Called with the phase, in words that a person can read ("downloading tensorflow==1.15.5"), and how much of that
# phase is done, 0.0 to 1.0, or None where nobody can know.
Progress = Callable[[str, Optional[float]], None]


def silent(phase: str, fraction: float | None) -> None:
    """The Progress of callers who do not want to hear of it."""
