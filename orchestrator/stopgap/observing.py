"""What beginning and ending an observer have in common, whatever its kind: each step in its order.

One is written down before anything is started for it, and called ready when all of it stands; what is not ready and
nobody is at work on was killed, and is taken away by the next command.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from stopgap.engines.choice import Engines
from stopgap.errors import DeploymentError, EngineError, FrontError, StopgapError
from stopgap.fronts import Fronts
from stopgap.observers import Kind, Wanted, new_token
from stopgap.progress import Progress
from stopgap.recordings import RECORDINGS
from stopgap.shadows import SHADOWS
from stopgap.store import Deployment, Store

__all__ = [
    "KINDS",
    "Means",
    "check_may_be_asked",
    "ended",
    "observe_again",
    "put_back",
    "recover",
    "refresh",
    "resampled",
    "started",
    "take_away_unready",
    "taken_away",
]

W = TypeVar("W", bound=Wanted)

KINDS: tuple[Kind[Any], ...] = (SHADOWS, RECORDINGS)


@dataclass(frozen=True)
class Means:
    """What it takes, and who is told."""

    engines: Engines
    store: Store
    say: Callable[[str], None]
    progress: Progress


def check_may_be_asked(model: Deployment, kind: Kind[W], way_out: str) -> None:
    """
    Raises:
        StopgapError: Of this kind: it cannot be asked twice, or is on its way out.
    """
    if model.changes_state:
        raise kind.error(
            f"{model.name} changes its state with its requests: asked beside its users, it would answer them "
            "otherwise.",
            way_out,
        )
    if model.stopping:
        raise kind.error(f"{model.name} is being stopped.")


def started(kind: Kind[W], wanted: W, model: Deployment, means: Means) -> W:
    """From what is written down, and not ready, to a sample that is mirrored.

    Raises:
        StopgapError: Of the kind of what went wrong.
    """
    store = means.store
    means.progress(f"starting the {kind.process}", None)
    refresh(model, means.engines, store)  # so that the front knows the observer's word before it asks
    kind.start(wanted.name, store)
    wanted = replace(wanted, ready=True)
    kind.put(wanted, store)
    means.progress("mirroring", None)
    if not refresh(model, means.engines, store):
        raise FrontError(f"The front at {model.front} does not run.", f"Bring it back: stopgap resume {model.name}")
    return wanted


def resampled(kind: Kind[W], before: W, per_million: int, model: Deployment, means: Means) -> W:
    """The same with another sample, and with its process, where that had died."""
    now = replace(before, per_million=per_million)
    kind.put(now, means.store)
    kind.start(now.name, means.store)
    refresh(model, means.engines, means.store)
    return now


def put_back(kind: Kind[W], before: W, model: Deployment, means: Means) -> None:
    """What was taken away for one that then could not be; wanted as before also where its process does not come.

    Raises:
        StopgapError: It does not come; the next command tries again.
    """
    again = replace(before, token=new_token(), begun_s=int(time.time()), ready=False)
    kind.put(again, means.store)
    try:
        started(kind, again, model, means)
    except StopgapError:
        kind.put(replace(again, ready=True), means.store)
        raise
    means.say(f"the {kind.word} of {before.name} that there was goes on")


def taken_away(
    kind: Kind[W], wanted: W, engines: Engines, store: Store, between: Callable[[], None] = lambda: None
) -> None:
    """In this order a kill at any moment leaves what the next command goes on with.

    Args:
        between: What else ends with it, once nobody asks any more.
    """
    kind.put(replace(wanted, ready=False), store)
    refresh_those_asked(wanted, engines, store)
    kind.end(wanted.name, store)
    between()
    kind.remove(wanted.name, store)
    refresh_those_asked(wanted, engines, store)


def refresh_those_asked(wanted: Wanted, engines: Engines, store: Store) -> None:
    """Of a model that is gone its candidate's front may be there. A candidate may be an address, and none of ours."""
    for name in set(wanted.asks).intersection(store.names()):
        refresh(store.deployment(name), engines, store)


def observe_again(kind: Kind[W], name: str, store: Store) -> bool:
    """Starts a dead observer; False where it lives, or is not wanted.

    Raises:
        StopgapError: Of this kind: it refuses, with its reason.
        DeploymentError: Another stopgap is at work on it.
    """
    with store.locked_observer(kind.word, name):
        found = kind.find(name, store)
        return found is not None and found.ready and kind.start(name, store)


def ended(kind: Kind[W], name: str, take_away: Callable[[W], None], store: Store) -> bool:
    """Takes away what is wanted, read or not; False where nothing is. What was found stays."""
    with store.locked_observer(kind.word, name):
        if name not in kind.names(store):
            return False
        try:
            found = kind.find(name, store)
        except kind.error:
            found = None
        if found is None:
            kind.end(name, store)
            kind.remove(name, store)
        else:
            take_away(found)
        return True


def take_away_unready(kind: Kind[W], name: str, take_away: Callable[[W], None], store: Store) -> None:
    """What was killed half-way, and what is wanted of a model that is gone; called with the lock held."""
    try:
        found = kind.find(name, store)
    except kind.error:
        return  # a person has to look at it
    if found is not None and (not found.ready or store.find(name) is None):
        take_away(found)


def recover(kind: Kind[W], take_away: Callable[[W], None], store: Store, say: Callable[[str], None]) -> None:
    """Brings back observers that have died, and takes away what a killed command left; others' work is left to them."""
    for name in kind.names(store):
        with contextlib.suppress(DeploymentError, EngineError, FrontError):
            with store.locked_observer(kind.word, name):
                take_away_unready(kind, name, take_away, store)
            try:
                if not kind.lives(name, store) and observe_again(kind, name, store):
                    say(f"the {kind.process} of {name} had died, and is there again")
            except StopgapError as error:
                say(f"the {kind.process} of {name} does not come back: {error.problem}")


def refresh(model: Deployment, engines: Engines, store: Store) -> bool:
    """The front works with what is wanted now; False where it is not there to be told."""
    with store.locked_front(model.front.grpc_port):
        return Fronts(engines.named(model.engine), store).refresh(model.front)
