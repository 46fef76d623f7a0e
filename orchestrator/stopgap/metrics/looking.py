"""What is found of every deployment when somebody asks: its state, its workers, its traffic, its split."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Optional, TypeVar

from stopgap.conditions import Health, look
from stopgap.engines.choice import Engines
from stopgap.errors import DeploymentError, FrontError, LedgerError, SandboxError
from stopgap.front.admin import Admin, ClusterHealth
from stopgap.front.arms import Arm, arms, together
from stopgap.front.routes import Kind
from stopgap.front.traffic import Traffic, traffic
from stopgap.incidents import WorkersState, ask_workers_state
from stopgap.ledger.report import Report, report_of
from stopgap.legacy_requests import note_all
from stopgap.stages import SHARES, HandOver, Stage
from stopgap.store import Deployment, Store

__all__ = ["Seen", "SplitSeen", "looked_at"]

AT_ONCE = 8

T = TypeVar("T")


@dataclass(frozen=True)
class SplitSeen:
    """What is known of a split.

    Attributes:
        share: The candidate's, from 0 to 1.
        arms: What the front has counted, by what it is told as; empty where that does not answer.
        kept: What its ledger knows; None where there is none.
    """

    share: float
    arms: Mapping[str, Arm] = field(default_factory=dict)
    kept: Optional[Report] = None  # noqa: UP045 - dataclasses are looked into at run time, by Python 3.9 too


@dataclass(frozen=True)
class Seen:
    """One deployment, as it was found.

    Attributes:
        incidents: What its sandbox says of its workers; None where it does not answer, or not in a runtime's words.
        workers: As its front sees them; None where that does not answer.
        traffic: What its front has counted, likewise.
        split: None where its callers are not split.
    """

    health: Health
    incidents: WorkersState | None
    workers: ClusterHealth | None
    traffic: Traffic | None
    split: SplitSeen | None = None

    @property
    def name(self) -> str:
        return self.health.deployment.name


def looked_at(store: Store) -> list[Seen]:
    """Side by side: a sandbox that keeps us waiting shall not keep the others from being told of."""
    note_all(store)  # every look counts: what a front had counted when it ended is gone
    with ThreadPoolExecutor(AT_ONCE, "stopgap-metrics") as pool:
        return list(pool.map(lambda each: look_at(each, store), store.deployments()))


def look_at(deployment: Deployment, store: Store) -> Seen:
    admin = Admin(store.front_folder(deployment.front.grpc_port) / "admin")
    name = deployment.name
    return Seen(
        health=look(deployment, Engines(store.folder), store),  # anew: an engine may have been started again since
        incidents=known(lambda: ask_workers_state(deployment, store)),
        workers=known(lambda: admin.cluster_health(name)),
        traffic=known(lambda: traffic(admin, [name])[name]),
        split=split_of(name, admin, store),
    )


def split_of(name: str, admin: Admin, store: Store) -> SplitSeen | None:
    record = known(lambda: store.hand_over(name))
    if record is None or record.stage is not Stage.SPLIT or record.candidate is None:
        return None
    counted = known(lambda: arms_of(record, admin)) or {}
    return SplitSeen(record.share / SHARES, counted, known(lambda: report_of(record, store)))


def arms_of(record: HandOver, admin: Admin) -> dict[str, Arm]:
    candidate = record.candidate.name if record.candidate else ""
    found = arms(admin, f"{record.name}/{record.salt}", [record.name, candidate])
    kinds = {"candidate": (candidate, Kind.KEYED), "legacy": (record.name, Kind.KEYED)}
    apart = {"keyless": (record.name, Kind.KEYLESS), "pinned": (record.name, Kind.PINNED)}
    return {told: together(found, model, kind) for told, (model, kind) in {**kinds, **apart}.items()}


def known(ask: Callable[[], T]) -> T | None:
    try:
        return ask()
    except (DeploymentError, FrontError, LedgerError, SandboxError):
        return None
