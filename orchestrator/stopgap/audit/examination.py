"""One audit of one deployment, from outside and from inside, and then of a twin."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta, timezone

from stopgap import bundle_rows
from stopgap.audit.bubblewrap_settings import OF_BUBBLEWRAP
from stopgap.audit.docker_settings import OF_DOCKER, OF_PODMAN
from stopgap.audit.effects import WALLS_WORD, Finding, judged, judged_exhaustion
from stopgap.audit.lines import Kind, Line, Status, Wall
from stopgap.audit.outside import Setting, View
from stopgap.audit.probe import ask_exhaustion, ask_probe
from stopgap.audit.process_settings import OF_PROCESSES
from stopgap.audit.processes import family_of
from stopgap.audit.promised import ALONE
from stopgap.audit.twin import Workplace, plan, twin_of
from stopgap.audit.watching import watched
from stopgap.containment.specs import CONTROL_SOCKET, MODEL_FOLDER, SOCKETS_FOLDER, op_library_paths, sandbox_container
from stopgap.engines.cgroups import CGROUP_V1, CGROUP_V2, RLIMITS
from stopgap.engines.choice import BUBBLEWRAP
from stopgap.engines.protocol import Engine, Inspected, State
from stopgap.engines.systemd_scope import SCOPE
from stopgap.incidents import WorkersState, ask_workers_state
from stopgap.isolations import GVISOR
from stopgap.store import Deployment

__all__ = ["Audit", "audit", "settings_of", "wall_of"]

OF_ENGINE = {BUBBLEWRAP: OF_BUBBLEWRAP, "docker": OF_DOCKER, "podman": OF_PODMAN}
COLUMNS = {CGROUP_V1: "groups", CGROUP_V2: "groups", SCOPE: "scope", RLIMITS: "rlimits"}
MEMORY = "memory"
END_TIMEOUT_S = 5.0
LOOK_EVERY_S = 0.05
RECENTLY = timedelta(minutes=1)
ONLY_THE_KEPT = frozenset({"restart"})  # a twin is not brought back


@dataclass(frozen=True)
class Audit:
    """What was found.

    Attributes:
        released: When the version of TensorFlow that runs was released.
    """

    deployment: Deployment
    lines: tuple[Line, ...]
    tensorflow: str
    released: date


def audit(deployment: Deployment, where: Workplace, *, with_twin: bool = True) -> Audit:
    """Looks at a deployment that runs, and disturbs nobody who is served by it.

    Raises:
        StopgapError: It does not run, or does not let itself be audited; or its twin could not be started.
    """
    container = sandbox_container(deployment.name)
    sockets = where.store.sandbox_folder(deployment.front.grpc_port, deployment.name)
    inspected = where.engine.inspect(container)
    wall = wall_of(deployment, inspected)
    where.progress("looking from outside", None)
    lines = looked_at(deployment, where, wall)
    where.progress("trying from inside", None)
    lines += judged(ask_probe(sockets / CONTROL_SOCKET, deployment.name), wall)
    if with_twin:
        lines += exhausted(deployment, where, wall, lines)
    row = bundle_rows.row(deployment.bundle)
    return Audit(deployment, tuple(lines), row.tensorflow, row.released)


def wall_of(deployment: Deployment, inspected: Inspected) -> Wall:
    """Which columns of the table of promises are this deployment's."""
    if deployment.isolation == GVISOR:
        return Wall("gvisor", "gvisor")
    if deployment.engine != BUBBLEWRAP:
        return Wall(deployment.engine, deployment.engine)
    return Wall("root" if os.geteuid() == 0 else "user", COLUMNS[inspected.told.get("limits_by", RLIMITS)])


def settings_of(engine: str) -> tuple[Setting, ...]:
    """The rows that are looked at from outside."""
    return *OF_ENGINE[engine], *OF_PROCESSES


def looked_at(deployment: Deployment, where: Workplace, wall: Wall) -> list[Line]:
    return watched(lambda: view_of(deployment, where), settings_of(deployment.engine), OF_PROCESSES, wall)


def view_of(deployment: Deployment, where: Workplace) -> View:
    """As it is now."""
    inspected = where.engine.inspect(sandbox_container(deployment.name))
    hidden = is_hidden(deployment, inspected)
    family = None
    if inspected.pid and not hidden:
        family = family_of(inspected.pid, begins_with_runtime=deployment.engine != BUBBLEWRAP)
    sockets = where.store.sandbox_folder(deployment.front.grpc_port, deployment.name)
    mounts = {
        MODEL_FOLDER: (str(deployment.model), False),
        SOCKETS_FOLDER: (str(sockets), True),
        **{inside: (str(library), False) for library, inside in op_library_paths(deployment.op_libraries)},
    }
    return View(inspected.told, family, deployment.limits, mounts, hidden)


def is_hidden(deployment: Deployment, inspected: Inspected) -> bool:
    """Of gVisor's sandboxes this machine sees gVisor's own processes alone, of an engine's in another machine none."""
    elsewhere = inspected.pid is None and bool((inspected.told.get("State") or {}).get("Pid"))
    return elsewhere or deployment.isolation == GVISOR


def exhausted(deployment: Deployment, where: Workplace, wall: Wall, live: list[Line]) -> Iterator[Line]:
    planned = plan(deployment, wall)
    before = ask_workers_state(deployment, where.store)
    with twin_of(deployment, planned.tried, where) as twin:
        yield compared(live, looked_at(replace(deployment, name=twin.name), where, wall))
        where.progress("using up a twin", None)
        findings = ask_exhaustion(twin.sockets / CONTROL_SOCKET, deployment.name)
        if not any(each.attempt == MEMORY for each in findings) and has_ended(twin.container, where.engine):
            findings = (*findings, Finding(MEMORY, False, True, "the sandbox was ended as a whole"))
    yield from judged_exhaustion(findings, planned.left_out, wall)
    yield neighbour(before, ask_workers_state(deployment, where.store), wall)


def neighbour(before: WorkersState, after: WorkersState, wall: Wall) -> Line:
    """Whether the live one suffered. Where its workers have been dying anyway, one more death says nothing."""
    unharmed = after.counts == before.counts and after.workers >= before.workers
    status, by, said = Status.BROKEN, "", "a worker of the live one died"
    if unharmed:
        status, by, said = Status.HELD, WALLS_WORD, "no worker of the live one died"
    elif not wall.promises(ALONE):
        status = Status.NOT_PROMISED
    elif any(each.at > datetime.now(timezone.utc) - RECENTLY for each in before.incidents):
        status, said = Status.UNKNOWN, "workers of the live one died before as well"
    return Line(Kind.EFFECT, "neighbour", "make others suffer when all is used up", ALONE, status, by, said)


def has_ended(container: str, engine: Engine) -> bool:
    """Whether all of it was ended, as gVisor's sandboxes are where memory runs out; it may have been brought back."""
    deadline = time.monotonic() + END_TIMEOUT_S
    while time.monotonic() < deadline:
        observed = engine.observe(container)
        if observed is None or observed.ended or observed.restarts or observed.state is State.RESTARTING:
            return True
        time.sleep(LOOK_EVERY_S)
    return False


def compared(live: list[Line], twin: list[Line]) -> Line:
    """One line for all settings: whether what holds for the twin holds for the live one.

    What of the live one is unknown has a line of its own; of a twin, which nothing disturbs, it says that something is
    amiss.
    """
    lives = {line.name: line.seen for line in live if line.kind is Kind.SETTING and line.status is not Status.UNKNOWN}
    both = [line for line in twin if line.name in lives.keys() - ONLY_THE_KEPT]
    unseen = [line.name for line in both if line.status is Status.UNKNOWN]
    differing = [line.name for line in both if line.name not in unseen and lives[line.name] != line.seen]
    status, said = Status.HELD, "the same"
    if differing:
        status, said = Status.BROKEN, f"others: {', '.join(differing)}"
    elif unseen:
        status, said = Status.UNKNOWN, f"not seen of the twin: {', '.join(unseen)}"
    return Line(Kind.SETTING, "twin", "settings of a twin, beside the live one's", "", status, "", said)
