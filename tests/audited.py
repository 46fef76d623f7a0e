"""A sandbox without a front, and what an audit finds of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path

from stopgap import bundles
from stopgap.audit.examination import audit
from stopgap.audit.lines import Line, broken
from stopgap.audit.twin import Workplace
from stopgap.containment.specs import SandboxSpec
from stopgap.engines.protocol import Engine
from stopgap.models import find_model
from stopgap.progress import silent
from stopgap.readiness import wait_until_loaded
from stopgap.settings import Address, Limits, Timeouts
from stopgap.store import Deployment, Store
from stopgap.sunset import Sunset, default_sunset, utc_today

from tests.zoo import ZOO

__all__ = ["Audited", "audited"]

NAME = "audited"
LIMITS = Limits(memory_mib=400, cpus=1)
BUNDLE = "tf-1.15.5"
ADDRESS = Address("127.0.0.1", 18500, 18501)  # nobody listens there


@dataclass(frozen=True)
class Audited:
    """It runs, and has loaded its model."""

    deployment: Deployment
    where: Workplace

    def lines(self, *, with_twin: bool = False) -> tuple[Line, ...]:
        return audit(self.deployment, self.where, with_twin=with_twin).lines

    def broken(self, *, with_twin: bool = False) -> set[str]:
        return {*broken(self.lines(with_twin=with_twin))}


@contextmanager
def audited(engine: Engine, state: Path, *, isolation: str = "", kept: bool = True) -> Iterator[Audited]:
    """Whatever happens, it is gone afterwards. Behind another wall it has another name: tests may run side by side."""
    store = Store(state)
    name = f"{NAME}-in-{isolation}" if isolation else NAME
    model = find_model(ZOO / "stn_affine_resampler", engine.limits().reader)
    image = engine.prepare("legacy", bundles.ensure(BUNDLE), lambda _: None, silent)
    sockets = store.make_sandbox_folder(ADDRESS.grpc_port, name)
    spec = SandboxSpec(name, image, state, model, sockets, LIMITS, Timeouts(), ("serve",), (), max_message_mib=16)
    spec = replace(spec, isolation=engine.isolated(isolation))
    try:
        engine.start(spec)
        ready = wait_until_loaded(engine, spec, silent)
        if kept:
            engine.keep(spec.container)
        deployment = Deployment(
            name=name,
            model=model.folder,
            version=model.version,
            bundle=BUNDLE,
            tags=spec.tags,
            op_libraries=(),
            sunset=Sunset("0" * 64, datetime.now(timezone.utc), default_sunset(utc_today())),
            workers=ready.workers,
            changes_state=ready.changes_state,
            limits=spec.limits,
            timeouts=spec.timeouts,
            front=ADDRESS,
            max_message_mib=spec.max_message_mib,
            engine=engine.name,
            isolation=spec.isolation,
            limits_by=engine.limits_by,
            created=datetime.now(timezone.utc),
        )
        yield Audited(deployment, Workplace(engine, store, lambda _: None, silent))
    finally:
        engine.remove(spec.container)
