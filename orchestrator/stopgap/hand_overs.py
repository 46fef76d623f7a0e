"""What is recorded of a deployment's hand-over."""

from __future__ import annotations

from stopgap.stages import HandOver, Model, begun
from stopgap.store import Deployment, Store

__all__ = ["named", "record_of"]


def named(deployment: Deployment) -> Model:
    """As a hand-over knows it."""
    return Model(deployment.name, deployment.sunset.digest, deployment.version)


def record_of(legacy: Deployment, store: Store) -> HandOver:
    """What is recorded of this very model; one of another model that had its name before is none of it."""
    found = store.hand_over(legacy.name)
    if found is None or found.legacy != named(legacy):
        return begun(named(legacy), legacy.front.grpc_port)
    return found
