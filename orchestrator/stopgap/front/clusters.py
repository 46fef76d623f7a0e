"""Envoy's clusters: one a model, its workers the endpoints, each behind its own Unix socket.

Behind them, at the next priority, is the retry lane. A retry goes there (`routes.py`); so does everything while no
worker is healthy, one request after the other.
"""

from __future__ import annotations

from typing import Any

from stopgap.front.settings import FrontSettings, Upstream

__all__ = ["FRAME_BYTES", "UNCHECKED", "cluster", "endpoint", "health_check"]

UNCHECKED = {"health_check_config": {"disable_active_health_check": True}}
"""Of an endpoint that always counts as healthy."""

# gRPC puts a flag and a length before each message.
FRAME_BYTES = 5
# Over HTTP/1.1 every request in flight has a connection of its own.
_CONNECTIONS_PER_WORKER = 64
_REQUESTS_WAITING = 4096


def cluster(settings: FrontSettings, upstream: Upstream) -> dict[str, Any]:
    """The `envoy.config.cluster.v3.Cluster` of one model."""
    return {
        "@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster",
        "name": upstream.name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "lb_policy": "LEAST_REQUEST",
        # With too few healthy workers and no lane Envoy asks any of them: a request for a worker that is being replaced
        # then waits in its socket, which the sandbox's parent holds open, instead of being refused.
        "common_lb_config": {"healthy_panic_threshold": {"value": 50.0}},
        "per_connection_buffer_limit_bytes": settings.max_message_bytes + FRAME_BYTES,
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": _http11()},
        "circuit_breakers": {"thresholds": [_thresholds(upstream.workers)]},
        "health_checks": [health_check()],
        "load_assignment": {
            "cluster_name": upstream.name,
            "endpoints": _by_priority(settings, upstream),
        },
    }


def _http11() -> dict[str, Any]:
    return {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        # The worker keeps its connections for ever, so it is always Envoy that lets an idle one go: a request is
        # never sent into a connection that is just being closed.
        "common_http_protocol_options": {"idle_timeout": "60s"},
        # The trailer carries grpc-status.
        "explicit_http_config": {"http_protocol_options": {"enable_trailers": True}},
    }


def _thresholds(workers: int) -> dict[str, int]:
    connections = workers * _CONNECTIONS_PER_WORKER
    return {
        "max_connections": connections,
        "max_pending_requests": _REQUESTS_WAITING,
        "max_requests": connections + _REQUESTS_WAITING,
        # Everyone who was in flight beside a dead worker asks again at the same moment; the default allows three.
        "max_retries": connections + _REQUESTS_WAITING,
    }


def health_check() -> dict[str, Any]:
    """The `envoy.config.core.v3.HealthCheck` of a worker."""
    return {
        "timeout": "1s",
        "interval": "1s",
        "no_traffic_interval": "1s",
        "unhealthy_interval": "0.250s",
        "unhealthy_threshold": 1,
        "healthy_threshold": 1,
        "http_health_check": {"path": "/healthz"},
    }


def _by_priority(settings: FrontSettings, upstream: Upstream) -> list[dict[str, Any]]:
    workers = {"lb_endpoints": [endpoint(path) for path in settings.worker_sockets(upstream)]}
    if not upstream.retried:
        return [workers]
    # Nobody is behind the lane until it is needed, and a health check is no need.
    return [workers, {"priority": 1, "lb_endpoints": [endpoint(settings.lane_socket(upstream), **UNCHECKED)]}]


def endpoint(path: str, **more: Any) -> dict[str, Any]:
    """The `envoy.config.endpoint.v3.LbEndpoint` of a socket; `more` are further fields of its Endpoint."""
    return {"endpoint": {"address": {"pipe": {"path": path}}, **more}}
