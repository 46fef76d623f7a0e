"""Bringing back what has ended without having been told to: what keeps a container may die, and a machine may stop."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date

from stopgap.answering import model_answers
from stopgap.containment.specs import front_container, sandbox_container
from stopgap.engines.choice import Engines
from stopgap.engines.protocol import Engine, State
from stopgap.errors import DeploymentError, EngineError, FrontError, SandboxError
from stopgap.fronts import Fronts, close_abandoned
from stopgap.ledgers import recover_ledgers
from stopgap.observing import KINDS
from stopgap.progress import Progress
from stopgap.recording import recover_recordings
from stopgap.shadowing import recover_shadows
from stopgap.store import Deployment, Store
from stopgap.sunset import days_left, utc_today, way_out

__all__ = ["bring_up_to_date", "recover", "resume", "revive"]

Say = Callable[[str], None]

LOG_TAIL = 20
LOOK_TIMEOUT_S = 1.0
LOOK_EVERY_S = 0.05
ANSWER_GRACE_S = 20.0  # on top of the model's own load timeout

BROUGHT_BACK_BY_ANY_COMMAND = frozenset({State.LOST})
BROUGHT_BACK_WHEN_ASKED = frozenset({State.LOST, State.HALTED, State.EXITED})


def recover(engines: Engines, store: Store, say: Say) -> None:
    """Starts again what has lost what kept it, observers and ledgers too, and ends the fronts that nobody is behind.

    Whatever another stopgap is at work on is left to that one. A container of an engine that keeps its own is never
    lost, and one that ended with the machine waits for `resume`.
    """
    for deployment in store.deployments():
        with contextlib.suppress(EngineError, DeploymentError):
            for container in bring_back(deployment, engines, store, BROUGHT_BACK_BY_ANY_COMMAND):
                say(f"{container} had lost what keeps it, and is being started again")
    recover_shadows(engines, store, say)
    recover_recordings(engines, store, say)
    recover_ledgers(store, say)
    with contextlib.suppress(EngineError, DeploymentError):
        close_abandoned(engines, store)
    bring_up_to_date(engines, store, say)


def bring_up_to_date(engines: Engines, store: Store, say: Say) -> None:
    """Tells each front that has a hand-over or an observer what the store says, where a command was killed before."""
    for port in sorted(ports_told(store)):
        for deployment in store.behind(port)[:1]:
            with contextlib.suppress(EngineError, DeploymentError, FrontError):
                fronts = Fronts(engines.named(deployment.engine), store)
                if fronts.is_told(deployment.front):
                    continue
                with store.locked_front(port):
                    fronts.refresh(deployment.front)
                say(f"the front at {deployment.front} had not been told of a command's last step, and now is")


def ports_told(store: Store) -> set[int]:
    """Of the fronts that have been told more than who is served: of a hand-over, or by what word an observer asks."""
    asked = {name for kind in KINDS for wanted in kind.all(store) for name in wanted.asks}
    observed = {each.front.grpc_port for each in store.deployments() if each.name in asked}
    return observed.union(record.grpc_port for record in store.hand_overs())


def revive(deployment: Deployment, engines: Engines, store: Store, progress: Progress) -> None:
    """`recover` for one deployment that is about to be asked, waiting until it answers; quick where it does.

    Raises:
        SandboxError: It was started again and does not answer.
    """
    if model_answers(deployment.address, deployment.name, LOOK_TIMEOUT_S, deployment.version):
        return
    if bring_back(deployment, engines, store, BROUGHT_BACK_BY_ANY_COMMAND):
        wait_until_answering(deployment, engines.named(deployment.engine), progress)


def resume(name: str, engines: Engines, store: Store, progress: Progress) -> bool:
    """Starts again what of a deployment does not run, and waits until the model answers; False where it did anyway.

    Raises:
        DeploymentError: There is no such deployment, another stopgap is at work on it, or a part of it is gone; or
            somebody has stopped it, and its sunset has passed.
        SandboxError: It was started and does not answer; carries its last log lines.
    """
    deployment = store.deployment(name)
    engine = engines.named(deployment.engine)
    for container in containers_of(deployment):
        if engine.observe(container.name) is None:
            raise DeploymentError(
                f"{container.name} is gone: there is nothing to start again.",
                f"Take away what is left, then serve it again: stopgap stop {name}",
            )
    check_may_go_on(deployment, engine, utc_today())
    started = bring_back(deployment, engines, store, BROUGHT_BACK_WHEN_ASKED)
    if not started and model_answers(deployment.address, name, LOOK_TIMEOUT_S, deployment.version):
        return False
    wait_until_answering(deployment, engine, progress)
    return True


def check_may_go_on(deployment: Deployment, engine: Engine, today: date) -> None:
    """What a machine or a dead monitor has ended goes on whatever the day; what somebody has stopped is new.

    Raises:
        DeploymentError: It was stopped, and its sunset has passed.
    """
    stopped = is_in(sandbox_container(deployment.name), engine, frozenset({State.EXITED}))
    if stopped and days_left(deployment.until, today) < 0:
        raise DeploymentError(
            f"{deployment.name} was stopped, and should have been gone since {deployment.until}.",
            way_out(deployment.name),
        )


@dataclass(frozen=True)
class Kept:
    """One of a deployment's two containers, and the lock under which it may be started."""

    name: str
    lock: Callable[[Store], contextlib.AbstractContextManager[None]]


def containers_of(deployment: Deployment) -> tuple[Kept, Kept]:
    """The front first: what it routes to may come later, and callers wait."""
    port = deployment.front.grpc_port
    return (
        Kept(front_container(port), lambda store: store.locked_front(port)),
        Kept(sandbox_container(deployment.name), lambda store: store.locked_deployment(deployment.name)),
    )


def bring_back(deployment: Deployment, engines: Engines, store: Store, states: frozenset[State]) -> list[str]:
    """Starts those of a deployment's containers that are in one of these states; gives their names."""
    engine = engines.named(deployment.engine)
    started = []
    for container in containers_of(deployment):
        if not is_in(container.name, engine, states):
            continue
        with container.lock(store):
            still_wanted = store.find(deployment.name) is not None  # it may have been stopped meanwhile
            if still_wanted and is_in(container.name, engine, states) and engine.resume(container.name):
                started.append(container.name)
    return started


def is_in(container: str, engine: Engine, states: frozenset[State]) -> bool:
    observed = engine.observe(container)
    return observed is not None and observed.state in states


def wait_until_answering(deployment: Deployment, engine: Engine, progress: Progress) -> None:
    started = time.monotonic()
    limit_s = deployment.timeouts.load_s + ANSWER_GRACE_S
    while not model_answers(deployment.address, deployment.name, LOOK_TIMEOUT_S, deployment.version):
        elapsed_s = time.monotonic() - started
        ended = [each.name for each in containers_of(deployment) if is_in(each.name, engine, BROUGHT_BACK_WHEN_ASKED)]
        if ended or elapsed_s > limit_s:
            container = ended[0] if ended else sandbox_container(deployment.name)
            problem = "ended again" if ended else f"was started, but the model does not answer after {elapsed_s:.0f} s"
            raise SandboxError(f"{container} {problem}.", "", engine.logs(container, LOG_TAIL))
        progress(f"waiting for {deployment.name}", min(1.0, elapsed_s / limit_s))
        time.sleep(LOOK_EVERY_S)
