"""Shadows: what is wanted of each, and the process that observes. Knows neither Envoy nor how two models are compared.

A shadow is wanted as long as its file is there. Its observer is one process for each.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shlex
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from stopgap import background
from stopgap.errors import ShadowError
from stopgap.settings import check_name
from stopgap.store import Store

__all__ = [
    "LOG",
    "RESULTS",
    "Shadow",
    "end_observer",
    "find",
    "folder_of",
    "forget",
    "is_observed",
    "new_token",
    "put",
    "remove",
    "shadow_names",
    "shadows",
    "start_observer",
]

RECORD, RESULTS, LOG = "shadow.json", "results.sqlite3", "observer.log"
UNREADABLE = (ValueError, TypeError, KeyError, AttributeError, RecursionError)

PROGRAM = "stopgap.observer.__main__"


@dataclass(frozen=True)
class Shadow:
    """What is wanted.

    Attributes:
        name: The legacy model's deployment.
        candidate: What is asked beside it: a deployment's name, or HOST:PORT/MODEL.
        typed: What was named as the candidate.
        plan: As a plan's file has it, see `stopgap.comparison.plan`.
        per_million: How many of a million predictions are mirrored.
        token: The word by which the front knows what the observer asks.
        served_for_it: The candidate is a deployment that was served for this, and ends with it.
        in_flight: How many requests the observer asks at once.
        queue: How many may wait for that; what comes then is dropped.
        queue_mib: Likewise, in MiB.
        largest_mib: A larger request is dropped.
        deadline_s: Of each question, and how long a request may wait before it is asked.
        rows: How many pairs of answers are kept; the oldest go.
        rows_mib: Likewise, in MiB.
        begun_s: When it was begun, or begun again after a `--stop`: in whole seconds since 1970.
        ready: All of it stands; else somebody is at work on it, or was killed over it.
    """

    name: str
    candidate: str
    typed: str
    plan: Mapping[str, Any]
    per_million: int
    token: str
    served_for_it: bool = False
    in_flight: int = 1
    queue: int = 256
    queue_mib: int = 64
    largest_mib: int = 16
    deadline_s: float = 10.0
    rows: int = 100_000
    rows_mib: int = 256
    begun_s: int = 0
    ready: bool = False


def new_token() -> str:
    """Which nobody guesses."""
    return secrets.token_urlsafe(24)


def folder_of(name: str, store: Store) -> Path:
    """Where all that belongs to a shadow lies."""
    return store.folder / "shadows" / check_name(name)


def shadow_names(store: Store) -> tuple[str, ...]:
    """Of all that are wanted, also where that cannot be read."""
    return tuple(sorted(file.parent.name for file in (store.folder / "shadows").glob(f"[!.]*/{RECORD}")))


def shadows(store: Store) -> tuple[Shadow, ...]:
    """All that can be read."""
    found = []
    for name in shadow_names(store):
        with contextlib.suppress(ShadowError):
            found.append(find(name, store))
    return tuple(shadow for shadow in found if shadow is not None)


def find(name: str, store: Store) -> Shadow | None:
    """
    Raises:
        ShadowError: Its file cannot be read.
    """
    file = folder_of(name, store) / RECORD
    try:
        return Shadow(**json.loads(file.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, *UNREADABLE) as error:
        raise ShadowError(
            f"The file {file} is damaged ({type(error).__name__}: {error}).",
            f"End the shadow: stopgap shadow {shlex.quote(name)} --stop",
        ) from error


def put(shadow: Shadow, store: Store) -> None:
    """Writes it down, by rename.

    Raises:
        ShadowError: The state folder cannot be used.
    """
    folder = folder_of(shadow.name, store)
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        partial = folder / f"{RECORD}.partial"
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with open(descriptor, "w", encoding="utf-8") as stream:  # noqa: PTH123 - a descriptor, not a path
            stream.write(json.dumps(asdict(shadow), indent=1) + "\n")
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(folder / RECORD)
    except OSError as error:
        raise unusable(folder, error) from error


def remove(name: str, store: Store) -> None:
    """It is not wanted any more; what was found stays."""
    (folder_of(name, store) / RECORD).unlink(missing_ok=True)


def forget(name: str, store: Store) -> None:
    """With all that was found. The folder goes at once, by rename, and then what was in it.

    Raises:
        ShadowError: It cannot be removed.
    """
    folder = folder_of(name, store)
    gone = folder.with_name(f".{name}.removed")
    try:
        shutil.rmtree(gone, ignore_errors=True)
        with contextlib.suppress(FileNotFoundError):
            folder.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)
    except OSError as error:
        raise unusable(folder, error) from error


def is_observed(name: str, store: Store) -> bool:
    """Whether its observer lives."""
    return background.runs(folder_of(name, store))


def start_observer(name: str, store: Store) -> bool:
    """Returns once the observer listens; False where there is one already.

    Raises:
        ShadowError: It refuses, with its reason, or does not get anywhere.
    """
    try:
        return background.start(folder_of(name, store), LOG, PROGRAM, str(store.folder), name)
    except background.Refused as error:
        raise ShadowError(error.problem, error.remedy) from error


def end_observer(name: str, store: Store) -> bool:
    """Whether there was one: asks it, so that it writes down what it knows; then insists."""
    return background.end(folder_of(name, store))


def unusable(folder: Path, error: OSError) -> ShadowError:
    return ShadowError(
        f"The folder {folder} cannot be used: {error.strerror}.",
        "Make room or mend its permissions, or choose another state folder with STOPGAP_STATE.",
    )
