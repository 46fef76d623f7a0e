"""Whether a candidate can stand in a legacy model's place at all: same front, same words, and up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from stopgap.answering import model_answers
from stopgap.client.channel import ServingChannel
from stopgap.client.model import RemoteModel
from stopgap.client.signatures import Signature, TensorSpec
from stopgap.errors import DeploymentError, FrontError, PredictionError
from stopgap.front.admin import Admin
from stopgap.printable import printable
from stopgap.store import Deployment, Store

__all__ = ["admin_of", "check_healthy", "check_pair", "check_up", "misfits"]

LOOK_TIMEOUT_S = 5.0
MOST_TOLD = 5


def check_pair(legacy: Deployment, candidate: Deployment) -> None:
    """What no force helps over.

    Raises:
        DeploymentError: The front could not send the one's requests to the other.
    """
    if legacy.name == candidate.name:
        raise DeploymentError(f"{legacy.name} cannot take its own place.", "Name another: --candidate NAME")
    if legacy.front != candidate.front:
        raise DeploymentError(
            f"{candidate.name} is at {candidate.front}, and {legacy.name} at {legacy.front}: two fronts.",
            f"Serve it behind the same one: {serving(legacy, candidate)}",
        )
    if candidate.name in legacy.also_called and legacy.name not in candidate.also_called:
        raise DeploymentError(
            f"{legacy.name} answers to the name {candidate.name}, and not the other way round.",
            f"Are they swapped? {candidate.name} --candidate {legacy.name}",
        )
    if legacy.name not in candidate.also_called:
        raise DeploymentError(
            f"{candidate.name} does not answer to the name {legacy.name}.",
            f"Serve it so that it does: stopgap stop {candidate.name}; {serving(legacy, candidate)}",
        )
    if candidate.shared:
        raise DeploymentError(
            f"{candidate.name} ends with the last program that has loaded it.",
            f"Serve it: {serving(legacy, candidate)}",
        )


def serving(legacy: Deployment, candidate: Deployment) -> str:
    return (
        f"stopgap serve {candidate.model} --name {candidate.name} --also-called {legacy.name} "
        f"--bundle {candidate.bundle} --port {legacy.front.grpc_port}"
    )


def check_up(deployment: Deployment, store: Store) -> None:
    """
    Raises:
        DeploymentError: It does not answer, or none of its workers is healthy. Who answers has loaded, and warmed up.
    """
    name = deployment.name
    trouble = f"See why: stopgap status {name}; stopgap logs {name}"
    if not model_answers(deployment.address, name, LOOK_TIMEOUT_S, deployment.version):
        raise DeploymentError(f"{name} does not answer at {deployment.address}.", trouble)
    check_healthy(deployment, store, least=deployment.workers)


def check_healthy(deployment: Deployment, store: Store, *, least: int) -> None:
    """
    Raises:
        DeploymentError: Fewer of its workers are healthy, as its front has it.
    """
    name = deployment.name
    trouble = f"See why: stopgap status {name}; stopgap logs {name}"
    try:
        health = admin_of(deployment, store).cluster_health(name)
    except FrontError as error:
        raise DeploymentError(f"Nobody knows how {name} is: {error.problem}", trouble) from error
    if health.healthy < least:
        raise DeploymentError(f"Only {health.healthy} of the {health.workers} workers of {name} are healthy.", trouble)


def admin_of(deployment: Deployment, store: Store) -> Admin:
    return Admin(store.front_folder(deployment.front.grpc_port) / "admin")


def misfits(legacy: Deployment, candidate: Deployment) -> list[str]:
    """Why callers of the one would not be content with the other, whatever it answers; empty where they could be.

    Raises:
        DeploymentError: One cannot be asked for its signatures.
    """
    found = []
    if candidate.max_message_mib < legacy.max_message_mib:
        found.append(f"it takes {candidate.max_message_mib} MiB at most, not {legacy.max_message_mib}")
    if candidate.timeouts.run_s < legacy.timeouts.run_s:
        found.append(f"it gives a request {candidate.timeouts.run_s} s, not {legacy.timeouts.run_s}")
    if legacy.tensors_allowed and not candidate.tensors_allowed:
        found.append("callers may not name its tensors")
    return [*found, *differing(signatures(legacy), signatures(candidate))]


def signatures(deployment: Deployment) -> Mapping[str, Signature]:
    with ServingChannel(deployment.address) as channel:
        try:
            return RemoteModel(channel, deployment.name, deployment.version).signatures(LOOK_TIMEOUT_S)
        except PredictionError as error:
            raise DeploymentError(
                f"{deployment.name} does not tell its signatures: {error.problem}", f"stopgap status {deployment.name}"
            ) from error


def differing(legacy: Mapping[str, Signature], candidate: Mapping[str, Signature]) -> list[str]:
    """In what a request that the one understands would be none to the other, or an answer none to its callers."""
    found = []
    for name, known in sorted(legacy.items()):
        if name not in candidate:
            found.append(f"it has no signature {printable(name)}")
            continue
        other = candidate[name]
        wanted = {key: spec for key, spec in other.inputs.items() if key not in other.optional}
        found += [f"{printable(name)}: {text}" for text in lacking("input", known.inputs, other.inputs)]
        found += [
            f"{printable(name)}: it wants an input {printable(key)}" for key in sorted(wanted.keys() - known.inputs)
        ]
        found += [f"{printable(name)}: {text}" for text in lacking("output", known.outputs, other.outputs)]
    return found


def lacking(what: str, legacy: Mapping[str, TensorSpec], candidate: Mapping[str, TensorSpec]) -> Iterator[str]:
    for name, spec in sorted(legacy.items()):
        other = candidate.get(name)
        if other is None:
            yield f"it has no {what} {printable(name)}"
        elif other.dtype != spec.dtype or not may_be(spec.shape, other.shape):
            yield f"its {what} is {other}, not {spec}"


def may_be(one: tuple[int | None, ...] | None, other: tuple[int | None, ...] | None) -> bool:
    """Whether a tensor can be of both shapes."""
    if one is None or other is None:
        return True
    return len(one) == len(other) and all(a is None or b is None or a == b for a, b in zip(one, other))
