"""What both route configurations have in common: one table for every host, and how a request goes to a model."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from stopgap.front.settings import Upstream
from stopgap.front.sunset_headers import sunset_headers

__all__ = ["MODELS_HOST", "answer", "route_configuration", "to_model"]

MODELS_HOST = "models"

# What Envoy adds; it is none of a sandbox's business.
_CALLERS_ADDRESS = "x-envoy-external-address"


def route_configuration(name: str, routes: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """An `envoy.config.route.v3.RouteConfiguration`, the first match first."""
    return {
        "@type": "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
        "name": name,
        "virtual_hosts": [{"name": MODELS_HOST, "domains": ["*"], "routes": list(routes)}],
    }


def to_model(upstream: Upstream, match: dict[str, Any], **more: Any) -> dict[str, Any]:
    """The route of one model.

    Args:
        upstream: The model.
        match: Envoy's RouteMatch.
        more: Further fields of the RouteAction.
    """
    return {
        "match": match,
        "route": {
            "cluster": upstream.name,
            # No deadline of Envoy's own: `timeout` would otherwise be 15 s.
            "timeout": "0s",
            "idle_timeout": "0s",
            **({"retry_policy": _once_more()} if upstream.retried else {}),
            **more,
        },
        "request_headers_to_remove": [_CALLERS_ADDRESS],
        "response_headers_to_add": sunset_headers(upstream),
    }


def answer(match: dict[str, Any], status: int, text: str) -> dict[str, Any]:
    """The route of what Envoy answers itself.

    Args:
        match: Envoy's RouteMatch.
        status: HTTP's.
        text: In Envoy's format; the listener's local replies make of it what its callers understand.
    """
    body = {"text_format_source": {"inline_string": text}}
    return {"match": match, "direct_response": {"status": status, "body_format": body}}


def _once_more() -> dict[str, Any]:
    """Ask again in the retry lane, the priority that the request has not been at, where nothing runs beside it."""
    previous_priorities = "envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig"
    return {
        "retry_on": "reset,connect-failure",
        "num_retries": 1,
        "retry_priority": {
            "name": "envoy.retry_priorities.previous_priorities",
            "typed_config": {"@type": f"type.googleapis.com/{previous_priorities}", "update_frequency": 1},
        },
    }
