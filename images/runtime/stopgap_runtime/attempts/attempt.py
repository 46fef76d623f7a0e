"""What an attempt of an audit is, and what counts as refused."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = [
    "NOT_THERE",
    "SHUT",
    "Attempt",
    "Outcome",
    "Scene",
    "ShutError",
    "Way",
    "created",
    "nothing_in",
    "opened",
    "outcome_of",
]

_LONGEST_TEXT: Final = 200

# What a wall or a filter answers. Any other error means that the call was looked at: then it was not refused.
SHUT: Final = frozenset({errno.EPERM, errno.EACCES, errno.ENOSYS, errno.EROFS})
NOT_THERE: Final = SHUT | {errno.ENOENT, errno.ENOTDIR, errno.ENXIO, errno.ENODEV}

Way = Callable[[], object]


class ShutError(Exception):
    """Nothing was found that would be open; says what was."""


@dataclass(frozen=True)
class Scene:
    """Where attempts are made.

    Attributes:
        parent: The pid of the runtime's parent.
        sockets: The folder of the sandbox's sockets, whether it is there or not.
        unused: A file name that nobody has.
        memory_bytes, tmp_bytes, tasks, open_files: What there may be of each, where it is to be used up.
    """

    parent: int
    model: Path
    sockets: Path
    unused: str
    memory_bytes: int = 0
    tmp_bytes: int = 0
    tasks: int = 0
    open_files: int = 0


@dataclass(frozen=True)
class Attempt:
    """Something that must not work, in none of its ways.

    Attributes:
        ways: What can be called, by what it is called; whatever returns has worked.
        refusals: The errors that count as refused.
        deadly: Whether it is refused as well where the kernel kills who tries it.
    """

    name: str
    ways: Callable[[Scene], Mapping[str, Way]]
    refusals: frozenset[int] = SHUT
    deadly: bool = False


@dataclass(frozen=True)
class Outcome:
    """How an attempt went.

    Attributes:
        refused: In all of its ways.
        said: By which errors; else what was got, and which way.
    """

    refused: bool
    said: str


def outcome_of(attempt: Attempt, scene: Scene) -> Outcome:
    """Tries all ways, up to the first that is open."""
    refusals: dict[str, None] = {}
    for name, way in attempt.ways(scene).items():
        outcome = _outcome_of_way(way, attempt.refusals)
        if not outcome.refused:
            return Outcome(False, f"{name}: {outcome.said}"[:_LONGEST_TEXT])
        refusals[outcome.said] = None
    return Outcome(True, ", ".join(refusals)[:_LONGEST_TEXT])


def _outcome_of_way(way: Way, refusals: frozenset[int]) -> Outcome:
    try:
        got = way()
    except ShutError as shut:
        return Outcome(True, str(shut))
    except OSError as error:
        return Outcome(error.errno in refusals, errno.errorcode.get(error.errno or 0, str(error)))
    return Outcome(False, "it worked" if got is None else str(got))


def nothing_in(found: Iterable[object]) -> str:
    """What was found, for a way that asks a question.

    Raises:
        ShutError: Nothing was.
    """
    named = [str(each) for each in found]
    if not named:
        raise ShutError("nothing")
    return ", ".join(named)


def created(path: Path) -> None:
    """Makes a file and takes it away again."""
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    path.unlink()


def opened(path: str | Path, flags: int = os.O_RDONLY) -> None:
    """Opens what is there, and no more: neither waits nor changes anything."""
    os.close(os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC))
