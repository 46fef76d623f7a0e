"""Whom a worker is there for."""

from __future__ import annotations

import enum

__all__ = ["Duty"]


class Duty(str, enum.Enum):
    """What a worker's place is for; two of the three have a process only while somebody needs it."""

    USERS = "users"
    """It answers many at once, and is always there."""

    ALONE = "alone"
    """The retry lane: one request at a time, each on a connection of its own, written down before it runs."""

    ASIDE = "aside"
    """What observers ask: it makes way for all others, and nobody notices when it ends."""
