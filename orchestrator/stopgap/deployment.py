"""Serving a model, stopping it, and seeing how it is: each step in its order; where one fails, nothing stays behind."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from enum import Enum
from pathlib import Path

from stopgap import bundle_rows, bundles, images, processor
from stopgap.answering import model_answers
from stopgap.containment import SandboxSpec, front_container, sandbox_container
from stopgap.engines.protocol import Engine, EngineLimits, State
from stopgap.errors import DeploymentError, EngineError, SandboxError
from stopgap.fronts import Fronts
from stopgap.models import Model, check_op_library, find_model
from stopgap.progress import Progress
from stopgap.readiness import Ready, death, last_lines, wait_until_loaded
from stopgap.settings import Address, ServeSettings
from stopgap.store import Deployment, Store
from stopgap.undo import Undo

__all__ = ["Condition", "Health", "look", "serve", "stop", "unfinished"]

ANSWER_TIMEOUT_S = 20.0
LOOK_EVERY_S = 0.02
LOOK_TIMEOUT_S = 1.0
STOP_GRACE_S = 5  # the runtime ends itself when its drain is over; Docker kills it that much later

Say = Callable[[str], None]


def serve(wanted: ServeSettings, engine: Engine, store: Store, say: Say, progress: Progress) -> Deployment:
    """Returns once the model answers behind its front; whatever fails half-way leaves nothing behind.

    Raises:
        StopgapError: Of the kind of what went wrong.
    """
    model = find_model(wanted.model)
    op_libraries = tuple(check_op_library(library) for library in wanted.op_libraries)
    check_engine(wanted, engine.limits())
    fronts = Fronts(engine, store)
    with store.locked_deployment(wanted.name), Undo() as undo:
        check_name_free(wanted.name, engine, store)
        fronts.check(wanted.address)
        bundle = bundles.ensure(wanted.bundle, progress)
        kind = bundle_rows.row(wanted.bundle).kind
        image = images.ensure(kind, engine, bundle, say, progress)
        front_image = images.ensure("front", engine, None, say, progress)

        progress("starting the sandbox", None)
        port = wanted.address.grpc_port
        undo.put("removing the sockets' folder", lambda: forget_sandbox(wanted, fronts))
        with store.locked_front(port):
            sockets = store.make_sandbox_folder(port, wanted.name)
        spec = SandboxSpec(
            name=wanted.name,
            image=image,
            state=store.folder,
            model=model,
            sockets=sockets,
            limits=wanted.limits,
            timeouts=wanted.timeouts,
            tags=wanted.tags,
            op_libraries=op_libraries,
            max_message_mib=wanted.max_message_mib,
        )
        undo.put("removing the sandbox", lambda: remove_ours(spec.container, engine, store))
        engine.start(spec)
        ready = wait_until_loaded(engine, spec, progress)
        deployment = deployed(wanted, model, op_libraries, ready, engine)

        progress("joining the front", None)
        with store.locked_front(port), Undo() as undo_joining:
            undo_joining.put("leaving the front", lambda: fronts.leave(wanted.address))
            fronts.join(deployment, front_image)
            wait_until_answering(deployment, spec, engine)
            engine.keep(spec.container)
            engine.keep(front_container(port))
            store.put(deployment)
    return deployment


def check_engine(wanted: ServeSettings, limits: EngineLimits) -> None:
    """
    Raises:
        EngineError: The engine cannot run our images.
        BundleError: Its machine cannot run the bundle.
        DeploymentError: More is asked for than the machine has.
    """
    if limits.system != "linux":
        raise EngineError(
            f"The Docker engine runs {limits.system} containers.",
            "Switch it to Linux containers: TensorFlow 1.15 has no other.",
        )
    bundle_rows.check_machine(bundle_rows.row(wanted.bundle), limits.machine, processor.cpu_flags())
    if wanted.limits.cpus > limits.cpus:
        raise DeploymentError(
            f"{wanted.limits.cpus:g} CPUs are more than the engine's {limits.cpus}.",
            f"Ask for at most --cpus {limits.cpus}.",
        )
    if wanted.limits.memory_mib > limits.memory_mib:
        raise DeploymentError(
            f"{wanted.limits.memory_mib} MiB are more than the engine's {limits.memory_mib} MiB of memory.",
            f"Ask for at most --memory {limits.memory_mib}.",
        )


def check_name_free(name: str, engine: Engine, store: Store) -> None:
    """Takes away what a serve of that name left when it was killed.

    Raises:
        DeploymentError: A deployment, or a container of somebody else's, has the name.
    """
    if store.find(name) is not None:
        raise DeploymentError(
            f"The name {name} is taken: stopgap serves a model under it already.",
            f"Stop that one first (stopgap stop {name}), or choose another --name.",
        )
    container = sandbox_container(name)
    observed = engine.observe(container)
    if observed is None:
        return
    if observed.labels.get("stopgap.state") != str(store.folder):
        raise DeploymentError(
            f"The name {name} is taken: there is a container {container} that this state folder does not know.",
            f"Choose another --name, or remove it: docker rm -f {container}",
        )
    engine.remove(container)


def deployed(
    wanted: ServeSettings, model: Model, op_libraries: tuple[Path, ...], ready: Ready, engine: Engine
) -> Deployment:
    return Deployment(
        name=wanted.name,
        model=model.folder,
        version=model.version,
        bundle=wanted.bundle,
        tags=wanted.tags,
        op_libraries=op_libraries,
        until=wanted.until,
        workers=ready.workers,
        changes_state=ready.changes_state,
        limits=wanted.limits,
        timeouts=wanted.timeouts,
        front=wanted.address,
        max_message_mib=wanted.max_message_mib,
        engine=engine.name,
        isolation=engine.isolation,
        created=datetime.now(timezone.utc),
    )


def forget_sandbox(wanted: ServeSettings, fronts: Fronts) -> None:
    """Takes away the sockets' folder, and the front that was only made for it."""
    port = wanted.address.grpc_port
    with fronts.store.locked_front(port):
        fronts.store.remove_sandbox_folder(port, wanted.name)
        fronts.close_if_empty(port)


def remove_ours(container: str, engine: Engine, store: Store) -> None:
    """Where starting failed because the name is a stranger's, the stranger's container stays."""
    observed = engine.observe(container)
    if observed is not None and observed.labels.get("stopgap.state") == str(store.folder):
        engine.remove(container)


def wait_until_answering(deployment: Deployment, spec: SandboxSpec, engine: Engine) -> None:
    """Until the model answers through the front, as every client will ask it.

    Raises:
        SandboxError: It died instead, or did not answer in time.
    """
    deadline = time.monotonic() + ANSWER_TIMEOUT_S
    while not model_answers(deployment.address, deployment.name, LOOK_TIMEOUT_S):
        observed = engine.observe(spec.container)
        if observed is None or observed.ended:
            raise death(engine, spec, observed)
        if time.monotonic() > deadline:
            raise SandboxError(
                f"The model was loaded, but did not answer at {deployment.address} within {ANSWER_TIMEOUT_S:.0f} s.",
                "",
                last_lines(engine, spec),
            )
        time.sleep(LOOK_EVERY_S)


def stop(name: str, engine: Engine, store: Store, say: Say) -> None:
    """Takes the route away first, then lets the sandbox finish what it has begun; says what had vanished already.

    Raises:
        DeploymentError: There is no such deployment, and no sandbox of an unfinished one.
    """
    with store.locked_deployment(name):
        if store.find(name) is None and name in unfinished(engine, store):
            clear(name, engine, store)
            return
        deployment = store.deployment(name)
        address = deployment.front
        fronts = Fronts(engine, store)
        with store.locked_front(address.grpc_port):
            store.put(deployment.leaving())
            if not fronts.leave(address):
                say(f"the front at {address} had vanished already")
        container = sandbox_container(name)
        engine.stop(container, deployment.timeouts.drain_s + STOP_GRACE_S)
        if not engine.remove(container):
            say(f"the sandbox of {name} had vanished already")
        with store.locked_front(address.grpc_port):
            store.remove_sandbox_folder(address.grpc_port, name)
            store.remove(name)
            fronts.close_if_empty(address.grpc_port)


def unfinished(engine: Engine, store: Store) -> tuple[str, ...]:
    """The names of sandboxes without a deployment: their serve was killed, or is not done.

    The labels are the truth; where the kill came before the container, its folder is there alone.
    """
    labelled = engine.labelled({"stopgap.role": "sandbox", "stopgap.state": str(store.folder)})
    found = store.sandbox_names() | {labels.get("stopgap.name", "") for labels in labelled}
    return tuple(sorted(found.difference(store.names())))


def clear(name: str, engine: Engine, store: Store) -> None:
    """Takes away what a killed serve left: its sandbox, its sockets' folder, and the front that nobody is behind."""
    fronts = Fronts(engine, store)
    engine.remove(sandbox_container(name))
    for port in store.ports_of(name):
        with store.locked_front(port):
            store.remove_sandbox_folder(port, name)
            others = store.behind(Address(grpc_port=port))
            if others:
                fronts.leave(others[0].front)
            fronts.close_if_empty(port)


class Condition(Enum):
    """How a deployment is, in one word."""

    SERVING = "serving"
    LOADING = "loading"
    RESTARTING = "restarting"
    STOPPING = "stopping"
    DOWN = "down"
    UNFINISHED = "unfinished"  # a sandbox without a deployment
    DAMAGED = "damaged"  # a state file that cannot be read


@dataclass(frozen=True)
class Health:
    """A deployment as it was found.

    Attributes:
        memory_mib: In use by its sandbox; None while it does not run.
    """

    deployment: Deployment
    condition: Condition
    memory_mib: float | None


def look(deployment: Deployment, engine: Engine, store: Store) -> Health:
    """Asks the engine, and the model itself through its front."""
    container = sandbox_container(deployment.name)
    observed = engine.observe(container)
    running = observed is not None and observed.state is State.RUNNING
    return Health(
        deployment,
        condition=condition(
            deployment,
            observed.state if observed else None,
            answers=running and model_answers(deployment.address, deployment.name, LOOK_TIMEOUT_S),
            reachable=running and Fronts(engine, store).is_running(deployment.front),
        ),
        memory_mib=engine.memory_mib(container) if running else None,
    )


def condition(deployment: Deployment, state: State | None, answers: bool, reachable: bool) -> Condition:
    """From what was seen to one word.

    Args:
        answers: Whether the model answers through the front.
        reachable: Whether the front runs.
    """
    if deployment.stopping:
        return Condition.STOPPING
    if answers:
        return Condition.SERVING
    if state is State.RESTARTING:
        return Condition.RESTARTING
    if state in (State.CREATED, State.RUNNING) and reachable:
        return Condition.LOADING
    return Condition.DOWN
