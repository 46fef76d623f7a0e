"""A deployment as an observer asks it, and knows it again."""

from __future__ import annotations

import hashlib
import json

from stopgap.asking.sides import Identity
from stopgap.client.channel import ServingChannel
from stopgap.front.mirroring import OBSERVER_HEADER
from stopgap.printable import printable
from stopgap.served_as import deployed_as
from stopgap.store import Deployment

__all__ = ["OPEN_TIMEOUT_S", "channel_to", "identity_of"]

OPEN_TIMEOUT_S = 20.0


def channel_to(deployment: Deployment, token: str) -> ServingChannel:
    """Through its front, which knows by the word who asks; nothing of a user's goes with it."""
    return ServingChannel(deployment.address, headers=((OBSERVER_HEADER, token),))


def identity_of(deployment: Deployment) -> Identity:
    """By what is served: a deployment that was begun anew with the same model is still the same."""
    libraries = [str(library) for library in deployment.op_libraries]
    parts = [deployment.sunset.digest, deployment.bundle, libraries, deployment.signatures, deployment.tags]
    state = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
    told = f"the deployment {deployment.name}, which serves {printable(str(deployment.model))} with {deployment.bundle}"
    return Identity(told, deployment.sunset.digest, state, deployed_as(deployment))
