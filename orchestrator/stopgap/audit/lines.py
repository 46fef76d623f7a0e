"""What an audit finds, line by line, and against which promise each line is held."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from stopgap.containment.promises import LIMITS, LIVES, WALLS, Answer, Held, Limit, Promise

__all__ = ["PROMISES", "ROWS", "Kind", "Line", "Status", "Wall", "broken", "unknown"]

ROWS: tuple[Promise | Limit, ...] = (*WALLS, *LIMITS, *LIVES)
PROMISES = {row.what: row for row in ROWS}


class Status(Enum):
    """What has become of a line: unknown is what was to be looked at and could not be, not tried what never is here."""

    HELD = "held"
    BROKEN = "BROKEN"
    UNKNOWN = "UNKNOWN"
    NOT_PROMISED = "not promised here"
    NOT_TRIED = "not tried"


class Kind(Enum):
    """Where it is known from: settings from outside, effects from inside, where they could be forged."""

    SETTING = "setting"
    EFFECT = "effect"


@dataclass(frozen=True)
class Line:
    """One thing that was looked at.

    Attributes:
        name: For programs.
        what: For people.
        promise: The row of `containment.promises` that it is held against.
        by: What holds it, where that is known.
        seen: What was seen.
    """

    kind: Kind
    name: str
    what: str
    promise: str
    status: Status
    by: str
    seen: str


@dataclass(frozen=True)
class Wall:
    """Which answers of the table of promises are the deployment's.

    Attributes:
        walls: The column of those about walls and lives.
        limits: The column of those about limits. Where gVisor's or Podman's says nothing, it is as Docker's.
    """

    walls: str
    limits: str

    def answer(self, promise: str) -> Answer:
        """What is promised here."""
        row = PROMISES[promise]
        column = self.limits if isinstance(row, Limit) else self.walls
        answer: Answer | None = getattr(row, column)
        return row.docker if answer is None else answer

    def promises(self, promise: str) -> bool:
        """Whether it is held here by something other than a worker's own filter."""
        return isinstance(self.answer(promise), Held)


def broken(lines: Iterable[Line]) -> tuple[str, ...]:
    """Those that are: `setting memory`, `effect memory`."""
    return names_of(lines, Status.BROKEN)


def unknown(lines: Iterable[Line]) -> tuple[str, ...]:
    """Likewise those of which it is not known whether they are."""
    return names_of(lines, Status.UNKNOWN)


def names_of(lines: Iterable[Line], status: Status) -> tuple[str, ...]:
    return tuple(f"{line.kind.value} {line.name}" for line in lines if line.status is status)
