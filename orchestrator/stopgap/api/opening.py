"""From what somebody names to an open connection: to a model that is there, or to a sandbox that is started for it."""

from __future__ import annotations

import dataclasses
import os
import sys
import weakref
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Optional

from stopgap.api.sharing import share, share_running
from stopgap.api.sunset_notice import SunsetNotice
from stopgap.api.targets import Folder, Remote, Running, target_of
from stopgap.client.channel import ServingChannel
from stopgap.client.model import RemoteModel
from stopgap.client.status import INVALID_ARGUMENT
from stopgap.engines.choice import AUTO, Engines
from stopgap.errors import DeploymentError, PredictionError
from stopgap.overlay import GivenSignatures
from stopgap.progress import Progress, silent
from stopgap.progress_bars import shown_progress
from stopgap.recovery import revive
from stopgap.settings import LONGEST_TIMEOUT_S, Limits, ServeSettings
from stopgap.store import Store

__all__ = ["Connection", "Source", "opened"]

CHOOSE_A_DEADLINE = f"Choose up to {LONGEST_TIMEOUT_S} s."

LOOK_TIMEOUT_S = 1.0


@dataclass(frozen=True)
class Source:
    """What is to be opened, in values that JSON can hold: a saved Keras model remembers it. As for `load`."""

    target: str
    name: Optional[str] = None  # noqa: UP045 - read at run time, by Python 3.9 too
    tags: tuple[str, ...] = ("serve",)
    signatures: GivenSignatures = field(default_factory=dict)
    op_libraries: tuple[str, ...] = ()
    bundle: str = ServeSettings.bundle
    engine: str = AUTO
    workers: int = Limits.workers
    memory_mib: int = Limits.memory_mib
    timeout_s: Optional[float] = 60.0  # noqa: UP045

    def to_config(self) -> dict[str, Any]:
        """As plain values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Source:
        """The reverse of `to_config`, also after JSON has made lists of its tuples."""
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in config.items()
        }
        return cls(**values)

    @property
    def for_a_folder(self) -> tuple[str, ...]:
        """The options that were given and that only say how a folder is to be served."""
        return tuple(
            option.name
            for option in dataclasses.fields(self)
            if option.name not in {"target", "name", "timeout_s"} and getattr(self, option.name) != default(option)
        )

    def settings(self, folder: Path) -> ServeSettings:
        """What a sandbox for that folder's model is to be.

        Raises:
            DeploymentError: There can be none like that.
        """
        return ServeSettings(
            name="any",
            model=folder,
            bundle=self.bundle,
            tags=self.tags,
            op_libraries=tuple(map(Path, self.op_libraries)),
            limits=Limits(memory_mib=self.memory_mib, workers=self.workers),
            signatures=self.signatures,
            tensors_allowed=True,  # the sandbox listens on this machine alone
            shared=True,
        )


class Connection:
    """An open model. Closed by hand, or when nobody holds it any more, at the latest when the process ends.

    TensorFlow's graphs hold it for good: who has called it in a `tf.function` closes it, or ends.

    Attributes:
        source: How it can be opened again.
        address: Where it answers, `HOST:PORT`.
    """

    def __init__(self, source: Source, address: str, remote: RemoteModel, clean_up: ExitStack) -> None:
        self.source = source
        self.address = address
        self.remote = remote
        self._notice = SunsetNotice(source.target, lambda: remote.sunset(LOOK_TIMEOUT_S))
        self._finalizer = weakref.finalize(self, clean_up.close)

    def look_at_the_sunset(self) -> None:
        """Warns, once, where the model must be gone soon; to be called with each request, since programs run long."""
        self._notice.look()

    def deadline_s(self, timeout_s: float | None) -> float | None:
        """A request's deadline; the connection's own, where it has none of its own.

        Raises:
            PredictionError: No deadline is like that.
        """
        if timeout_s is None:
            return self.source.timeout_s
        if not is_a_deadline(timeout_s):
            raise PredictionError(f"A deadline of {timeout_s!r} s cannot be.", INVALID_ARGUMENT, CHOOSE_A_DEADLINE)
        return timeout_s

    @property
    def is_open(self) -> bool:
        """Whether it has not been closed."""
        return self._finalizer.alive

    def close(self) -> None:
        """Ends the connection, and the sandbox with its last user; a second time does nothing.

        Raises:
            StopgapError: The sandbox could not be stopped.
        """
        self._finalizer()


def opened(source: Source, show_progress: bool | None = None) -> Connection:
    """Opens it.

    Args:
        show_progress: Whether to show what takes long; by default where stderr is a terminal, or this is a notebook.

    Raises:
        StopgapError: Of the kind of what went wrong.
    """
    check_timeout(source.timeout_s)
    store = Store.default()
    target = target_of(source.target, source.name, store)
    with ExitStack() as clean_up, progress(show_progress) as report:
        if isinstance(target, Folder):
            source = replace(source, target=os.fspath(target.path.absolute()))  # to be found from anywhere
            part = share(source.settings(target.path), source.engine, store, report)
            clean_up.callback(part.give_up)
            target = Remote(part.deployment.address, part.deployment.name)
        else:
            check_served_already(source)
        if isinstance(target, Running):
            deployment = store.deployment(target.name)
            if deployment.shared:
                clean_up.callback(share_running(deployment, store).give_up)
            revive(deployment, Engines(store.folder), store, report)
            target = Remote(deployment.address, deployment.name)
        channel = clean_up.enter_context(ServingChannel(target.address))
        remote = RemoteModel(channel, target.name)
        remote.signatures(source.timeout_s)  # so that an address where nobody answers is told at once
        connection = Connection(source, target.address, remote, clean_up.pop_all())
        connection.look_at_the_sunset()
        return connection


def default(option: dataclasses.Field[Any]) -> object:
    made = option.default_factory
    return option.default if made is dataclasses.MISSING else made()


def check_served_already(source: Source) -> None:
    """
    Raises:
        DeploymentError: It is told how to serve what is served already.
    """
    if source.for_a_folder:
        raise DeploymentError(
            f"{source.target} is served already, so {' and '.join(source.for_a_folder)} cannot be chosen.",
            "Leave that out, or load the model's folder.",
        )


def check_timeout(timeout_s: float | None) -> None:
    """Before anything is started.

    Raises:
        DeploymentError: No deadline is like that.
    """
    if timeout_s is not None and not is_a_deadline(timeout_s):
        raise DeploymentError(
            f"A deadline of {timeout_s} s cannot be.", f"{CHOOSE_A_DEADLINE} Or None, for as long as it takes."
        )


def is_a_deadline(timeout_s: object) -> bool:
    return (
        isinstance(timeout_s, (int, float)) and not isinstance(timeout_s, bool) and 0 < timeout_s <= LONGEST_TIMEOUT_S
    )


@contextmanager
def progress(shown: bool | None) -> Iterator[Progress]:
    if shown is False:
        yield silent
        return
    with shown_progress(quiet_elsewhere=shown is None and not in_notebook()) as report:
        yield report


def in_notebook() -> bool:
    """Whether a Jupyter kernel runs us: its stderr is no terminal, but somebody waits before it."""
    return "ipykernel" in sys.modules
