"""What a front has counted of each model since it started, as its Envoy tells: answers, their times, who waits."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from stopgap.front.admin import Admin
from stopgap.front.rest_routes import REST_COUNTED
from stopgap.front.routes import MODELS_HOST

__all__ = ["Answered", "Durations", "Traffic", "durations", "traffic"]

# In seconds: what a small model needs, up to the longest run that is usual.
_BOUNDS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)

_MILLISECONDS: Final = 1000

_COUNTED: Final = r"upstream_rq_(\d{3}|active|retry|pending_active|pending_overflow)"
_LOST: Final = "upstream_cx_destroy_remote_with_active_rq"
_STATISTICS: Final = rf"^(cluster|vhost)\..*\.({_COUNTED}|{_LOST}|grpc\.tensorflow\.serving\.\w+\.\w+\.\d+)$"
_TIMES: Final = r"^cluster\..*\.upstream_rq_time$"

_GRPC: Final = re.compile(r"grpc\.tensorflow\.serving\.\w+\.(\w+)\.(\d+)")
_REST: Final = re.compile(r"upstream_rq_(\d{3})")


@dataclass(frozen=True)
class Answered:
    """How often something was answered with a code.

    Attributes:
        method: gRPC's: `Predict`; empty for REST.
        code: gRPC's status or HTTP's, in digits.
    """

    protocol: str
    method: str
    code: str
    times: int


@dataclass(frozen=True)
class Durations:
    """How long answers took, over both protocols, from the front's sending a request on to the end of its answer.

    Attributes:
        up_to_s: How many took at most that many seconds, by that bound.
        sum_s: Of all, as Envoy keeps it: each counts as the middle of a bin that is at most a tenth wide.
    """

    up_to_s: Mapping[float, int] = field(default_factory=dict)
    count: int = 0
    sum_s: float = 0.0


@dataclass(frozen=True)
class Traffic:
    """One model's.

    Attributes:
        retried: Requests that were asked again.
        lost: Requests whose worker went away while it had them.
        refused: Requests that found the queue full.
        waiting: Requests that wait in the front now.
        in_flight: Requests that a worker has, or that wait in its socket, now.
    """

    answered: tuple[Answered, ...] = ()
    durations: Durations = field(default_factory=Durations)
    retried: int = 0
    lost: int = 0
    refused: int = 0
    waiting: int = 0
    in_flight: int = 0


def traffic(admin: Admin, names: Iterable[str]) -> Mapping[str, Traffic]:
    """By the models' names.

    Raises:
        FrontError: No Envoy answers.
    """
    counts = {entry["name"]: int(entry["value"]) for entry in admin.statistics(_STATISTICS) if "value" in entry}
    bins = {entry["name"]: entry["totals"] for entry in admin.histograms(_TIMES)}
    return {name: _of_model(name, counts, bins) for name in names}


def _of_model(name: str, counts: Mapping[str, int], bins: Mapping[str, list[dict[str, Any]]]) -> Traffic:
    cluster = f"cluster.{name}."
    return Traffic(
        answered=(*_grpc(cluster, counts), *_rest(f"vhost.{MODELS_HOST}.route.{REST_COUNTED}{name}.", counts)),
        durations=durations(bins.get(f"{cluster}upstream_rq_time", []), _MILLISECONDS),
        retried=counts.get(f"{cluster}upstream_rq_retry", 0),
        lost=counts.get(f"{cluster}{_LOST}", 0),
        refused=counts.get(f"{cluster}upstream_rq_pending_overflow", 0),
        waiting=counts.get(f"{cluster}upstream_rq_pending_active", 0),
        in_flight=counts.get(f"{cluster}upstream_rq_active", 0),
    )


def _grpc(prefix: str, counts: Mapping[str, int]) -> Iterable[Answered]:
    for match, times in _below(prefix, _GRPC, counts):
        yield Answered("grpc", match[1], match[2], times)


def _rest(prefix: str, counts: Mapping[str, int]) -> Iterable[Answered]:
    for match, times in _below(prefix, _REST, counts):
        yield Answered("rest", "", match[1], times)


def _below(prefix: str, rest: re.Pattern[str], counts: Mapping[str, int]) -> Iterable[tuple[re.Match[str], int]]:
    """A name may have dots in it, so the whole of what is behind the prefix must match."""
    for name, times in counts.items():
        if name.startswith(prefix) and (match := rest.fullmatch(name, len(prefix))):
            yield match, times


def durations(bins: list[dict[str, Any]], a_second: int) -> Durations:
    """From Envoy's bins.

    Args:
        bins: As `Admin.histograms` gives them.
        a_second: How many of their units are one.
    """
    counted = [(each["lower_bound"] / a_second, each["width"] / a_second, int(each["count"])) for each in bins]
    return Durations(
        up_to_s={bound: sum(count for low, width, count in counted if low + width <= bound) for bound in _BOUNDS_S},
        count=sum(count for _, _, count in counted),
        sum_s=sum((low + width / 2) * count for low, width, count in counted),
    )
