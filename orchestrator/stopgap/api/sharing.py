"""A sandbox for whoever loads a model: found by what it holds, started if it is not there, stopped by the last user."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from stopgap import deployment
from stopgap.answering import model_answers
from stopgap.api.leases import Lease, unused
from stopgap.conditions import unfinished
from stopgap.digests import sha256_of
from stopgap.engines.choice import Engines
from stopgap.engines.protocol import EngineLimits
from stopgap.errors import DeploymentError, EngineError, ModelError
from stopgap.model_contents import Contents, everything_in
from stopgap.models import find_model
from stopgap.ports import free_ports
from stopgap.progress import Progress, silent
from stopgap.recovery import recover, resume, revive
from stopgap.settings import Address, Limits, ServeSettings
from stopgap.store import Deployment, Store

__all__ = ["Share", "share", "share_running"]

PREFIX = "load-"
DIGEST_LENGTH = 24  # of hexadecimal; a name has 40 places
STOP_PATIENCE_S = 60.0
LOOK_TIMEOUT_S = 1.0


@dataclass(frozen=True)
class Share:
    """A running sandbox, and this process's part in it."""

    deployment: Deployment
    lease: Lease
    store: Store

    def give_up(self) -> None:
        """Stops the sandbox where nobody else uses it.

        Raises:
            StopgapError: It could not be stopped.
        """
        try:
            if self.lease.is_last():
                end(self.deployment.name, self.store)
        finally:
            self.lease.release()


def share(wanted: ServeSettings, engine: str, store: Store, progress: Progress) -> Share:
    """A part in the sandbox that serves just this, by content.

    Nobody shares a model that changes state, nor a sandbox whose own folder has changed or gone since.

    Args:
        wanted: What to serve; its name and address are chosen here.
        engine: One of `engines.choice.CHOICES`.

    Raises:
        StopgapError: Why there is none.
    """
    contents = contents_in(wanted.model, progress)
    digest = content_digest(wanted, contents, store)
    engines = Engines(store.folder)
    recover(engines, store, unheard)
    with store.locked_loading(digest, wanted.timeouts.load_s):
        end_unused(store)
        for name in names(digest):
            with contextlib.ExitStack() as undo:
                lease = Lease(lease_file(store, name), STOP_PATIENCE_S)
                undo.callback(lease.release)
                found = store.find(name)
                if found is None:
                    named = replace(wanted, name=name)
                    served = serve(named, engine, engines, store, progress, contents=contents)
                    undo.pop_all()
                    return Share(served, lease, store)
                # Given up as a user would: its own last user may have left in this moment, and seen us.
                undo.callback(Share(found, lease, store).give_up)
                if not found.changes_state and still_holds(found, wanted, digest, store):
                    bring_up(found, engines, store, progress)
                    undo.pop_all()
                    return Share(found, lease, store)
    raise AssertionError("names do not end")


def share_running(found: Deployment, store: Store) -> Share:
    """A part in a shared sandbox that somebody has named: it stays as long as any other part does.

    Raises:
        DeploymentError: It is being taken away.
    """
    return Share(found, Lease(lease_file(store, found.name), STOP_PATIENCE_S), store)


def serve(
    wanted: ServeSettings, engine: str, engines: Engines, store: Store, progress: Progress, *, contents: Contents
) -> Deployment:
    """Behind the front that such sandboxes have in common already, else behind a new one on free ports."""
    others = [each for each in store.deployments() if each.shared and not each.stopping]
    joined = next((each for each in others if engine in ("auto", each.engine)), None)
    choice = engines.choose(engine, joined.engine if joined else None)
    address = joined.front if joined else Address("127.0.0.1", *free_ports(2))
    limits = fitting(wanted.limits, choice.engine.limits())
    fitted = replace(wanted, address=address, limits=limits)
    return deployment.serve(fitted, choice.engine, store, unheard, progress, contents=contents)


def fitting(wanted: Limits, engine: EngineLimits) -> Limits:
    """Of a default, what a small machine has; more memory than that, asked for, stays and is refused."""
    asked = wanted.memory_mib != Limits.memory_mib
    memory_mib = wanted.memory_mib if asked else min(wanted.memory_mib, engine.memory_mib)
    return replace(wanted, memory_mib=memory_mib, cpus=min(wanted.cpus, float(engine.cpus)))


def still_holds(found: Deployment, wanted: ServeSettings, digest: str, store: Store) -> bool:
    """Whether the folder that it reads, which somebody else may have named, is still there and the same."""
    if found.model == find_model(wanted.model).folder:
        return True
    try:
        return content_digest(wanted, contents_in(found.model, silent), store) == digest
    except ModelError:
        return False


def bring_up(found: Deployment, engines: Engines, store: Store, progress: Progress) -> None:
    """Whatever has become of it: its monitor lost, its machine started anew, its container ended by somebody."""
    revive(found, engines, store, progress)
    if not model_answers(found.address, found.name, LOOK_TIMEOUT_S):
        resume(found.name, engines, store, progress)


def end_unused(store: Store) -> None:
    """Stops what killed processes have left: of a load that was not done too. Where that cannot be, it waits."""
    begun = (name for name in unfinished(Engines(store.folder), store) if name.startswith(PREFIX))
    for name in (*(each.name for each in store.deployments() if each.shared), *begun):
        with unused(lease_file(store, name)) as nobody_does, contextlib.suppress(EngineError, DeploymentError):
            if nobody_does:
                deployment.stop(name, Engines(store.folder), store, unheard)


def end(name: str, store: Store) -> None:
    if store.find(name) is not None:
        deployment.stop(name, Engines(store.folder), store, unheard)


def unheard(_text: str) -> None:
    """What a command would print: a program that loads a model wants the model."""


def lease_file(store: Store, name: str) -> Path:
    return store.folder / "leases" / name


def names(digest: str) -> Iterator[str]:
    yield f"{PREFIX}{digest}"
    number = 2
    while True:
        yield f"{PREFIX}{digest}-{number}"
        number += 1


def contents_in(model: Path, progress: Progress) -> Contents:
    return everything_in(find_model(model).folder, progress)


def content_digest(wanted: ServeSettings, contents: Contents, store: Store) -> str:
    """Of all that decides how it answers: the model's files, and what it is served with; and of whose it is.

    Raises:
        ModelError: A library cannot be read.
    """
    settings = replace(wanted, name="any", address=Address(), model=Path(), op_libraries=(), until=None)
    try:
        libraries = [sha256_of(library) for library in wanted.op_libraries]
    except OSError as error:
        raise ModelError(f"{error.filename} cannot be read: {error.strerror}.") from error
    told = json.dumps([os.fspath(store.folder.absolute()), contents, libraries, repr(settings)])
    return hashlib.sha256(told.encode()).hexdigest()[:DIGEST_LENGTH]
