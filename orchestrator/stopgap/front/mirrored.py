"""What a front has counted for an observer since it started: how many predictions, and what became of their copies."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from stopgap.front.admin import Admin
from stopgap.front.arm_log import ARMS
from stopgap.front.mirroring import mirror_cluster
from stopgap.front.rest_routes import REST_COUNTED
from stopgap.front.routes import MODELS_HOST, TAKEN_OVER

__all__ = ["Mirrored", "mirrored"]

_SERVICE = "grpc.tensorflow.serving.PredictionService"
_OTHERS = ("Classify", "Regress", "MultiInference")


@dataclass(frozen=True)
class Mirrored:
    """All of it users' own, whoever answers to the name; what an observer asks is counted elsewhere.

    Attributes:
        predictions: gRPC's Predict, answered or refused.
        sent: Copies of them that were drawn for the sample and have come to an end.
        delivered: Of those, the ones that the observer took.
        undelivered: Those that it did not: nobody listened, or not in time, or too many were on their way.
        waiting: Copies that are on their way now.
        not_mirrored: What is never mirrored: predictions over REST, and by gRPC's other methods.
    """

    predictions: int = 0
    sent: int = 0
    delivered: int = 0
    undelivered: int = 0
    waiting: int = 0
    not_mirrored: int = 0


def mirrored(admin: Admin, name: str, observer: str) -> Mirrored:
    """Of the model of that name, and of that kind of observer.

    Raises:
        FrontError: No Envoy answers.
    """
    cluster, model = f"cluster.{mirror_cluster(name, observer)}.", f"cluster.{name}.{_SERVICE}."
    rest = f"vhost.{MODELS_HOST}.route.{REST_COUNTED}{name}."
    arms = f"{ARMS}.answered.route.{TAKEN_OVER}/"
    pattern = "|".join(re.escape(prefix) for prefix in (cluster, model, rest, arms))
    found = admin.statistics(f"^({pattern})")
    counts = {entry["name"]: int(entry["value"]) for entry in found if isinstance(entry.get("value"), int)}
    more, over_rest = _of_arms(counts, arms, name)
    # A copy that is let go has no answer, and so is none of the completed ones.
    sent = sum(counts.get(f"{cluster}upstream_rq_{kind}", 0) for kind in ("completed", "max_duration_reached"))
    delivered = counts.get(f"{cluster}upstream_rq_200", 0)
    return Mirrored(
        predictions=counts.get(f"{model}Predict.total", 0) + more,
        sent=sent,
        delivered=delivered,
        undelivered=sent - delivered,
        waiting=sum(counts.get(f"{cluster}upstream_rq_{kind}", 0) for kind in ("active", "pending_active")),
        not_mirrored=_answered(counts, rest)
        + over_rest
        + sum(counts.get(f"{model}{method}.total", 0) for method in _OTHERS),
    )


def _of_arms(counts: Mapping[str, int], arms: str, name: str) -> tuple[int, int]:
    """Where names are taken over: how many more predictions this name was asked than its own model; and over REST.

    Fewer where the model answers to somebody else's name as well.
    """
    arm = re.compile(rf"{re.escape(arms)}[a-z]+/([^/]+?)(?:/\w+)?\.model\.(.+)\.grpc\.(\d*)\.http\.\d*")
    more = over_rest = 0
    for statistic, times in counts.items():
        if found := arm.fullmatch(statistic):
            asked, model, grpc = found.groups()
            if asked == name and not grpc:
                over_rest += times
            elif grpc:
                more += times * ((asked == name) - (model == name))
    return more, over_rest


def _answered(counts: Mapping[str, int], rest: str) -> int:
    """Over REST a look at a model's state is counted with the predictions: it is told as more, never as fewer."""
    answered = re.compile(rf"{re.escape(rest)}upstream_rq_\d{{3}}")
    return sum(count for name, count in counts.items() if answered.fullmatch(name))
