"""A twin: a second sandbox of the same make, by which nobody is served, to use up in it what has a limit.

It is taken away whatever happens. Where this process is killed meanwhile, what is left of it is a sandbox without a
deployment: `stopgap status` shows it, `stopgap stop` and the next audit take it away.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from stopgap import bundle_rows, bundles
from stopgap.audit.effects import EXHAUSTION, LeftOut
from stopgap.audit.lines import Wall
from stopgap.containment.specs import SandboxSpec
from stopgap.deployment import check_name_free, take_back
from stopgap.engines.protocol import Engine
from stopgap.models import Model
from stopgap.progress import Progress
from stopgap.readiness import wait_until_loaded
from stopgap.store import Deployment, Store

__all__ = ["Plan", "Workplace", "name_of", "plan", "twin_of"]

LONGEST_NAME = 40
MEMORY_INFO = Path("/proc/meminfo")
ROOM_MIB = 256
NO_ROOM = LeftOut("this machine has too little memory free to use up that much", here=True)
SHARED = LeftOut("all sandboxes share it, so that others would suffer", here=False)


@dataclass(frozen=True)
class Workplace:
    """Where an audit takes place, and to whom it says how far it is."""

    engine: Engine
    store: Store
    say: Callable[[str], None]
    progress: Progress


@dataclass(frozen=True)
class Plan:
    """What is tried in a twin, by the names of `EXHAUSTION`, and what of the rest of what is promised keeps it back."""

    tried: tuple[str, ...]
    left_out: Mapping[str, LeftOut]


def plan(deployment: Deployment, wall: Wall) -> Plan:
    """What nobody promises could harm the machine, and is not tried."""
    left_out = {}
    if wall == Wall("root", "rlimits"):
        left_out["many_tasks"] = SHARED
    if free_mib() < deployment.limits.memory_mib * 5 // 4 + ROOM_MIB:
        left_out["memory"] = NO_ROOM
    promised = [effect.name for effect in EXHAUSTION if wall.promises(effect.promise)]
    return Plan(tuple(name for name in promised if name not in left_out), left_out)


def free_mib() -> int:
    found = re.search(r"^MemAvailable:\s*([0-9]+) kB$", MEMORY_INFO.read_text(encoding="ascii"), re.MULTILINE)
    return int(found[1]) >> 10 if found else 0


def name_of(deployment: Deployment) -> str:
    return f"audit-{deployment.name}"[:LONGEST_NAME]


@contextlib.contextmanager
def twin_of(deployment: Deployment, exhaust: Sequence[str], where: Workplace) -> Iterator[SandboxSpec]:
    """A twin that has loaded the model, until the end of the block.

    Raises:
        StopgapError: It could not be started, or another audit of the same deployment is at work.
    """
    engine, store, progress = where.engine, where.store, where.progress
    name, port = name_of(deployment), deployment.front.grpc_port
    kind = bundle_rows.row(deployment.bundle).kind
    with store.locked_deployment(name), contextlib.ExitStack() as afterwards:
        check_name_free(name, engine, store)
        image = engine.prepare(kind, bundles.ensure(deployment.bundle, progress), where.say, progress)
        with store.locked_front(port):
            sockets = store.make_sandbox_folder(port, name)
        afterwards.callback(store.remove_sandbox_folder, port, name)
        spec = replace(spec_of(deployment, image, sockets, store.folder), name=name, exhaust=tuple(exhaust))
        afterwards.callback(take_back, spec.container, engine, store)
        progress("starting a twin", None)
        engine.start(spec)
        wait_until_loaded(engine, spec, progress)
        yield spec


def spec_of(deployment: Deployment, image: str, sockets: Path, state: Path) -> SandboxSpec:
    """As the deployment's own was."""
    return SandboxSpec(
        name=deployment.name,
        image=image,
        state=state,
        model=Model(deployment.model, deployment.version),
        sockets=sockets,
        limits=deployment.limits,
        timeouts=deployment.timeouts,
        tags=deployment.tags,
        op_libraries=deployment.op_libraries,
        max_message_mib=deployment.max_message_mib,
        signatures=deployment.signatures,
        tensors_allowed=deployment.tensors_allowed,
        requests_kept=deployment.requests_kept,
        also_called=deployment.also_called,
        isolation=deployment.isolation,
    )
