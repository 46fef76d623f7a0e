"""What a check finds; knows no check."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from stopgap.errors import StopgapError

__all__ = ["Finding", "State", "Untold", "absent", "broken", "ok", "unknown"]


class State(Enum):
    """What is true of the thing that was looked at."""

    OK = "ok"
    BROKEN = "broken"
    SPARE = "broken, not needed"  # another engine serves, and nothing of ours runs on this one
    UNKNOWN = "unknown"  # it could not be looked at: never a false ok
    ABSENT = "not here"  # there is nothing to look at, and nothing wrong with that


@dataclass(frozen=True)
class Finding:
    """What one check has found.

    Attributes:
        detail: What was seen, or what is wrong.
        remedy: What mends it, or brings it here, each command on a line of its own; often empty.
        repair: The words of a command that doctor itself may run, once a person has agreed; mostly none.
    """

    state: State
    detail: str
    remedy: str = ""
    repair: tuple[str, ...] = ()


class Untold(StopgapError):
    """Why a check cannot be made: mostly a fault that another check names."""


def ok(detail: str) -> Finding:
    return Finding(State.OK, detail)


def broken(detail: str, remedy: str, repair: tuple[str, ...] = ()) -> Finding:
    return Finding(State.BROKEN, detail, remedy, repair)


def unknown(detail: str) -> Finding:
    return Finding(State.UNKNOWN, detail)


def absent(detail: str, remedy: str = "") -> Finding:
    return Finding(State.ABSENT, detail, remedy)
