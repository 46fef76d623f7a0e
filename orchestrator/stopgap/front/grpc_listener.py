"""Envoy's gRPC listener: reads `model_spec`'s name and version out of each request for the routes."""

from __future__ import annotations

import base64
from typing import Any

from stopgap.front.clusters import FRAME_BYTES
from stopgap.front.descriptor import descriptor_set, methods
from stopgap.front.grpc_replies import grpc_replies
from stopgap.front.grpc_routes import FIELD_EXTRACTION, MODEL_NAME, MODEL_VERSION
from stopgap.front.listener import http_filter, listener, whole_request
from stopgap.front.settings import FrontSettings

__all__ = ["GRPC_LISTENER", "grpc_listener"]

GRPC_LISTENER = "grpc"


def grpc_listener(settings: FrontSettings, routes: dict[str, Any]) -> dict[str, Any]:
    """The `envoy.config.listener.v3.Listener` for gRPC; `routes` is the source of its route configuration."""
    return listener(
        settings,
        GRPC_LISTENER,
        settings.grpc_port,
        routes=routes,
        # Field extraction is content with a message's end: of what follows it would keep a worker waiting.
        filters=[
            whole_request(settings.max_message_bytes + FRAME_BYTES),
            _field_extraction(),
            _choose_route_again(),
            _count_statuses(),
        ],
        replies=grpc_replies(settings),
    )


def _field_extraction() -> dict[str, Any]:
    return http_filter(
        FIELD_EXTRACTION,
        "envoy.extensions.filters.http.grpc_field_extraction.v3.GrpcFieldExtractionConfig",
        descriptor_set={"inline_bytes": base64.b64encode(descriptor_set()).decode("ascii")},
        extractions_by_method={
            method[1:].replace("/", "."): {"request_field_extractions": {MODEL_NAME: {}, MODEL_VERSION: {}}}
            for method in methods()
        },
    )


def _count_statuses() -> dict[str, Any]:
    """To Envoy every answer is a 200, its status being in a trailer; this counts them for each model's cluster."""
    services: dict[str, list[str]] = {}
    for method in methods():
        service, _, name = method[1:].partition("/")
        services.setdefault(service, []).append(name)
    return http_filter(
        "envoy.filters.http.grpc_stats",
        "envoy.extensions.filters.http.grpc_stats.v3.FilterConfig",
        individual_method_stats_allowlist={
            "services": [{"name": service, "method_names": names} for service, names in services.items()]
        },
    )


def _choose_route_again() -> dict[str, Any]:
    """The route was chosen before the message was read. Of the filters that can undo that, this one costs least."""
    return http_filter(
        "envoy.filters.http.set_filter_state",
        "envoy.extensions.filters.http.set_filter_state.v3.Config",
        clear_route_cache=True,
    )
