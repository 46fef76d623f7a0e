"""One audit of one deployment, from outside and from inside, and then of a twin."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from stopgap import bundle_rows
from stopgap.audit.bubblewrap_settings import OF_BUBBLEWRAP
from stopgap.audit.docker_settings import OF_DOCKER
from stopgap.audit.effects import WALLS_WORD, Finding, judged, judged_exhaustion
from stopgap.audit.lines import Kind, Line, Status, Wall
from stopgap.audit.outside import Setting, View
from stopgap.audit.outside import judged as judged_settings
from stopgap.audit.probe import ask_exhaustion, ask_probe
from stopgap.audit.process_settings import OF_PROCESSES
from stopgap.audit.processes import family_of
from stopgap.audit.promised import ALONE
from stopgap.audit.twin import Workplace, plan, twin_of
from stopgap.containment.specs import CONTROL_SOCKET, MODEL_FOLDER, SOCKETS_FOLDER, op_library_paths, sandbox_container
from stopgap.engines.cgroups import CGROUP_V1, CGROUP_V2, RLIMITS
from stopgap.engines.choice import BUBBLEWRAP
from stopgap.engines.protocol import Engine, Inspected, State
from stopgap.engines.systemd_scope import SCOPE
from stopgap.incidents import ask_workers_state
from stopgap.isolations import GVISOR
from stopgap.store import Deployment

__all__ = ["Audit", "audit", "settings_of", "wall_of"]

COLUMNS = {CGROUP_V1: "groups", CGROUP_V2: "groups", SCOPE: "scope", RLIMITS: "rlimits"}
MEMORY = "memory"
END_TIMEOUT_S = 5.0
LOOK_EVERY_S = 0.05
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
    lines = [*looked_at(deployment, inspected, sockets, wall)]
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
        return Wall("docker", "docker")
    return Wall("root" if os.geteuid() == 0 else "user", COLUMNS[inspected.told.get("limits_by", RLIMITS)])


def settings_of(engine: str) -> tuple[Setting, ...]:
    """The rows that are looked at from outside."""
    return *(OF_BUBBLEWRAP if engine == BUBBLEWRAP else OF_DOCKER), *OF_PROCESSES


def looked_at(deployment: Deployment, inspected: Inspected, sockets: Path, wall: Wall) -> Iterator[Line]:
    family = None
    if inspected.pid and deployment.isolation != GVISOR:  # whose own processes are all that this machine sees
        family = family_of(inspected.pid, begins_with_runtime=deployment.engine != BUBBLEWRAP)
    libraries = op_library_paths(deployment.op_libraries)
    mounts = {
        MODEL_FOLDER: (str(deployment.model), False),
        SOCKETS_FOLDER: (str(sockets), True),
        **{inside: (str(library), False) for library, inside in libraries},
    }
    view = View(inspected.told, family, deployment.limits, mounts)
    return judged_settings(settings_of(deployment.engine), view, wall)


def exhausted(deployment: Deployment, where: Workplace, wall: Wall, live: list[Line]) -> Iterator[Line]:
    planned = plan(deployment, wall)
    before = ask_workers_state(deployment, where.store)
    with twin_of(deployment, planned.tried, where) as twin:
        seen = looked_at(deployment, where.engine.inspect(twin.container), twin.sockets, wall)
        yield compared(live, list(seen))
        where.progress("using up a twin", None)
        findings = ask_exhaustion(twin.sockets / CONTROL_SOCKET, deployment.name)
        if not any(each.attempt == MEMORY for each in findings) and has_ended(twin.container, where.engine):
            findings = (*findings, Finding(MEMORY, False, True, "the sandbox was ended as a whole"))
    yield from judged_exhaustion(findings, planned.tried, planned.why_not, wall)
    after = ask_workers_state(deployment, where.store)
    unharmed = after.counts == before.counts and after.workers == before.workers
    yield Line(
        Kind.EFFECT,
        "neighbour",
        "make others suffer when all is used up",
        ALONE,
        Status.HELD if unharmed else Status.BROKEN if wall.promises(ALONE) else Status.NOT_PROMISED,
        WALLS_WORD if unharmed else "",
        "no worker of the live one died" if unharmed else "a worker of the live one died",
    )


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
    """One line for all settings: whether what holds for the twin holds for the live one."""
    lives = {line.name: line.seen for line in live if line.kind is Kind.SETTING}
    differing = [line.name for line in twin if line.name not in ONLY_THE_KEPT and lives[line.name] != line.seen]
    return Line(
        Kind.SETTING,
        "twin",
        "settings of a twin, beside the live one's",
        "",
        Status.BROKEN if differing else Status.HELD,
        "",
        f"others: {', '.join(differing)}" if differing else "the same",
    )
