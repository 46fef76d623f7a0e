"""Settings as they are told from outside, where nothing in the sandbox can forge them: rows that each engine fills."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from stopgap.audit.lines import Kind, Line, Status, Wall
from stopgap.audit.processes import Family
from stopgap.containment.specs import MIB
from stopgap.settings import Limits

__all__ = [
    "CANNOT_BE_SEEN",
    "Look",
    "Seen",
    "Setting",
    "View",
    "in_family",
    "in_mib",
    "judged",
    "missed",
    "same",
    "without_family",
]


@dataclass(frozen=True)
class View:
    """What there is to look at.

    Attributes:
        told: By the engine, in its own words.
        family: The processes of the sandbox; None where they are not seen.
        hidden: Whether that is because this machine's kernel never shows them: they are another's.
        limits: As they were asked for.
        mounts: What is to be mounted of the host's, by where: the folder or file, and whether it may be written to.
    """

    told: Mapping[str, Any]
    family: Family | None
    limits: Limits
    mounts: Mapping[str, tuple[str, bool]]
    hidden: bool = False


@dataclass(frozen=True)
class Seen:
    """One setting as it was found.

    Attributes:
        said: In words that name no folder, so that those of two sandboxes can be compared.
        holds: None where it is not known.
        missed: Whether it was to be seen, then: it always is on this engine, and this time it was not.
    """

    said: str
    holds: bool | None
    missed: bool = False


CANNOT_BE_SEEN = Seen("cannot be seen from here", None)


def missed(said: str) -> Seen:
    """What was to be seen."""
    return Seen(said, None, missed=True)


def without_family(view: View) -> Seen:
    """What there is to say of processes that are not seen."""
    return CANNOT_BE_SEEN if view.hidden else missed("its processes were not found")


Look = Callable[[View], Seen]


@dataclass(frozen=True)
class Setting:
    """One row.

    Attributes:
        promise: What it is held against.
    """

    name: str
    what: str
    promise: str
    look: Look


def judged(settings: Iterable[Setting], view: View, wall: Wall) -> Iterator[Line]:
    """A line for each."""
    for setting in settings:
        seen = setting.look(view)
        if seen.holds is None:
            status = Status.UNKNOWN if seen.missed else Status.NOT_TRIED
        elif seen.holds:
            status = Status.HELD
        else:
            status = Status.BROKEN if wall.promises(setting.promise) else Status.NOT_PROMISED
        yield Line(Kind.SETTING, setting.name, setting.what, setting.promise, status, "", seen.said)


def same(said: object, wanted: object) -> Seen:
    """Holds where it is what it is to be."""
    return Seen(str(said), said == wanted)


def in_mib(found: float | None, wanted_mib: int) -> Seen:
    """For bytes."""
    return Seen("none" if found is None else f"{found / MIB:g} MiB", found == wanted_mib * MIB)


def in_family(look: Callable[[Family], Seen]) -> Look:
    """For what is seen of a sandbox's processes, where they are seen."""
    return lambda view: without_family(view) if view.family is None else look(view.family)
