"""Moving the date of a model, and telling the fronts of all that serve it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from stopgap.engines.choice import Engines
from stopgap.errors import DeploymentError
from stopgap.fronts import Fronts
from stopgap.model_contents import contents_of, model_digest, read_files
from stopgap.models import find_model
from stopgap.person import current_person
from stopgap.progress import Progress
from stopgap.store import Deployment, Store
from stopgap.sunset import Sunset, moved, utc_now

__all__ = ["Extended", "announce", "extend"]


@dataclass(frozen=True)
class Extended:
    """A date that was moved.

    Attributes:
        before: What was agreed upon until then.
        names: Under which the model is served now, or going to be; none where it is not.
    """

    before: Sunset
    now: Sunset
    names: tuple[str, ...]


def extend(model: str, until: date, engines: Engines, store: Store, progress: Progress, *, reason: str) -> Extended:
    """Moves the date of a model for all who serve it; one that stays where it is, is told to the fronts once more.

    Args:
        model: The name of a deployment; or the folder of a model that was served once.

    Raises:
        DeploymentError: There is no such deployment; the model was never served; or the date cannot be moved there.
        ModelError: The folder holds no model.
        FrontError: A front could not be told. The date is moved all the same.
    """
    digest = digest_of(model, store, progress)
    with store.locked_sunset(digest):
        before = store.sunset(digest)
        if before is None:
            raise DeploymentError(
                f"The model {model} has no sunset: it was never served from here.",
                f"Serve it: stopgap serve {model} --name NAME --until DATE",
            )
        now = moved(before, until, reason, now=utc_now(), by=current_person())
        store.put_sunset(now)
    announce(digest, engines, store)
    return Extended(before, now, tuple(each.name for each in store.of_model(digest)))


def digest_of(model: str, store: Store, progress: Progress) -> str:
    """Of the deployment of that name; where there is none, of the folder."""
    is_deployment = model in store.names()
    if not is_deployment and (os.sep in model or Path(model).exists()):
        found = find_model(Path(model)).folder
        return model_digest(contents_of(found, read_files(found), progress))
    return store.deployment(model).sunset.digest


def announce(digest: str, engines: Engines, store: Store) -> None:
    """Has each front that serves the model say its date as it is now; one that does not run says it when it does.

    Raises:
        FrontError: One did not take it up.
    """
    for deployment in one_behind_each_front(store.of_model(digest)):
        with store.locked_front(deployment.front.grpc_port):
            Fronts(engines.named(deployment.engine), store).refresh(deployment.front)


def one_behind_each_front(deployments: tuple[Deployment, ...]) -> list[Deployment]:
    return list({each.front.grpc_port: each for each in deployments if not each.stopping}.values())
