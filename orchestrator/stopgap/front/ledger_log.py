"""The access log by which a front tells its ledger of each answer of a split, and the socket that it goes to.

Envoy's gRPC access log sends one small entry for each prediction of a caller that has told its key, some at a time, and
after the answer: nobody waits for it. A listener that changes closes its callers' connections; so this stands there
always, and is the same for all splits. What differs between them is in their routes, see `noting.py`.
"""

from __future__ import annotations

from typing import Any

from stopgap.front.arm_log import predictions
from stopgap.front.noting import CALLER, NOTES, REQUEST_ID, SHARE
from stopgap.front.routes import TAKEN_OVER, Kind
from stopgap.front.settings import FrontSettings

__all__ = ["KEYED_ROUTES", "LEDGER", "ledger_cluster", "ledger_log"]

LEDGER = "log/ledger"
"""The cluster that is the ledger's socket. No model's name has a slash in it."""

KEYED_ROUTES = f"{TAKEN_OVER}/{Kind.KEYED.value}/"
"""What a route's name begins with by which callers go that have told their key; what is counted follows."""

# A worker thread of Envoy's sends when it has so much, or when so much time has passed.
_SENT_AT_BYTES = 32 * 1024
_SENT_AFTER = "0.250s"
# So much, of each thread, waits for a ledger that does not read. What comes then is dropped.
_WAITING_BYTES = 2**20


def ledger_log() -> dict[str, Any]:
    """An Envoy AccessLog."""
    config = "envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig"
    return {
        "name": "envoy.access_loggers.http_grpc",
        "filter": predictions(KEYED_ROUTES),
        "typed_config": {
            "@type": f"type.googleapis.com/{config}",
            "common_config": {
                "log_name": "ledger",
                "transport_api_version": "V3",
                "grpc_service": {"envoy_grpc": {"cluster_name": LEDGER}},
                "buffer_size_bytes": _SENT_AT_BYTES,
                "buffer_flush_interval": _SENT_AFTER,
                "custom_tags": [_tag(CALLER, "request"), _tag(SHARE, "route")],
            },
            "additional_response_headers_to_log": [REQUEST_ID, "grpc-status"],
            "additional_response_trailers_to_log": ["grpc-status"],
        },
    }


def ledger_cluster(settings: FrontSettings) -> dict[str, Any]:
    """The `envoy.config.cluster.v3.Cluster` of the front's ledger, whether there is one or not."""
    path = settings.ledger_socket()
    options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    return {
        "@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster",
        "name": LEDGER,
        "type": "STATIC",
        "connect_timeout": "1s",
        "per_connection_buffer_limit_bytes": _WAITING_BYTES,
        "typed_extension_protocol_options": {
            options: {
                "@type": f"type.googleapis.com/{options}",
                "explicit_http_config": {"http2_protocol_options": {"initial_stream_window_size": _WAITING_BYTES}},
            }
        },
        "load_assignment": {
            "cluster_name": LEDGER,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": {"pipe": {"path": path}}}}]}],
        },
    }


def _tag(name: str, where: str) -> dict[str, Any]:
    return {"tag": name, "metadata": {"kind": {where: {}}, "metadata_key": {"key": NOTES, "path": [{"key": name}]}}}
