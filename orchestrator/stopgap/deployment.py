"""Serving a model and stopping it: each step in its order; where one fails, nothing stays behind."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

from stopgap import bundle_rows, bundles, ledgers, processor
from stopgap.answering import model_answers
from stopgap.bundles import Bundle
from stopgap.conditions import unfinished
from stopgap.containment.specs import SandboxSpec, front_container, sandbox_container
from stopgap.digests import sha256_of
from stopgap.engines.choice import Engines
from stopgap.engines.protocol import Engine, EngineLimits
from stopgap.errors import DeploymentError, EngineError, LedgerError, SandboxError
from stopgap.extension import announce
from stopgap.fingerprints import Fingerprint
from stopgap.fronts import Fronts
from stopgap.model_contents import Contents, everything_in, model_digest
from stopgap.models import check_op_library, find_model
from stopgap.person import current_person
from stopgap.progress import Progress
from stopgap.readiness import Ready, death, last_lines, wait_until_loaded
from stopgap.records import Record, Recorded, Records
from stopgap.settings import ServeSettings
from stopgap.stages import Stage
from stopgap.store import Deployment, Store
from stopgap.sunset import Sunset, agreed, utc_now
from stopgap.undo import Undo

__all__ = ["check_may_be_stopped", "serve", "stop", "take_down"]

ANSWER_TIMEOUT_S = 20.0
LOOK_EVERY_S = 0.02
STAYS_AWAY_S = 0.5
TAKE_BACK_TIMEOUT_S = 10.0
LOOK_TIMEOUT_S = 1.0
STOP_GRACE_S = 5  # the runtime ends itself when its drain is over; Docker kills it that much later

Say = Callable[[str], None]

# Where a candidate answers for another model, and how that comes to an end; of the other's name.
NEEDED_UNTIL = {
    Stage.SPLIT: "Have {0} answered by itself first: stopgap split {0} --off",
    Stage.PROMOTED: "Have {0} answered by itself first: stopgap rollback {0}",
    Stage.RETIRED: "Give up the name {0} first: stopgap stop {0}",
}


def serve(
    wanted: ServeSettings,
    engine: Engine,
    store: Store,
    say: Say,
    progress: Progress,
    *,
    contents: Contents | None = None,
) -> Deployment:
    """Returns once the model answers behind its front; whatever fails half-way leaves nothing behind.

    Args:
        contents: Of all the model's files, where that is known already: they are not read for it then.

    Raises:
        StopgapError: Of the kind of what went wrong.
    """
    machine = engine.limits()
    model = find_model(wanted.model, machine.reader)
    op_libraries = tuple(check_op_library(library, machine.reader) for library in wanted.op_libraries)
    check_engine(wanted, machine)
    isolation = engine.isolated(wanted.isolation)
    contents = contents or everything_in(model.folder, progress)
    digest = model_digest(contents)
    agreed_sunset(wanted, digest, store)  # what is refused is refused before anything is started
    fronts, records = Fronts(engine, store), Records(store.folder)
    with store.locked_deployment(wanted.name), Undo() as undo:
        check_name_free(wanted.name, engine, store)
        fronts.check(wanted.address)
        bundle = bundles.ensure(wanted.bundle, progress)
        kind = bundle_rows.row(wanted.bundle).kind
        image = engine.prepare(kind, bundle, say, progress)
        front_image = engine.prepare("front", None, say, progress)

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
            signatures=wanted.signatures,
            tensors_allowed=wanted.tensors_allowed,
            requests_kept=wanted.requests_kept,
            also_called=wanted.also_called,
            isolation=isolation,
        )
        undo.put("removing the sandbox", lambda: take_back(spec.container, engine, store))
        engine.start(spec)
        sandbox = engine.fingerprint(image, progress)  # while the model is loading
        ready = wait_until_loaded(engine, spec, progress)

        progress("joining the front", None)
        with store.locked_front(port), store.locked_sunset(digest), Undo() as undo_joining:
            before = store.sunset(digest)
            sunset = agreed_sunset(wanted, digest, store)  # again: somebody may have served the same model meanwhile
            deployment = deployed(wanted, spec, ready, engine, sunset)
            undo_joining.put("leaving the front", lambda: fronts.leave(wanted.address))
            undo_joining.put("taking back the sunset", lambda: put_back(before, digest, store))
            store.put_sunset(sunset)
            fronts.join(deployment, front_image)
            wait_until_answering(deployment, spec, engine)
            engine.keep(spec.container)
            engine.keep(front_container(port))
            undo_joining.put("forgetting what it is made of", lambda: records.remove(wanted.name))
            records.put(
                recorded(
                    deployment,
                    contents,
                    bundle,
                    sandbox,
                    engine.fingerprint(engine.made_of(front_container(port)), progress),
                )
            )
            store.put(deployment)
    if before is not None and sunset != before:
        announce(digest, Engines(store.folder), store)
    return deployment


def agreed_sunset(wanted: ServeSettings, digest: str, store: Store) -> Sunset:
    """
    Raises:
        DeploymentError: The model's date has passed, or would be moved without a reason.
    """
    return agreed(
        store.sunset(digest),
        digest=digest,
        asked=wanted.until,
        reason=wanted.reason,
        now=utc_now(),
        by=current_person(),
    )


def put_back(before: Sunset | None, digest: str, store: Store) -> None:
    if before is None:
        store.remove_sunset(digest)
    else:
        store.put_sunset(before)


def check_engine(wanted: ServeSettings, limits: EngineLimits) -> None:
    """
    Raises:
        EngineError: The engine cannot run our images.
        BundleError: Its machine cannot run the bundle.
        DeploymentError: More is asked for than the machine has.
    """
    if limits.system != "linux":
        raise EngineError(
            f"The engine runs {limits.system} containers.",
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
    if store.is_retired(name):
        raise DeploymentError(
            f"The name {name} is taken: its model was retired, and its successor answers to it.",
            f"Choose another --name. If nobody asks for {name} any more: stopgap stop {name}",
        )
    container = sandbox_container(name)
    observed = engine.observe(container)
    if observed is not None and observed.labels.get("stopgap.state") != str(store.folder):
        raise DeploymentError(
            f"The name {name} is taken: there is a container {container} that this state folder does not know.",
            f"Choose another --name, or remove it: docker rm -f {container}",
        )
    for each in Engines(store.folder).answering():  # the killed one may have run on another engine
        remove_ours(container, each, store)


def deployed(wanted: ServeSettings, spec: SandboxSpec, ready: Ready, engine: Engine, sunset: Sunset) -> Deployment:
    return Deployment(
        name=wanted.name,
        model=spec.model.folder,
        version=spec.model.version,
        bundle=wanted.bundle,
        tags=wanted.tags,
        op_libraries=spec.op_libraries,
        sunset=sunset,
        workers=ready.workers,
        changes_state=ready.changes_state,
        limits=wanted.limits,
        timeouts=wanted.timeouts,
        front=wanted.address,
        max_message_mib=wanted.max_message_mib,
        engine=engine.name,
        isolation=spec.isolation,
        limits_by=engine.limits_by,
        created=utc_now(),
        signatures=wanted.signatures,
        tensors_allowed=wanted.tensors_allowed,
        requests_kept=wanted.requests_kept,
        also_called=wanted.also_called,
        shared=wanted.shared,
    )


def recorded(
    deployment: Deployment, contents: Contents, bundle: Bundle, sandbox: Fingerprint, front: Fingerprint
) -> Record:
    return Record(
        name=deployment.name,
        recorded=deployment.created,
        model=Recorded(str(deployment.model), dict(contents)),
        op_libraries={str(library): sha256_of(library) for library in deployment.op_libraries},
        bundle=Recorded(str(bundle.path), bundles.promised(bundle)),
        sandbox=sandbox,
        front=front,
    )


def forget_sandbox(wanted: ServeSettings, fronts: Fronts) -> None:
    """Takes away the sockets' folder, and the front that was only made for it."""
    port = wanted.address.grpc_port
    with fronts.store.locked_front(port):
        fronts.store.remove_sandbox_folder(port, wanted.name)
        fronts.close_if_empty(port)


def remove_ours(container: str, engine: Engine, store: Store) -> bool:
    """Whether it was there; where starting failed because the name is a stranger's, the stranger's container stays.

    The engine is asked also where it knows of none: a start that was killed may have left it some scraps of one.
    """
    observed = engine.observe(container)
    if observed is not None and observed.labels.get("stopgap.state") != str(store.folder):
        return False
    return engine.remove(container)


def take_back(container: str, engine: Engine, store: Store) -> None:
    """Removes ours until it stays away: of what was interrupted, an engine may do the rest after the removal."""
    ends_at = time.monotonic() + TAKE_BACK_TIMEOUT_S
    away_since = time.monotonic()
    while time.monotonic() < min(away_since + STAYS_AWAY_S, ends_at):
        if remove_ours(container, engine, store):
            away_since = time.monotonic()
        time.sleep(LOOK_EVERY_S)


def wait_until_answering(deployment: Deployment, spec: SandboxSpec, engine: Engine) -> None:
    """Until the model answers through the front, as every client will ask it.

    Raises:
        SandboxError: It died instead, or did not answer in time.
    """
    deadline = time.monotonic() + ANSWER_TIMEOUT_S
    while not model_answers(deployment.address, deployment.name, LOOK_TIMEOUT_S, deployment.version):
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


def stop(name: str, engines: Engines, store: Store, say: Say, *, promoted_too: bool = True) -> None:
    """Takes the route away first, then lets the sandbox finish what it has begun; says what had vanished already.

    Args:
        promoted_too: Also where it has to do with a hand-over, so that callers are answered by nobody, or by another.

    Raises:
        DeploymentError: There is no such deployment, and no sandbox of an unfinished one; or callers would notice.
    """
    with store.locked_deployment(name):
        if store.find(name) is None and store.is_retired(name):
            forget_retired(name, engines, store)
            return
        if store.find(name) is None and name in unfinished(engines, store):
            clear(name, engines, store)
            return
        if not promoted_too:
            check_may_be_stopped(name, store)
        take_down(store.deployment(name), engines, store, say)


def check_may_be_stopped(name: str, store: Store) -> None:
    """
    Raises:
        DeploymentError: Its name is a successor's by now, and would go too; or it answers to another model's name.
    """
    record = store.hand_over(name)
    if record and record.stage is Stage.PROMOTED and store.find(name) is not None:
        raise DeploymentError(
            f"{name} is answered by its successor: with its sandbox the name would go too.",
            f"End the sandbox, and keep the name: stopgap retire {name}. Or go back first: stopgap rollback {name}",
        )
    for record in store.hand_overs():
        if record.candidate and record.candidate.name == name and record.stage in NEEDED_UNTIL:
            raise DeploymentError(
                f"{name} answers {'some' if record.stage is Stage.SPLIT else 'all'} callers of {record.name}.",
                f"{NEEDED_UNTIL[record.stage].format(record.name)}. Or take everything away: stopgap stop --all",
            )


def take_down(deployment: Deployment, engines: Engines, store: Store, say: Say) -> None:
    """`stop` with the name's lock held. With its sandbox a legacy model's hand-over ends, unless it is retired."""
    name = deployment.name
    engine = engines.named(deployment.engine)
    address = deployment.front
    fronts = Fronts(engine, store)
    with store.locked_front(address.grpc_port):
        store.put(deployment.leaving())  # before its hand-over goes: killed between the two, its name stays who has it
        if not store.is_retired(name):
            store.remove_hand_over(name)
        if not fronts.leave(address):
            say(f"the front at {address} had vanished already")
        with contextlib.suppress(LedgerError, DeploymentError):  # what others' split needs is the next command's matter
            ledgers.follow(address.grpc_port, store)
    container = sandbox_container(name)
    engine.stop(container, deployment.timeouts.drain_s + STOP_GRACE_S)
    if not engine.remove(container):
        say(f"the sandbox of {name} had vanished already")
    with store.locked_front(address.grpc_port):
        store.remove_sandbox_folder(address.grpc_port, name)
        Records(store.folder).remove(name)
        store.remove(name)
        fronts.close_if_empty(address.grpc_port)


def forget_retired(name: str, engines: Engines, store: Store) -> None:
    """Nobody answers to the name from now on. What was written of its retirement stays."""
    record = store.hand_over(name)
    port = record.grpc_port if record else 0
    with store.locked_front(port):
        store.remove_hand_over(name)
        for other in store.behind(port)[:1]:
            Fronts(engines.named(other.engine), store).refresh(other.front)


def clear(name: str, engines: Engines, store: Store) -> None:
    """Takes away what a killed serve left: its sandbox, its sockets' folder, and the front that nobody is behind."""
    Records(store.folder).remove(name)
    answering = engines.answering()
    for engine in answering:
        remove_ours(sandbox_container(name), engine, store)
    for port in store.ports_of(name):
        with store.locked_front(port):
            store.remove_sandbox_folder(port, name)
            others = store.behind(port)
            if others:
                Fronts(engines.named(others[0].engine), store).leave(others[0].front)
            for engine in answering:
                Fronts(engine, store).close_if_empty(port)
