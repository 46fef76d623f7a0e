"""All deployments as Prometheus sees them: looked at when somebody asks, and not changed by it.

There is no daemon: what this tells is what the state folder, the engines and the fronts tell in that moment.
"""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Thread
from typing import Any, Optional, TypeVar

from prometheus_client import CollectorRegistry, generate_latest, start_http_server
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from stopgap.conditions import Condition, Health, look
from stopgap.engines.choice import Engines
from stopgap.errors import DeploymentError, FrontError, LedgerError, SandboxError, StopgapError
from stopgap.front.admin import Admin, ClusterHealth
from stopgap.front.arms import Arm, arms, together
from stopgap.front.routes import Kind
from stopgap.front.traffic import Durations, Traffic, traffic
from stopgap.incidents import WorkersState, ask_workers_state
from stopgap.ledger.book import ARMS
from stopgap.ledger.report import Report, report_of
from stopgap.legacy_requests import note_all
from stopgap.observer.counting import Totals
from stopgap.observer.written import totals_of
from stopgap.observers import Kind as KindOfObserver
from stopgap.observing import KINDS
from stopgap.stages import SHARES, HandOver, Stage
from stopgap.store import Deployment, Store
from stopgap.sunset import last_moment

__all__ = ["Exporter", "exported", "exposition"]

# In the order of their numbers: https://grpc.github.io/grpc/core/md_doc_statuscodes.html
GRPC_CODES = (
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
)
# Kinds of incidents that are a death each.
DEATHS = ("died", "quarantined", "state_lost")
LARGEST = 1 << 53  # up to which a sample, a double, counts in ones
AT_ONCE = 8
MIB = 1 << 20

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


Families = Callable[[Sequence[Seen]], Iterable[Metric]]


@dataclass(frozen=True)
class Exporter:
    """A server that is up, on a thread of its own.

    Attributes:
        port: The one that it has, also where the kernel chose it.
    """

    port: int
    thread: Thread


def exposition(store: Store) -> str:
    """The metrics in Prometheus' text format, once.

    Raises:
        DeploymentError: The state folder cannot be read.
    """
    return generate_latest(registry(store)).decode()


def exported(store: Store, host: str, port: int) -> Exporter:
    """Serves the same at `http://HOST:PORT/metrics`, looked at anew for each who asks.

    Raises:
        DeploymentError: The address is not the loopback's, or it is taken.
    """
    check_loopback(host)
    try:
        server, thread = start_http_server(port, host, registry(store))
    except OSError as error:
        raise DeploymentError(
            f"{host}:{port} cannot be listened on: {error.strerror}.", "Choose another: --listen HOST:PORT"
        ) from error
    return Exporter(server.server_port, thread)


def check_loopback(host: str) -> None:
    """The pages have no password: who is elsewhere comes through something that has one."""
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise DeploymentError(
            f"{host!r} is not an address of this machine's loopback.",
            "Listen on 127.0.0.1 or ::1, behind a proxy that asks who it is; or hand --once to node_exporter.",
        )


def registry(store: Store) -> CollectorRegistry:
    """One that has nothing of this process itself."""
    found = CollectorRegistry(auto_describe=False)
    found.register(Deployments(store))
    return found


class Deployments(Collector):
    """Looks at all deployments whenever it is asked."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def collect(self) -> Iterator[Metric]:
        """Every family, also those without a sample: a rule about them then has something to look at."""
        seen = looked_at(self._store)
        for families in FAMILIES:
            yield from families(seen)
        yield from observers(self._store)
        damaged = len(self._store.damaged()) + len(self._store.damaged_sunsets())
        yield gauge("stopgap_state_files_damaged", "State files that cannot be read.", {(): damaged})

    def describe(self) -> Iterable[Metric]:
        """Nothing: so that no engine is asked before somebody asks us."""
        return ()


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


def dates(seen: Sequence[Seen]) -> Iterator[Metric]:
    yield gauge(
        "stopgap_model_sunset_timestamp_seconds",
        "When the model must be gone; what runs goes on.",
        {(each.name,): last_moment(each.health.deployment.until).timestamp() for each in seen},
    )
    yield gauge(
        "stopgap_model_first_served_timestamp_seconds",
        "When its sunset was agreed upon: since then it is deprecated.",
        {(each.name,): each.health.deployment.sunset.first_served.timestamp() for each in seen},
    )
    yield counter(
        "stopgap_model_sunset_moves",
        "How often its sunset was moved.",
        {(each.name,): len(each.health.deployment.sunset.moves) for each in seen},
    )


def states(seen: Sequence[Seen]) -> Iterator[Metric]:
    info = InfoMetricFamily("stopgap_model", "What is served.", labels=["model"])
    for each in seen:
        found = each.health.deployment
        told = {
            "version": str(found.version),
            "bundle": found.bundle,
            "engine": found.engine,
            "isolation": found.isolation,
            "grpc": found.address,
            "rest": found.front.rest,
            "digest": found.sunset.digest,
        }
        info.add_metric([each.name], told)
    yield info
    yield gauge(
        "stopgap_model_up",
        "Whether it answers through its front.",
        {(each.name,): each.health.condition is Condition.SERVING for each in seen},
    )
    yield gauge(
        "stopgap_model_state",
        "1 for the state that it is in.",
        {(each.name, state.value): each.health.condition is state for each in seen for state in STATES},
        "state",
    )
    yield gauge(
        "stopgap_model_memory_bytes",
        "What its sandbox uses now, without the page cache.",
        {(e.name,): e.health.memory_mib * MIB for e in seen if e.health.memory_mib is not None},
    )
    yield gauge(
        "stopgap_model_memory_limit_bytes",
        "What its sandbox may use.",
        {(each.name,): each.health.deployment.limits.memory_mib * MIB for each in seen},
    )


# A deployment's: the others are of what is none.
OF_NO_DEPLOYMENT = {Condition.UNFINISHED, Condition.RETIRED, Condition.DAMAGED}
STATES = tuple(state for state in Condition if state not in OF_NO_DEPLOYMENT)


def workers(seen: Sequence[Seen]) -> Iterator[Metric]:
    yield gauge(
        "stopgap_model_workers",
        "How many workers it is to have.",
        {(each.name,): each.health.deployment.workers for each in seen},
    )
    yield gauge(
        "stopgap_model_workers_healthy",
        "How many of them answer their front's health check.",
        {(each.name,): each.workers.healthy for each in seen if each.workers},
    )


def incidents(seen: Sequence[Seen]) -> Iterator[Metric]:
    """Since the sandbox was started. It may say what it likes, but only in these families, and in numbers."""
    told = [(each.name, each.incidents) for each in seen if each.incidents]
    yield counter(
        "stopgap_worker_deaths",
        "Workers that died, by what followed: nothing more, the request in quarantine, or the model's state lost.",
        {(name, kind): bounded(state.counts.get(kind, 0)) for name, state in told for kind in DEATHS},
        "kind",
    )
    yield counter(
        "stopgap_model_back_offs",
        "How often it was not run for a while, since too many of its workers had died.",
        {(name,): bounded(state.counts.get("backing_off", 0)) for name, state in told},
    )
    yield gauge(
        "stopgap_model_backing_off",
        "Whether it is not run just now for that.",
        {(name,): state.backing_off_s > 0 for name, state in told},
    )
    yield gauge(
        "stopgap_requests_quarantined",
        "How many requests are turned away, since each of them ended a worker.",
        {(name,): bounded(state.quarantined) for name, state in told},
    )


def bounded(number: int) -> int:
    """A sandbox's number may have thousands of digits."""
    return max(0, min(number, LARGEST))


def requests(seen: Sequence[Seen]) -> Iterator[Metric]:
    """As the front counts them, which begins anew with each start of it."""
    counted = [(each.name, each.traffic) for each in seen if each.traffic]
    yield counter(
        "stopgap_requests",
        "Answers by gRPC's status or HTTP's, the front's own among them.",
        {
            (name, each.protocol, each.method, code_of(each.protocol, each.code)): each.times
            for name, counts in counted
            for each in counts.answered
        },
        "protocol",
        "method",
        "code",
    )
    times = HistogramMetricFamily(
        "stopgap_request_duration_seconds", "From sending a request to a worker to its answer's end.", labels=["model"]
    )
    for name, counts in counted:
        times.add_metric([name], buckets_of(counts.durations), counts.durations.sum_s)
    yield times
    yield counter(
        "stopgap_requests_retried",
        "Requests that were asked again since their worker was lost.",
        {(name,): counts.retried for name, counts in counted},
    )
    yield counter(
        "stopgap_requests_lost",
        "Requests whose worker went away while it had them, asked again or not.",
        {(name,): counts.lost for name, counts in counted},
    )
    yield counter(
        "stopgap_requests_refused",
        "Requests that found the front's queue full.",
        {(name,): counts.refused for name, counts in counted},
    )
    yield gauge(
        "stopgap_requests_waiting",
        "Requests in the front's queue.",
        {(name,): counts.waiting for name, counts in counted},
    )
    yield gauge(
        "stopgap_requests_in_flight",
        "Requests that workers have, or that wait in their sockets.",
        {(name,): counts.in_flight for name, counts in counted},
    )


def splits(seen: Sequence[Seen]) -> Iterator[Metric]:
    """What the front has counted of each arm, and what the ledger knows of its callers."""
    split = [(each.name, each.split) for each in seen if each.split]
    counted = [(name, which, arm) for name, each in split for which, arm in each.arms.items()]
    kept = [(name, each.kept) for name, each in split if each.kept]
    by_arm = [(name, which, found.known.arm(which)) for name, found in kept for which in ARMS]
    yield gauge("stopgap_split_share", "The candidate's, as it was asked for.", {(n,): each.share for n, each in split})
    yield counter(
        "stopgap_split_requests",
        "Predictions by arm; `keyless` and `pinned` are of neither.",
        {(name, which): arm.asked for name, which, arm in counted},
        "arm",
    )
    yield counter(
        "stopgap_split_requests_failed",
        "Those that were answered with an error.",
        {(name, which): arm.failed for name, which, arm in counted},
        "arm",
    )
    times = HistogramMetricFamily(
        "stopgap_split_request_duration_seconds",
        "From a request's last byte to its answer's last.",
        labels=["model", "arm"],
    )
    for name, which, arm in counted:
        times.add_metric([name, which], buckets_of(arm.durations), arm.durations.sum_s)
    yield times
    yield counter(
        "stopgap_split_callers",
        "Distinct callers, by the arm of the first answer that was heard of.",
        {(name, which): arm.units for name, which, arm in by_arm},
        "arm",
    )
    yield gauge(
        "stopgap_split_shares_wrong",
        "Whether the callers are shared out otherwise than was asked for; once seen it stays so.",
        {(name,): found.known.ratio.mismatch for name, found in kept},
    )
    yield counter(
        "stopgap_split_feedback",
        "Answers of which somebody has said what came of them.",
        {(name, which): arm.feedback for name, which, arm in by_arm},
        "arm",
    )
    yield gauge(
        "stopgap_split_reward_mean",
        "Of the first reward of each caller that was first seen at the present share.",
        {
            (name, which): mean.estimate
            for name, found in kept
            for which, mean in zip(ARMS, (found.rewards.candidate, found.rewards.legacy))
            if mean.units
        },
        "arm",
    )
    yield gauge(
        "stopgap_split_ledger_up",
        "Whether somebody keeps the ledger.",
        {(name,): bool(each.kept and each.kept.reading.kept) for name, each in split},
    )
    yield counter(
        "stopgap_split_ledger_lost",
        "Requests that the front has counted and the ledger has not heard of.",
        {(name,): found.known.lost for name, found in kept},
    )


# Each makes its families from what was seen of all deployments.
FAMILIES: tuple[Families, ...] = (dates, states, workers, incidents, requests, splits)


def observers(store: Store) -> Iterator[Metric]:
    """Of shadows and recordings, since each was begun; of one that cannot be read, only that it is wanted."""
    wanted = [(kind, name) for kind in KINDS for name in kind.names(store)]
    counted = [((name, kind.word), counts_of(kind, name, store)) for kind, name in wanted]
    totals = {labels: counts for labels, counts in counted if counts is not None}
    yield gauge(
        "stopgap_observer_up",
        "Whether the process lives that asks a shadow's two models, or records.",
        {(name, kind.word): kind.lives(name, store) for kind, name in wanted},
        "observer",
    )
    yield counter(
        "stopgap_observer_mirrored",
        "Copies of predictions that the front has made for it.",
        {labels: counts.sent for labels, counts in totals.items()},
        "observer",
    )
    yield counter(
        "stopgap_observer_done",
        "Requests that were compared, or recorded.",
        {labels: counts.joined for labels, counts in totals.items()},
        "observer",
    )
    yield counter(
        "stopgap_observer_dropped",
        "Requests that were mirrored, and neither compared nor recorded, by reason.",
        {(*labels, why): number for labels, counts in totals.items() for why, number in counts.dropped.items()},
        "observer",
        "reason",
    )
    yield counter(
        "stopgap_observer_not_mirrored",
        "Requests over REST, or by other methods than Predict, which are never mirrored.",
        {labels: counts.not_mirrored for labels, counts in totals.items()},
        "observer",
    )


def counts_of(kind: KindOfObserver[Any], name: str, store: Store) -> Totals | None:
    with contextlib.suppress(StopgapError):
        return totals_of(kind, name, store)
    return None


def code_of(protocol: str, code: str) -> str:
    number = int(code)
    return GRPC_CODES[number] if protocol == "grpc" and number < len(GRPC_CODES) else code


def buckets_of(durations: Durations) -> list[tuple[str, float]]:
    return [*((str(bound), float(count)) for bound, count in durations.up_to_s.items()), ("+Inf", durations.count)]


Samples = dict[tuple[str, ...], float]


def gauge(name: str, tells: str, samples: Samples, *labels: str) -> Metric:
    """A family whose first label is the model, where it has any; so for `counter`."""
    return filled(GaugeMetricFamily(name, tells, labels=labels_of(samples, labels)), samples)


def counter(name: str, tells: str, samples: Samples, *labels: str) -> Metric:
    return filled(CounterMetricFamily(name, tells, labels=labels_of(samples, labels)), samples)


def labels_of(samples: Samples, labels: tuple[str, ...]) -> list[str]:
    return [] if () in samples else ["model", *labels]


def filled(family: GaugeMetricFamily | CounterMetricFamily, samples: Samples) -> Metric:
    for labels, value in samples.items():
        family.add_metric(list(labels), float(value))
    return family
