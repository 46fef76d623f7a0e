"""Beginning a shadow and ending it: each step in its order; where one fails, or is killed, nothing stays behind.

A shadow is written down before anything is started for it, and called ready when all of it stands; what is not ready
and nobody is at work on was killed, and is taken away by the next command.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from stopgap import bundle_rows, deployment, shadows
from stopgap.engines.choice import Engines
from stopgap.errors import DeploymentError, EngineError, FrontError, ModelError, ShadowError, StopgapError
from stopgap.fronts import Fronts
from stopgap.progress import Progress
from stopgap.settings import NAME, ServeSettings, check_name
from stopgap.shadows import Shadow
from stopgap.store import Deployment, Store
from stopgap.undo import Undo

__all__ = ["WantedShadow", "begin", "candidate_name", "end", "observe_again", "recover_shadows"]

Say = Callable[[str], None]

SUFFIX = "-candidate"
# What a runtime says first of a model whose graph its TensorFlow does not know.
UNKNOWN_OPERATION = "Op type not registered in TensorFlow"


@dataclass(frozen=True)
class WantedShadow:
    """What somebody asks for.

    Attributes:
        name: The legacy model's deployment.
        candidate: A folder, a deployment's name, or HOST:PORT/MODEL.
        folder: The candidate as a folder, where it is one.
        plan: As a plan's file has it.
        bundle: Which TensorFlow serves a folder; empty: a TensorFlow 2, and the legacy one where that cannot.
        how: Further fields of a `Shadow`.
    """

    name: str
    candidate: str
    folder: Path | None
    plan: Mapping[str, Any]
    per_million: int
    bundle: str
    how: Mapping[str, Any]


@dataclass(frozen=True)
class Means:
    """What it takes, and who is told."""

    engines: Engines
    store: Store
    say: Say
    progress: Progress


def begin(wanted: WantedShadow, engines: Engines, store: Store, say: Say, progress: Progress) -> Shadow:
    """Returns once a sample is mirrored to an observer; whatever fails half-way leaves nothing behind.

    Raises:
        StopgapError: Of the kind of what went wrong.
    """
    legacy = store.deployment(wanted.name)
    check_legacy(legacy)
    if wanted.folder is None and wanted.candidate == wanted.name:
        raise ShadowError(f"{wanted.name} cannot be its own candidate.", "Name the model that is to take its place.")
    with store.locked_shadow(wanted.name):
        take_away_unready(wanted.name, engines, store)
        before = shadows.find(wanted.name, store)
        if before is not None and same(before, wanted):
            return changed(before, wanted, legacy, engines, store)
        if before is not None:
            say(f"the shadow of {wanted.name} by {before.typed} ends")
            take_away(before, engines, store)
        with Undo() as undo:
            undo.put("taking the shadow away", lambda: take_away_unready(wanted.name, engines, store))
            return begun(wanted, legacy, Means(engines, store, say, progress))


def begun(wanted: WantedShadow, legacy: Deployment, means: Means) -> Shadow:
    store = means.store
    served_for_it = wanted.folder is not None
    shadow = Shadow(
        name=wanted.name,
        candidate=candidate_name(wanted.name) if served_for_it else wanted.candidate,
        typed=wanted.candidate,
        plan=dict(wanted.plan),
        per_million=wanted.per_million,
        token=shadows.new_token(),
        served_for_it=served_for_it,
        begun_s=int(time.time()),
        **wanted.how,
    )
    if served_for_it and store.find(shadow.candidate) is not None:
        raise DeploymentError(
            f"The name {shadow.candidate} is taken, under which the candidate would be served.",
            f"Is it the candidate? stopgap shadow {wanted.name} --candidate {shadow.candidate}",
        )
    shadows.put(shadow, store)
    if wanted.folder is not None:
        serve_candidate(wanted, shadow.candidate, legacy, means)
    means.progress("starting the observer", None)
    refresh(legacy, means.engines, store)  # so that the front knows the observer's word before it asks
    shadows.start_observer(wanted.name, store)
    shadow = replace(shadow, ready=True)
    shadows.put(shadow, store)
    means.progress("mirroring", None)
    if not refresh(legacy, means.engines, store):
        raise FrontError(f"The front at {legacy.front} does not run.", f"Bring it back: stopgap resume {legacy.name}")
    return shadow


def end(name: str, engines: Engines, store: Store) -> bool:
    """Stops mirroring, ends the observer, and the candidate that was served for it; False where there is no shadow.

    What was found stays.
    """
    with store.locked_shadow(name):
        if name not in shadows.shadow_names(store):
            return False
        try:
            found = shadows.find(name, store)
        except ShadowError:
            found = None
        if found is None:
            shadows.end_observer(name, store)
            shadows.remove(name, store)
        else:
            take_away(found, engines, store)
        return True


def observe_again(name: str, store: Store) -> bool:
    """Starts a dead observer; False where it lives, or is not wanted.

    Raises:
        ShadowError: It refuses, with its reason.
        DeploymentError: Another stopgap is at work on that shadow.
    """
    with store.locked_shadow(name):
        found = shadows.find(name, store)
        return found is not None and found.ready and shadows.start_observer(name, store)


def recover_shadows(engines: Engines, store: Store, say: Say) -> None:
    """Brings back observers that have died, and takes away what a killed command left; others' work is left to them."""
    for name in shadows.shadow_names(store):
        with contextlib.suppress(DeploymentError, EngineError, FrontError):
            with store.locked_shadow(name):
                take_away_unready(name, engines, store)
            try:
                if not shadows.is_observed(name, store) and observe_again(name, store):
                    say(f"the observer of {name} had died, and is there again")
            except StopgapError as error:
                say(f"the observer of {name} does not come back: {error.problem}")


def check_legacy(legacy: Deployment) -> None:
    """
    Raises:
        ShadowError: It cannot be asked twice, or is on its way out.
    """
    if legacy.changes_state:
        raise ShadowError(
            f"{legacy.name} changes its state with its requests: asked beside its users, it would answer them "
            "otherwise.",
            "Such a model cannot be shadowed: compare the two on a copy, stopgap compare.",
        )
    if legacy.stopping:
        raise ShadowError(f"{legacy.name} is being stopped.")


def same(before: Shadow, wanted: WantedShadow) -> bool:
    """Whether only the sample may differ."""
    named = (before.typed, dict(before.plan)) == (wanted.candidate, dict(wanted.plan))
    return named and all(getattr(before, name) == value for name, value in wanted.how.items())


def changed(before: Shadow, wanted: WantedShadow, legacy: Deployment, engines: Engines, store: Store) -> Shadow:
    now = replace(before, per_million=wanted.per_million)
    shadows.put(now, store)
    shadows.start_observer(wanted.name, store)
    refresh(legacy, engines, store)
    return now


def candidate_name(name: str) -> str:
    """
    Raises:
        ShadowError: It would be too long.
    """
    made = name + SUFFIX
    if not NAME.fullmatch(made):
        raise ShadowError(
            f"{made} is too long for a name, under which the candidate would be served.",
            "Serve it yourself under a shorter one, and give that: stopgap serve CANDIDATE --name NAME",
        )
    return check_name(made)


def serve_candidate(wanted: WantedShadow, name: str, legacy: Deployment, means: Means) -> None:
    """Behind the same front and on the same engine, as any model is served."""
    assert wanted.folder is not None  # noqa: S101 - asked by the caller
    modern, old = bundle_rows.default_row("modern").name, bundle_rows.default_row("legacy").name
    bundles = (wanted.bundle,) if wanted.bundle else (modern, old)
    for bundle in bundles:
        settings = ServeSettings(
            name=name,
            model=wanted.folder,
            bundle=bundle,
            address=legacy.front,
            limits=replace(legacy.limits, workers=1),
            max_message_mib=legacy.max_message_mib,
        )
        try:
            deployment.serve(settings, means.engines.named(legacy.engine), means.store, means.say, means.progress)
        except ModelError as error:
            if bundle == bundles[-1] or UNKNOWN_OPERATION not in error.problem:
                raise
            means.say(f"the candidate is served with {old}, since {error.problem}")
        else:
            return


def take_away_unready(name: str, engines: Engines, store: Store) -> None:
    """What was killed half-way, and the shadow of a model that is gone."""
    try:
        found = shadows.find(name, store)
    except ShadowError:
        return  # a person has to look at it
    if found is not None and (not found.ready or store.find(name) is None):
        take_away(found, engines, store)


def take_away(shadow: Shadow, engines: Engines, store: Store) -> None:
    """In this order a kill at any moment leaves what the next command goes on with."""
    shadows.put(replace(shadow, ready=False), store)
    legacy = store.find(shadow.name)
    if legacy is not None:
        refresh(legacy, engines, store)
    shadows.end_observer(shadow.name, store)
    if shadow.served_for_it and (store.find(shadow.candidate) or store.ports_of(shadow.candidate)):
        with contextlib.suppress(DeploymentError):  # it is gone already
            deployment.stop(shadow.candidate, engines, store, lambda _text: None)
    shadows.remove(shadow.name, store)
    if legacy is not None:
        refresh(legacy, engines, store)


def refresh(legacy: Deployment, engines: Engines, store: Store) -> bool:
    """The front works with what is wanted now; False where it is not there to be told."""
    with store.locked_front(legacy.front.grpc_port):
        return Fronts(engines.named(legacy.engine), store).refresh(legacy.front)
