"""How deployments are: asked of their engines, and of the models themselves through their fronts. Changes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from stopgap.answering import model_answers
from stopgap.containment.specs import front_container, sandbox_container
from stopgap.engines.choice import Engines
from stopgap.engines.protocol import Observed, State
from stopgap.errors import EngineError, SandboxError
from stopgap.incidents import ask_workers_state
from stopgap.store import Deployment, Store

__all__ = ["Condition", "Health", "condition", "look", "unfinished"]

LOOK_TIMEOUT_S = 1.0


class Condition(Enum):
    """How a deployment is, in one word."""

    SERVING = "serving"
    LOADING = "loading"
    BACKING_OFF = "backing off"  # too many of its workers have died, and it is not run for a while
    RESTARTING = "restarting"
    STOPPING = "stopping"
    LOST = "lost"  # what kept it has died; the next command brings it back
    DOWN = "down"
    UNKNOWN = "unknown"  # its engine does not answer
    UNFINISHED = "unfinished"  # a sandbox without a deployment
    RETIRED = "retired"  # a name without a deployment, which a successor answers to
    DAMAGED = "damaged"  # a state file that cannot be read


@dataclass(frozen=True)
class Health:
    """A deployment as it was found.

    Attributes:
        memory_mib: In use by its sandbox; None while it does not run.
        limits_by: What holds its limits now: after a restart by somebody with other rights, something else than before.
        detail: What a person should know beyond the one word; often empty.
        backing_off_s: For how much longer the model is not run; 0 unless it backs off.
    """

    deployment: Deployment
    condition: Condition
    memory_mib: float | None
    limits_by: str
    detail: str = ""
    backing_off_s: float = 0.0


def look(deployment: Deployment, engines: Engines, store: Store) -> Health:
    """Asks the engine, the model itself through its front, and of one that does not answer its sandbox."""
    container = sandbox_container(deployment.name)
    try:
        engine = engines.named(deployment.engine)
        sandbox = engine.observe(container)
        front = engine.observe(front_container(deployment.front.grpc_port))
        running = sandbox is not None and sandbox.state is State.RUNNING
        memory_mib = engine.memory_mib(container) if running else None
    except EngineError as error:
        return Health(deployment, Condition.UNKNOWN, None, deployment.limits_by, error.problem)
    answers = running and model_answers(deployment.address, deployment.name, LOOK_TIMEOUT_S, deployment.version)
    pause_s = backing_off_s(deployment, store) if running and not answers else 0.0
    details = [seen.detail for seen in (sandbox, front) if seen and seen.detail]
    details += [f"for {pause_s:.0f} s more, since too many of its workers have died"] if pause_s else []
    return Health(
        deployment,
        condition(deployment, sandbox, front, answers=answers, backs_off=pause_s > 0),
        memory_mib,
        limits_by=(sandbox.limits_by if sandbox else "") or deployment.limits_by,
        detail="; ".join(dict.fromkeys(details)),
        backing_off_s=pause_s,
    )


def backing_off_s(deployment: Deployment, store: Store) -> float:
    """As its sandbox says; 0 where that says nothing."""
    try:
        return ask_workers_state(deployment, store).backing_off_s
    except SandboxError:
        return 0.0


def condition(
    deployment: Deployment,
    sandbox: Observed | None,
    front: Observed | None,
    *,
    answers: bool,
    backs_off: bool = False,
) -> Condition:
    """From what was seen to one word.

    Args:
        answers: Whether the model answers through the front.
        backs_off: Whether its sandbox says that it is not run for a while.
    """
    if deployment.stopping:
        return Condition.STOPPING
    if answers:
        return Condition.SERVING
    states = {seen.state if seen else None for seen in (sandbox, front)}
    if states & {None, State.EXITED, State.HALTED}:
        return Condition.DOWN
    if State.LOST in states:
        return Condition.LOST
    if State.RESTARTING in states:
        return Condition.RESTARTING
    return Condition.BACKING_OFF if backs_off else Condition.LOADING


def unfinished(engines: Engines, store: Store) -> tuple[str, ...]:
    """The names of sandboxes without a deployment: their serve was killed, or is not done.

    The labels are the truth; where the kill came before the container, its folder is there alone.
    """
    wanted = {"stopgap.role": "sandbox", "stopgap.state": str(store.folder)}
    labelled = (labels for engine in engines.answering() for labels in engine.labelled(wanted))
    found = store.sandbox_names() | {labels.get("stopgap.name", "") for labels in labelled}
    return tuple(sorted(found.difference(store.names())))
