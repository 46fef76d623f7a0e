"""Envoy's configuration from a front's settings and upstreams, as the files that Envoy watches: pure.

`bootstrap.json` names the other three, which Envoy reads again whenever one of them is replaced: `lds.json` the
listeners, `cds.json` a cluster a model, `rds.json` the routes. Each carries a `version_info` made from its content, by
which Envoy's admin page tells what is in force.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from stopgap.errors import FrontError
from stopgap.front.clusters import cluster
from stopgap.front.listener import grpc_listener
from stopgap.front.routes import route_configuration
from stopgap.front.settings import FrontSettings, Upstream

__all__ = ["BOOTSTRAP", "CLUSTERS", "LISTENERS", "ROUTES", "FrontSettings", "Upstream", "configuration", "versions"]

BOOTSTRAP = "bootstrap.json"
CLUSTERS = "cds.json"
LISTENERS = "lds.json"
ROUTES = "rds.json"

_GRPC_ROUTES = "grpc"
# Connections from callers, each of which carries many requests.
_CALLERS = 4096


def configuration(settings: FrontSettings, upstreams: Iterable[Upstream]) -> Mapping[str, str]:
    """The front's files: name → JSON text. The same settings and upstreams, in any order, give the same texts.

    Raises:
        FrontError: Two upstreams share a name, or a socket path is too long.
    """
    ordered = _by_name(upstreams)
    listener = grpc_listener(settings, _GRPC_ROUTES, _watched(settings, ROUTES))
    return {
        BOOTSTRAP: _text(_bootstrap(settings)),
        CLUSTERS: _resources([cluster(settings, upstream) for upstream in ordered]),
        ROUTES: _resources([route_configuration(_GRPC_ROUTES, ordered)]),
        LISTENERS: _resources([listener]),
    }


def versions(files: Mapping[str, str]) -> dict[str, str]:
    """The `version_info` of each file that has one: all but the bootstrap."""
    parsed = {name: json.loads(text) for name, text in files.items()}
    return {name: content["version_info"] for name, content in parsed.items() if "version_info" in content}


def _by_name(upstreams: Iterable[Upstream]) -> list[Upstream]:
    ordered = sorted(upstreams, key=lambda upstream: upstream.name)
    for one, other in zip(ordered, ordered[1:]):
        if one.name == other.name:
            raise FrontError(f"Two models behind this address are called {one.name}.", "Give one another --name.")
    return ordered


def _bootstrap(settings: FrontSettings) -> dict[str, Any]:
    return {
        "node": {"id": "front", "cluster": "front"},
        # Its pages can end Envoy, so they are on a socket in a folder of the orchestrator's, never on a port. Envoy
        # has a uid of its own; the folder lets in nobody but the orchestrator's user, so the socket may be open.
        "admin": {
            "address": {"pipe": {"path": f"{settings.admin_folder}/admin.sock", "mode": 0o666}},
            "ignore_global_conn_limit": True,
        },
        "dynamic_resources": {
            "lds_config": _watched(settings, LISTENERS),
            "cds_config": _watched(settings, CLUSTERS),
        },
        "overload_manager": {"resource_monitors": [_connection_limit()]},
    }


def _connection_limit() -> dict[str, Any]:
    connections = "envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig"
    return {
        "name": "envoy.resource_monitors.global_downstream_max_connections",
        "typed_config": {
            "@type": f"type.googleapis.com/{connections}",
            "max_active_downstream_connections": _CALLERS,
        },
    }


def _watched(settings: FrontSettings, name: str) -> dict[str, Any]:
    """A file that is read again whenever something is renamed into its folder."""
    source = {"path": f"{settings.xds_folder}/{name}", "watched_directory": {"path": settings.xds_folder}}
    return {"path_config_source": source, "resource_api_version": "V3"}


def _resources(resources: list[dict[str, Any]]) -> str:
    version = hashlib.sha256(_text(resources).encode()).hexdigest()[:16]
    return _text({"version_info": version, "resources": resources})


def _text(content: object) -> str:
    return json.dumps(content, indent=1, sort_keys=True) + "\n"
