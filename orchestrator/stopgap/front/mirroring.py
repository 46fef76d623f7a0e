"""What observers add to Envoy's files: a sample of a model's predictions is mirrored to each of them, which asks too.

Four things for a model called `ranker`:

- the cluster `mirror/shadow/ranker`, which is the socket of its shadow's observer, and `mirror/recording/ranker`, which
  is its recorder's. Envoy sends a request on and a copy of it there; what becomes of the copy is nobody's concern, and
  no user waits for it;
- the cluster `asked/ranker`, to which goes what observers ask: counted apart from what users ask, with limits of its
  own, and not asked again in the retry lane. Behind it is a worker for observers alone, which makes way for the others
  and whose end no user notices; the sandbox makes it when its health is asked for. While it is not there, since it is
  being made or since the memory does not hold the model once more, the model's other workers are asked; so they are
  where a model has a state, which no other worker has;
- the cluster `compared/ranker`, which is the model's own workers once more, for what a comparison or a replay asks: its
  times are to be those of users;
- routes before the model's own. The first take what observers ask, which they mark with a header that nobody else
  knows, and what a comparison or a replay asks; the last mirrors.

No model's name has a slash in it, so none is called like these clusters.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stopgap.front.clusters import FRAME_BYTES, UNCHECKED, cluster, endpoint, health_check
from stopgap.front.settings import FrontSettings, Mirror, Upstream

__all__ = [
    "OBSERVER_HEADER",
    "PREDICT",
    "asked_cluster",
    "by_observer",
    "compared_cluster",
    "mirror_cluster",
    "mirror_policies",
    "mirrors_of",
    "observer_clusters",
    "of_observer",
]

PREDICT = "/tensorflow.serving.PredictionService/Predict"
OBSERVER_HEADER = "x-stopgap-observer"

# Copies on their way to an observer that does not take them: so many have a connection each, and as many wait for one.
# What is beyond is not sent, and counted.
_COPIES = 64
# Connections belong to one of Envoy's threads: what it has opened for a burst it does not keep from another.
_IDLE = "1s"
# A copy that is not taken meanwhile is let go, and counted: an observer for which no processor is idle must not fill
# the memory that users' requests need.
_PATIENCE = "2s"
# What an observer asks at once is its own setting; this only keeps it away from the users' room.
_ASKED_AT_ONCE = 64
# As many as a replay has in flight.
_WAITING_TO_ASK = 1024
# So many seconds without an answer: a worker that runs on idle processors has them where there are none.
_FAILED_CHECKS = 5


def mirror_cluster(name: str, observer: str) -> str:
    """The cluster to which the model's requests are mirrored for that kind of observer."""
    return f"mirror/{observer}/{name}"


def asked_cluster(name: str) -> str:
    """The cluster by which the model's observers ask it."""
    return f"asked/{name}"


def compared_cluster(name: str) -> str:
    """The cluster by which a comparison or a replay asks the model while it is observed."""
    return f"compared/{name}"


def observer_clusters(settings: FrontSettings, upstream: Upstream) -> list[dict[str, Any]]:
    """Those that a model has beside its own."""
    found = [_mirror(settings, upstream, mirror) for mirror in upstream.mirrors]
    if upstream.observers:
        found.append(_asked(settings, upstream))
    if mirrors_of(upstream):
        found.append(_again(settings, upstream, compared_cluster(upstream.name)))
    return found


def mirrors_of(upstream: Upstream) -> list[Mirror]:
    """Where anything of it goes now."""
    return [mirror for mirror in upstream.mirrors if mirror.per_million]


def mirror_policies(upstream: Upstream) -> dict[str, Any]:
    """The fields of a RouteAction by which samples are mirrored."""
    policies = [
        {
            "cluster": mirror_cluster(upstream.name, mirror.observer),
            "runtime_fraction": {"default_value": {"numerator": mirror.per_million, "denominator": "MILLION"}},
        }
        for mirror in mirrors_of(upstream)
    ]
    return {"request_mirror_policies": policies}


def by_observer(token: str) -> list[Mapping[str, Any]]:
    """The headers of a RouteMatch: what an observer asks."""
    return [{"name": OBSERVER_HEADER, "string_match": {"exact": token}}]


def of_observer(upstream: Upstream) -> Upstream:
    """The same model for the observer's own requests, which are asked once."""
    return Upstream(
        upstream.name,
        upstream.workers,
        retried=False,
        deprecated_at=upstream.deprecated_at,
        sunset_at=upstream.sunset_at,
    )


def _asked(settings: FrontSettings, upstream: Upstream) -> dict[str, Any]:
    name = asked_cluster(upstream.name)
    again = _again(settings, upstream, name)
    if not upstream.retried:
        return again
    aside = {"lb_endpoints": [endpoint(settings.aside_socket(upstream))]}
    others = [endpoint(path, **UNCHECKED) for path in settings.worker_sockets(upstream)]
    return {
        **again,
        "load_assignment": {"cluster_name": name, "endpoints": [aside, {"priority": 1, "lb_endpoints": others}]},
        "health_checks": [{**health_check(), "unhealthy_threshold": _FAILED_CHECKS}],
    }


def _again(settings: FrontSettings, upstream: Upstream, name: str) -> dict[str, Any]:
    """The model's own workers, under another name and with limits of their own."""
    again = cluster(settings, of_observer(upstream))
    assignment = {**again["load_assignment"], "cluster_name": name}
    limits = {
        "max_connections": _ASKED_AT_ONCE,
        "max_pending_requests": _WAITING_TO_ASK,
        "max_requests": _ASKED_AT_ONCE + _WAITING_TO_ASK,
    }
    # Its workers are looked after as the model's own; a second look at them would only cost.
    kept = {key: value for key, value in again.items() if key != "health_checks"}
    return {**kept, "name": name, "load_assignment": assignment, "circuit_breakers": {"thresholds": [limits]}}


def _mirror(settings: FrontSettings, upstream: Upstream, mirror: Mirror) -> dict[str, Any]:
    name = mirror_cluster(upstream.name, mirror.observer)
    socket = settings.observer_socket(upstream, mirror)
    windows = settings.max_message_bytes + FRAME_BYTES
    return {
        "@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster",
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "per_connection_buffer_limit_bytes": windows,
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "common_http_protocol_options": {"idle_timeout": _IDLE, "max_stream_duration": _PATIENCE},
                "explicit_http_config": {"http_protocol_options": {}},
            }
        },
        "circuit_breakers": {"thresholds": [{"max_connections": _COPIES, "max_pending_requests": _COPIES}]},
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": {"pipe": {"path": socket}}}}]}],
        },
    }
