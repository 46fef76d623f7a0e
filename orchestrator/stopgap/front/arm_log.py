"""What Envoy is told to count of predictions for a name that is taken over: why each went where it went, and how.

Envoy's own counters are a cluster's or a route's. A split has one route to two clusters, one of which has callers of
its own; so these are made from each finished request, by an access log that writes nothing.
"""

from __future__ import annotations

from typing import Any

from stopgap.front.replies import where
from stopgap.front.routes import TAKEN_OVER

__all__ = ["ARMS", "ARM_TAGS", "OBSERVER_HEADER", "arm_log", "predictions"]

OBSERVER_HEADER = "stopgap-observer"
"""A request with this header is the comparison's own asking, and counted nowhere here."""

ARMS = "arms"
"""What the names of these statistics begin with."""

# In the order in which they follow in a statistic's name.
ARM_TAGS = {
    "route": "%ROUTE_NAME%",
    "model": "%UPSTREAM_CLUSTER%",
    "grpc": "%GRPC_STATUS_NUMBER%",
    "http": "%RESPONSE_CODE%",
}

_PREDICTIONS = (
    f'!("{OBSERVER_HEADER}" in request.headers)'
    ' && (request.url_path == "/tensorflow.serving.PredictionService/Predict"'
    ' || request.method == "POST" && request.url_path.startsWith("/v1/"))'
)


def predictions(routes: str) -> dict[str, Any]:
    """The condition of an access log: predictions, by routes whose names begin so, that no comparison asks for."""
    return where(f'xds.route_name.startsWith("{routes}") && {_PREDICTIONS}')


def arm_log() -> dict[str, Any]:
    """An Envoy AccessLog."""
    stats = "envoy.extensions.access_loggers.stats.v3.Config"
    return {
        "name": "envoy.access_loggers.stats",
        "filter": predictions(f"{TAKEN_OVER}/"),
        "typed_config": {
            "@type": f"type.googleapis.com/{stats}",
            "stats_scope": {"prefix": ARMS},
            "counters": [{"stat": _stat("answered", *ARM_TAGS), "value_fixed": 1}],
            "histograms": [
                {
                    "stat": _stat("took", "route", "model"),
                    "unit": "Microseconds",
                    "value_format": "%COMMON_DURATION(DS_RX_END:DS_TX_END:us)%",
                }
            ],
        },
    }


def _stat(name: str, *tags: str) -> dict[str, Any]:
    return {"name": name, "tags": [{"name": tag, "value_format": ARM_TAGS[tag]} for tag in tags]}
