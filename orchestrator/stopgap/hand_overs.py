"""What is recorded of a deployment's hand-over."""

from __future__ import annotations

from stopgap.stages import HandOver, Model, begun
from stopgap.store import Deployment, Store
from stopgap.takeovers import takeover_of

__all__ = ["answering_to", "named", "record_of"]


def named(deployment: Deployment) -> Model:
    """As a hand-over knows it."""
    return Model(deployment.name, deployment.sunset.digest, deployment.version)


def record_of(legacy: Deployment, store: Store) -> HandOver:
    """What is recorded of this very model; one of another model that had its name before is none of it."""
    found = store.hand_over(legacy.name)
    if found is None or found.legacy != named(legacy):
        return begun(named(legacy), legacy.front.grpc_port)
    return found


def answering_to(name: str, store: Store) -> Deployment:
    """The deployment that is called so; where its model is retired, the one that has its name since.

    Raises:
        DeploymentError: There is none of either kind; says which there are.
    """
    if store.find(name) is None and (record := store.hand_over(name)) is not None and record.candidate is not None:
        successor = store.find(record.candidate.name)
        if successor is not None and takeover_of(record, {successor.name: successor}):
            return successor
    return store.deployment(name)
