"""Envoy's REST listener: TF Serving's JSON over HTTP/1.1 or HTTP/2, routed by path, and the front's own health."""

from __future__ import annotations

from typing import Any

from stopgap.front.listener import http_filter, listener, whole_request
from stopgap.front.readiness import readiness_filter
from stopgap.front.rest_replies import over_the_limit, rest_replies
from stopgap.front.rest_routes import NAME_FROM_PATH
from stopgap.front.settings import FrontSettings

__all__ = ["REST_LISTENER", "rest_listener"]

REST_LISTENER = "rest"


def rest_listener(settings: FrontSettings, routes: dict[str, Any], readiness: dict[str, Any]) -> dict[str, Any]:
    """The `envoy.config.listener.v3.Listener` for REST.

    Args:
        settings: The front's.
        routes: The source of its route configuration.
        readiness: The source of what `/readyz` looks at.
    """
    return listener(
        settings,
        REST_LISTENER,
        settings.rest_port,
        routes=routes,
        filters=[
            readiness_filter(readiness),
            _swallow(settings),
            whole_request(settings.max_message_bytes),
            _name_from_path(),
        ],
        replies=rest_replies(settings),
        # Health probes of load balancers speak it still.
        http_protocol_options={"accept_http_10": True, "default_host_for_http_10": "front"},
    )


def _swallow(settings: FrontSettings) -> dict[str, Any]:
    """Answers a request whose length is over the limit when all of it has come, keeping nothing.

    The filter is made for health checks, and the only one that reads a body to its end and throws it away. An answer
    before the end closes the connection, and many a client that is still sending then reports a reset instead of it.
    """
    return http_filter(
        "too-large",
        "envoy.extensions.filters.http.health_check.v3.HealthCheck",
        pass_through_mode=False,
        headers=[over_the_limit(settings)],
    )


def _name_from_path() -> dict[str, Any]:
    """Does nothing but where a route tells it what."""
    return http_filter(NAME_FROM_PATH, "envoy.extensions.filters.http.header_to_metadata.v3.Config")
