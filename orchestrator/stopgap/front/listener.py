"""What a front's two listeners have in common: how much of a message they hold, and that they trust no caller."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stopgap.front.arm_log import arm_log
from stopgap.front.clusters import FRAME_BYTES
from stopgap.front.ledger_log import ledger_log
from stopgap.front.noting import CALLERS_FILTER
from stopgap.front.settings import FrontSettings

__all__ = ["ARRIVAL_S", "http_filter", "listener", "whole_request"]

ARRIVAL_S = 60
"""A request has this long to arrive, and a second more for every MiB that it may have."""

_NOBODY = "192.0.2.0"  # from the block that RFC 5737 keeps for documentation


def listener(
    settings: FrontSettings,
    name: str,
    port: int,
    *,
    routes: dict[str, Any],
    filters: Sequence[dict[str, Any]],
    replies: dict[str, Any],
    **more: Any,
) -> dict[str, Any]:
    """An `envoy.config.listener.v3.Listener`.

    Args:
        settings: The front's.
        name: The listener's, and that of its route configuration.
        port: Where it listens.
        routes: The source of its route configuration.
        filters: What a request goes through before it is routed.
        replies: What Envoy says itself, as a LocalReplyConfig.
        more: Further fields of the HttpConnectionManager.
    """
    manager = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
    typed_config = {
        "@type": f"type.googleapis.com/{manager}",
        "stat_prefix": name,
        # Both versions of HTTP, so that whoever comes with the wrong one is told what this is.
        "codec_type": "AUTO",
        "http2_protocol_options": {
            "initial_stream_window_size": _window_bytes(settings),
            "initial_connection_window_size": _window_bytes(settings),
        },
        "rds": {"route_config_name": name, "config_source": routes},
        # Callers are strangers, those on this machine too: their x-envoy-* headers (retries, timeouts) do not count.
        # Without an address of its own here, Envoy trusts the private networks and the loopback.
        "use_remote_address": True,
        "skip_xff_append": True,
        "internal_address_config": {"cidr_ranges": [{"address_prefix": _NOBODY, "prefix_len": 32}]},
        "generate_request_id": False,
        # For a request that stops arriving. What was routed has no such limit (see the routes): a prediction may
        # take as long as its caller allows.
        "stream_idle_timeout": "60s",
        "request_headers_timeout": "10s",
        # What has chosen its route already is not held by the idle timeout.
        "request_timeout": f"{ARRIVAL_S + settings.max_message_mib}s",
        "http_filters": [*filters, _callers(), _router()],
        "local_reply_config": replies,
        "access_log": [arm_log(), ledger_log()],
        **more,
    }
    return {
        "@type": "type.googleapis.com/envoy.config.listener.v3.Listener",
        "name": name,
        "address": {"socket_address": {"address": settings.bind, "port_value": port}},
        "per_connection_buffer_limit_bytes": _window_bytes(settings),
        "filter_chains": [
            {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": typed_config}]}
        ],
    }


def http_filter(name: str, message: str, **fields: Any) -> dict[str, Any]:
    """An HTTP filter of the HttpConnectionManager.

    Args:
        name: Its name.
        message: Its configuration's type, as Envoy names it.
        fields: Its configuration.
    """
    return {"name": name, "typed_config": {"@type": f"type.googleapis.com/{message}", **fields}}


def whole_request(largest_bytes: int) -> dict[str, Any]:
    """Holds a request until all of it has come: who sends slowly keeps no worker waiting, and it can be asked again."""
    buffer = "envoy.extensions.filters.http.buffer.v3.Buffer"
    return http_filter("envoy.filters.http.buffer", buffer, max_request_bytes=largest_bytes)


def _window_bytes(settings: FrontSettings) -> int:
    """How much of a request Envoy holds: it reads a message only when all of it is there."""
    return settings.max_message_bytes + FRAME_BYTES


def _callers() -> dict[str, Any]:
    """Does nothing but where the route of a split tells it what."""
    return http_filter(CALLERS_FILTER, "envoy.extensions.filters.http.header_to_metadata.v3.Config")


def _router() -> dict[str, Any]:
    router = "envoy.extensions.filters.http.router.v3.Router"
    return http_filter("envoy.filters.http.router", router, suppress_envoy_headers=True)
