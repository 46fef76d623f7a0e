"""Beginning a shadow and ending it: its observer, its candidate, and the stage of the hand-over that it is a part of.

Where a step fails, or is killed, nothing stays behind; a shadow that was ended for one that then failed goes on.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from stopgap import bundle_rows, deployment, observing
from stopgap.engines.choice import Engines
from stopgap.errors import DeploymentError, ModelError, ShadowError
from stopgap.hand_overs import named, record_of
from stopgap.models import find_model
from stopgap.observers import new_token
from stopgap.observing import Means
from stopgap.person import current_person
from stopgap.progress import Progress
from stopgap.settings import NAME, ServeSettings, check_name
from stopgap.shadows import SHADOWS, Shadow
from stopgap.stages import Stage, moved
from stopgap.store import Deployment, Store
from stopgap.sunset import utc_now
from stopgap.undo import Undo

__all__ = ["WantedShadow", "begin", "candidate_name", "end", "recover_shadows"]

Say = Callable[[str], None]

WAY_OUT = "Such a model cannot be shadowed: compare the two on a copy, stopgap compare."
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


def begin(wanted: WantedShadow, engines: Engines, store: Store, say: Say, progress: Progress) -> Shadow:
    """Returns once a sample is mirrored to an observer; whatever fails half-way leaves nothing behind.

    Raises:
        StopgapError: Of the kind of what went wrong.
    """
    legacy = store.deployment(wanted.name)
    means = Means(engines, store, say, progress)
    observing.check_may_be_asked(legacy, SHADOWS, WAY_OUT)
    if wanted.folder is None and wanted.candidate == wanted.name:
        raise ShadowError(f"{wanted.name} cannot be its own candidate.", "Name the model that is to take its place.")
    away = taking_away(engines, store)
    with store.locked_observer(SHADOWS.word, wanted.name):
        observing.take_away_unready(SHADOWS, wanted.name, away, store)
        before = SHADOWS.find(wanted.name, store)
        if before is not None and same(before, wanted):
            return observing.resampled(SHADOWS, before, wanted.per_million, legacy, means)
        check_candidate(wanted, before, legacy, means)
        with Undo() as undo:
            if before is not None:
                say(f"the shadow of {wanted.name} by {before.typed} ends")
                bundle = bundle_of(before, store)
                undo.put("going on with the shadow", lambda: put_back(before, bundle, legacy, means))
                away(before)
            undo.put("taking the shadow away", lambda: observing.take_away_unready(SHADOWS, wanted.name, away, store))
            return begun(wanted, legacy, means)


def begun(wanted: WantedShadow, legacy: Deployment, means: Means) -> Shadow:
    store = means.store
    served_for_it = wanted.folder is not None
    shadow = Shadow(
        name=wanted.name,
        candidate=candidate_name(wanted.name) if served_for_it else wanted.candidate,
        typed=wanted.candidate,
        plan=dict(wanted.plan),
        per_million=wanted.per_million,
        token=new_token(),
        served_for_it=served_for_it,
        begun_s=int(time.time()),
        **wanted.how,
    )
    SHADOWS.put(shadow, store)
    if wanted.folder is not None:
        serve_candidate(wanted.folder, wanted.bundle, shadow.candidate, legacy, means)
    stage_begins(shadow, legacy, store)
    return observing.started(SHADOWS, shadow, legacy, means)


def check_candidate(wanted: WantedShadow, before: Shadow | None, legacy: Deployment, means: Means) -> None:
    """What can be known of a folder before anything is ended or served for it.

    Raises:
        ModelError: There is no model in it.
        DeploymentError: The name under which it would be served is taken.
        ShadowError: That would be too long.
    """
    if wanted.folder is None:
        return
    find_model(wanted.folder, means.engines.named(legacy.engine).limits().reader)
    name = candidate_name(wanted.name)
    own = before is not None and before.served_for_it and before.candidate == name
    if not own and means.store.find(name) is not None:
        raise DeploymentError(
            f"The name {name} is taken, under which the candidate would be served.",
            f"Is it the candidate? stopgap shadow {wanted.name} --candidate {name}",
        )


def bundle_of(shadow: Shadow, store: Store) -> str:
    """Which TensorFlow serves its candidate; empty where that is not known."""
    found = store.find(shadow.candidate) if shadow.served_for_it else None
    return found.bundle if found else ""


def put_back(before: Shadow, bundle: str, legacy: Deployment, means: Means) -> None:
    """With its candidate, where that was served for it; killed meanwhile, it is taken away by the next command."""
    if before.served_for_it:
        SHADOWS.put(replace(before, ready=False), means.store)
        serve_candidate(Path(before.typed), bundle, before.candidate, legacy, means)
    stage_begins(before, legacy, means.store)
    observing.put_back(SHADOWS, before, legacy, means)


def end(name: str, engines: Engines, store: Store) -> bool:
    """Stops mirroring, ends the observer, and the candidate that was served for it; False where there is no shadow.

    What was found stays.
    """
    return observing.ended(SHADOWS, name, taking_away(engines, store), store)


def recover_shadows(engines: Engines, store: Store, say: Say) -> None:
    """See `observing.recover`."""
    observing.recover(SHADOWS, taking_away(engines, store), store, say)


def same(before: Shadow, wanted: WantedShadow) -> bool:
    """Whether only the sample may differ."""
    typed = (before.typed, dict(before.plan)) == (wanted.candidate, dict(wanted.plan))
    return typed and all(getattr(before, name) == value for name, value in wanted.how.items())


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


def serve_candidate(folder: Path, bundle: str, name: str, legacy: Deployment, means: Means) -> None:
    """Behind the same front and on the same engine, as any model is served."""
    modern, old = bundle_rows.default_row("modern").name, bundle_rows.default_row("legacy").name
    bundles = (bundle,) if bundle else (modern, old)
    for each in bundles:
        settings = ServeSettings(
            name=name,
            model=folder,
            bundle=each,
            address=legacy.front,
            limits=replace(legacy.limits, workers=1),
            max_message_mib=legacy.max_message_mib,
        )
        try:
            deployment.serve(settings, means.engines.named(legacy.engine), means.store, means.say, means.progress)
        except ModelError as error:
            if each == bundles[-1] or UNKNOWN_OPERATION not in error.problem:
                raise
            means.say(f"the candidate is served with {old}, since {error.problem}")
        else:
            return


def stage_begins(shadow: Shadow, legacy: Deployment, store: Store) -> None:
    """A hand-over that nobody has begun is in the stage `shadow` from now on; of an address nobody knows the model."""
    candidate = next((each for each in store.deployments() if each.name == shadow.candidate), None)
    if candidate is None:
        return
    with store.locked_front(legacy.front.grpc_port):
        record = record_of(legacy, store)
        if record.stage is Stage.LEGACY:
            by, to = current_person(), named(candidate)
            store.put_hand_over(moved(record, Stage.SHADOW, now=utc_now(), by=by, candidate=to))


def stage_ends(legacy: Deployment, store: Store) -> None:
    """Where it has gone on to another stage meanwhile, that stays."""
    with store.locked_front(legacy.front.grpc_port):
        record = record_of(legacy, store)
        if record.stage is Stage.SHADOW:
            store.put_hand_over(moved(record, Stage.LEGACY, now=utc_now(), by=current_person()))


def taking_away(engines: Engines, store: Store) -> Callable[[Shadow], None]:
    return lambda shadow: take_away(shadow, engines, store)


def take_away(shadow: Shadow, engines: Engines, store: Store) -> None:
    """With its candidate, where that was served for it."""

    def all_else() -> None:
        legacy = store.find(shadow.name)
        if legacy is not None:
            stage_ends(legacy, store)
        if shadow.served_for_it and (store.find(shadow.candidate) or store.ports_of(shadow.candidate)):
            with contextlib.suppress(DeploymentError):  # it is gone already
                deployment.stop(shadow.candidate, engines, store, lambda _text: None)

    observing.taken_away(SHADOWS, shadow, engines, store, all_else)
