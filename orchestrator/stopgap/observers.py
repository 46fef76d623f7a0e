"""Observers: what is wanted of each, and its process. Knows neither Envoy nor what an observer makes of a request.

One is wanted as long as its file is there. It is a process of its own, kept as `background` says.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shlex
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar, Generic, TypeVar

from stopgap import background
from stopgap.errors import StopgapError
from stopgap.settings import check_name
from stopgap.store import Store

__all__ = ["LOG", "RESULTS", "UNREADABLE", "Kind", "Wanted", "new_token"]

RESULTS, LOG = "results.sqlite3", "observer.log"
UNREADABLE = (ValueError, TypeError, KeyError, AttributeError, RecursionError)
PROGRAM = "stopgap.observer.__main__"


@dataclass(frozen=True)
class Wanted:
    """What is wanted of any observer.

    Attributes:
        name: The deployment whose users' requests are shown to it.
        per_million: How many of a million predictions are mirrored.
        token: The word by which the front knows what the observer asks.
        in_flight: How many requests the observer asks at once.
        queue: How many may wait for that; what comes then is dropped.
        queue_mib: Likewise, in MiB.
        largest_mib: A larger request is dropped.
        deadline_s: Of each question, and how long a request may wait before it is asked.
        begun_s: When it was begun, or begun again after a `--stop`: in whole seconds since 1970.
        ready: All of it stands; else somebody is at work on it, or was killed over it.
    """

    kind: ClassVar[str] = ""

    name: str
    per_million: int
    token: str
    in_flight: int = 1
    queue: int = 256
    queue_mib: int = 64
    largest_mib: int = 16
    deadline_s: float = 10.0
    begun_s: int = 0
    ready: bool = False

    @property
    def mirrored(self) -> int:
        """How many of a million the front is to mirror now: none before all of it stands, and none once it ends."""
        return self.per_million if self.ready else 0

    @property
    def asks(self) -> tuple[str, ...]:
        """The deployments that it asks."""
        return (self.name,)


W = TypeVar("W", bound=Wanted)


@dataclass(frozen=True)
class Kind(Generic[W]):
    """One kind of observers: where theirs lies, and what they are called.

    Attributes:
        make: What is wanted of one; its `kind` is the word for it: `shadow`, say.
        process: The word for its process: `observer`, say.
        command: Which `stopgap` command begins and ends one.
        folder: In the state folder.
        error: What is raised of them.
    """

    make: type[W]
    process: str
    command: str
    folder: str
    error: type[StopgapError]

    @property
    def word(self) -> str:
        return self.make.kind

    @property
    def record(self) -> str:
        """The name of the file that says what is wanted."""
        return f"{self.word}.json"

    def folder_of(self, name: str, store: Store) -> Path:
        """Where all that belongs to one lies."""
        return store.folder / self.folder / check_name(name)

    def names(self, store: Store) -> tuple[str, ...]:
        """Of all that are wanted, also where that cannot be read."""
        return tuple(sorted(file.parent.name for file in (store.folder / self.folder).glob(f"[!.]*/{self.record}")))

    def all(self, store: Store) -> tuple[W, ...]:
        """All that can be read."""
        found = []
        for name in self.names(store):
            with contextlib.suppress(self.error):
                found.append(self.find(name, store))
        return tuple(wanted for wanted in found if wanted is not None)

    def find(self, name: str, store: Store) -> W | None:
        """
        Raises:
            StopgapError: Of this kind: its file cannot be read.
        """
        file = self.folder_of(name, store) / self.record
        try:
            return self.make(**json.loads(file.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except (OSError, *UNREADABLE) as error:
            raise self.error(
                f"The file {file} is damaged ({type(error).__name__}: {error}).",
                f"End the {self.word}: stopgap {self.command} {shlex.quote(name)} --stop",
            ) from error

    def put(self, wanted: W, store: Store) -> None:
        """Writes it down, by rename.

        Raises:
            StopgapError: Of this kind: the state folder cannot be used.
        """
        folder = self.folder_of(wanted.name, store)
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            partial = folder / f"{self.record}.partial"
            descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with open(descriptor, "w", encoding="utf-8") as stream:  # noqa: PTH123 - a descriptor, not a path
                stream.write(json.dumps(asdict(wanted), indent=1) + "\n")
                stream.flush()
                os.fsync(stream.fileno())
            partial.replace(folder / self.record)
        except OSError as error:
            raise self._unusable(folder, error) from error

    def remove(self, name: str, store: Store) -> None:
        """It is not wanted any more; what was found stays."""
        (self.folder_of(name, store) / self.record).unlink(missing_ok=True)

    def forget(self, name: str, store: Store) -> None:
        """With all that was found. The folder goes at once, by rename, and then what was in it.

        Raises:
            StopgapError: Of this kind: it cannot be removed.
        """
        folder = self.folder_of(name, store)
        gone = folder.with_name(f".{name}.removed")
        try:
            shutil.rmtree(gone, ignore_errors=True)
            with contextlib.suppress(FileNotFoundError):
                folder.rename(gone)
            shutil.rmtree(gone, ignore_errors=True)
        except OSError as error:
            raise self._unusable(folder, error) from error

    def lives(self, name: str, store: Store) -> bool:
        """Whether its process does."""
        return background.runs(self.folder_of(name, store))

    def start(self, name: str, store: Store) -> bool:
        """Returns once the process listens; False where there is one already.

        Raises:
            StopgapError: Of this kind: it refuses, with its reason, or does not get anywhere.
        """
        try:
            return background.start(self.folder_of(name, store), LOG, PROGRAM, str(store.folder), self.word, name)
        except background.Refused as error:
            raise self.error(error.problem, error.remedy) from error

    def end(self, name: str, store: Store) -> bool:
        """Whether there was one: asks it, so that it writes down what it knows; then insists."""
        return background.end(self.folder_of(name, store))

    def _unusable(self, folder: Path, error: OSError) -> StopgapError:
        return self.error(
            f"The folder {folder} cannot be used: {error.strerror}.",
            "Make room or mend its permissions, or choose another state folder with STOPGAP_STATE.",
        )


def new_token() -> str:
    """Which nobody guesses."""
    return secrets.token_urlsafe(24)
