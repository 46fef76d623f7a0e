"""Families of the deployments themselves: dates, states, workers, incidents, requests."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from prometheus_client.core import HistogramMetricFamily, InfoMetricFamily, Metric

from stopgap.conditions import Condition
from stopgap.metrics.families import buckets_of, counter, gauge
from stopgap.metrics.looking import Seen
from stopgap.sunset import last_moment

__all__ = ["dates", "incidents", "requests", "states", "workers"]

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
MIB = 1 << 20


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


def code_of(protocol: str, code: str) -> str:
    number = int(code)
    return GRPC_CODES[number] if protocol == "grpc" and number < len(GRPC_CODES) else code
