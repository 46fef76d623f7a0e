"""Envoy's gRPC listener: reads `model_spec`'s name and version out of each request for the routes."""

from __future__ import annotations

import base64
from typing import Any

from stopgap.front.clusters import FRAME_BYTES
from stopgap.front.descriptor import descriptor_set, methods
from stopgap.front.replies import local_replies
from stopgap.front.routes import MODEL_HEADER, VERSION_HEADER
from stopgap.front.settings import FrontSettings

__all__ = ["GRPC_LISTENER", "grpc_listener"]

GRPC_LISTENER = "grpc"
_NAME, _VERSION = "model_spec.name", "model_spec.version.value"
_NOBODY = "192.0.2.0"  # from the block that RFC 5737 keeps for documentation

# The route was chosen before the message was read, hence clearRouteCache.
_SPEC_TO_HEADERS = f"""
local function encoded(name)
  return (string.gsub(string.sub(name, 1, 1024), "[^A-Za-z0-9._-]", function(c)
    return string.format("%%%02X", string.byte(c))
  end))
end

function envoy_on_request(handle)
  local headers = handle:headers()
  headers:remove("{MODEL_HEADER}")
  headers:remove("{VERSION_HEADER}")
  local extracted = handle:streamInfo():dynamicMetadata():get("envoy.filters.http.grpc_field_extraction")
  local names = extracted and extracted["{_NAME}"]
  local name = names and names[1]
  if name and name ~= "" then
    headers:add("{MODEL_HEADER}", encoded(name))
  end
  local versions = extracted and extracted["{_VERSION}"]
  local version = versions and versions[1]
  if version then  -- none for version 0 either: on the wire its wrapper is empty, and nothing is extracted
    headers:add("{VERSION_HEADER}", tostring(version))
  end
  handle:clearRouteCache()
end
"""


def grpc_listener(settings: FrontSettings, route_config: str, routes_source: dict[str, Any]) -> dict[str, Any]:
    """The `envoy.config.listener.v3.Listener` for gRPC."""
    return {
        "@type": "type.googleapis.com/envoy.config.listener.v3.Listener",
        "name": GRPC_LISTENER,
        "address": {"socket_address": {"address": settings.bind, "port_value": settings.grpc_port}},
        "per_connection_buffer_limit_bytes": _window_bytes(settings),
        "filter_chains": [
            {
                "filters": [
                    {
                        "name": "envoy.filters.network.http_connection_manager",
                        "typed_config": _connection_manager(settings, route_config, routes_source),
                    }
                ]
            }
        ],
    }


def _connection_manager(settings: FrontSettings, route_config: str, routes_source: dict[str, Any]) -> dict[str, Any]:
    manager = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
    return {
        "@type": f"type.googleapis.com/{manager}",
        "stat_prefix": GRPC_LISTENER,
        # AUTO, so that a browser or a health probe over HTTP/1.1 is told what this is.
        "codec_type": "AUTO",
        "http2_protocol_options": {
            "initial_stream_window_size": _window_bytes(settings),
            "initial_connection_window_size": _window_bytes(settings),
        },
        "rds": {"route_config_name": route_config, "config_source": routes_source},
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
        "http_filters": [_field_extraction(), _spec_to_headers(), _router()],
        "local_reply_config": local_replies(settings),
    }


def _window_bytes(settings: FrontSettings) -> int:
    """How much of a request Envoy holds: field extraction reads a message only when all of it is there."""
    return settings.max_message_bytes + FRAME_BYTES


def _field_extraction() -> dict[str, Any]:
    extraction = "envoy.extensions.filters.http.grpc_field_extraction.v3.GrpcFieldExtractionConfig"
    return {
        "name": "envoy.filters.http.grpc_field_extraction",
        "typed_config": {
            "@type": f"type.googleapis.com/{extraction}",
            "descriptor_set": {"inline_bytes": base64.b64encode(descriptor_set()).decode("ascii")},
            "extractions_by_method": {
                method[1:].replace("/", "."): {"request_field_extractions": {_NAME: {}, _VERSION: {}}}
                for method in methods()
            },
        },
    }


def _spec_to_headers() -> dict[str, Any]:
    return {
        "name": "envoy.filters.http.lua",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua",
            "default_source_code": {"inline_string": _SPEC_TO_HEADERS},
        },
    }


def _router() -> dict[str, Any]:
    return {
        "name": "envoy.filters.http.router",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
            "suppress_envoy_headers": True,
        },
    }
