"""What the public functions are given, looked at before anything starts: of the wrong kind, it is told by its name."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from stopgap.errors import DeploymentError

__all__ = ["check_is", "paths", "target_text", "words"]


def check_is(argument: str, value: object, kinds: type | tuple[type, ...], wanted: str) -> None:
    """
    Args:
        argument: The name that the caller gave it by.
        wanted: What it must be, in words.

    Raises:
        DeploymentError: It is of none of these kinds. A bool is no number.
    """
    allowed = kinds if isinstance(kinds, tuple) else (kinds,)
    if not isinstance(value, allowed) or (isinstance(value, bool) and bool not in allowed):
        raise DeploymentError(f"{argument} must be {wanted}, not {value!r}.")


def target_text(target: Any) -> str:
    """A target as text: a path, other than a word, is no name.

    Raises:
        DeploymentError: It is neither text nor a path, or empty, or there cannot be such a path.
    """
    check_is("What is loaded", target, (str, os.PathLike), "a folder, a name or an address")
    if "\0" in os.fspath(target):
        raise DeploymentError(f"{os.fspath(target)!r} names nothing: it has a zero in it.")
    if isinstance(target, str):
        if not target:
            raise DeploymentError("What is to be loaded has no name.", "Name a folder, a deployment or an address.")
        return target
    return absolute(target)


def absolute(path: str | os.PathLike[str]) -> str:
    """
    Raises:
        DeploymentError: The working folder, which it starts from, is gone.
    """
    try:
        return str(Path(path).absolute())
    except FileNotFoundError as error:
        raise DeploymentError(f"{path} leads from the working folder, which is gone.", "Name it from /.") from error


def words(argument: str, value: Any) -> tuple[str, ...]:
    """One word, or several, as a tuple.

    Raises:
        DeploymentError: It is something else.
    """
    wanted = "a word or several words"
    found = (value,) if isinstance(value, str) else members(argument, value, wanted)
    for word in found:
        check_is(argument, word, str, wanted)
    return found


def paths(argument: str, value: Any) -> tuple[str, ...]:
    """Several paths as absolute ones; a single one is meant as one, not as its letters.

    Raises:
        DeploymentError: It is something else.
    """
    wanted = "a path or several paths"
    found = (value,) if isinstance(value, (str, os.PathLike)) else members(argument, value, wanted)
    for path in found:
        check_is(argument, path, (str, os.PathLike), wanted)
    return tuple(map(absolute, found))


def members(argument: str, value: Any, wanted: str) -> tuple[Any, ...]:
    check_is(argument, value, Iterable, wanted)
    return tuple(value)
