"""Envoy's configuration from a front's settings and upstreams, as the files that Envoy watches: pure.

`bootstrap.json` names the others, directly or by the listeners, and Envoy reads each again whenever it is replaced:
`lds.json` the listeners, `cds.json` a cluster a model, `rds.json` gRPC's routes, `rest_rds.json` those of REST,
`ecds.json` what `/readyz` looks at. Each carries a `version_info` made from its content, by which Envoy's admin page
tells what is in force.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from stopgap.containment.specs import front_memory_mib
from stopgap.errors import FrontError
from stopgap.front.clusters import cluster
from stopgap.front.grpc_listener import GRPC_LISTENER, grpc_listener
from stopgap.front.grpc_routes import grpc_routes
from stopgap.front.ledger_log import ledger_cluster
from stopgap.front.mirroring import observer_clusters
from stopgap.front.readiness import readiness
from stopgap.front.rest_listener import REST_LISTENER, rest_listener
from stopgap.front.rest_routes import rest_routes
from stopgap.front.settings import FrontSettings, Mirror, Takeover, Upstream

__all__ = [
    "BOOTSTRAP",
    "CLUSTERS",
    "GRPC_ROUTES",
    "LISTENERS",
    "READINESS",
    "REST_ROUTES",
    "FrontSettings",
    "Mirror",
    "Takeover",
    "Upstream",
    "configuration",
    "versions",
]

BOOTSTRAP = "bootstrap.json"
CLUSTERS = "cds.json"
LISTENERS = "lds.json"
GRPC_ROUTES = "rds.json"
REST_ROUTES = "rest_rds.json"
READINESS = "ecds.json"

# Connections from callers, each of which carries many requests.
_CALLERS = 4096
_HEAP = "envoy.resource_monitors.fixed_heap"
# Parts of the memory that its container has.
_SHRINKS_AT, _REFUSES_AT, _RESETS_FROM = 0.5, 0.6, 0.7
_LARGE_IS_POWER_OF_TWO = 20  # a MiB


def configuration(
    settings: FrontSettings, upstreams: Iterable[Upstream], takeovers: Iterable[Takeover] = ()
) -> Mapping[str, str]:
    """The front's files: name → JSON text. The same settings and models, in any order, give the same texts.

    Raises:
        FrontError: Two upstreams share a name, a socket path is too long, or a takeover is of an upstream that is not
            there.
    """
    ordered = _by_name(upstreams)
    named = {upstream.name: upstream for upstream in ordered}
    taken = sorted(takeovers, key=lambda takeover: takeover.name)
    for takeover in taken:
        _check(takeover, named)
    grpc = grpc_listener(settings, _watched(settings, GRPC_ROUTES))
    rest = rest_listener(settings, _watched(settings, REST_ROUTES), _watched(settings, READINESS))
    return {
        BOOTSTRAP: _text(_bootstrap(settings)),
        CLUSTERS: _resources(
            [ledger_cluster(settings), *(each for upstream in ordered for each in _clusters(settings, upstream))]
        ),
        GRPC_ROUTES: _resources([grpc_routes(GRPC_LISTENER, named, taken)]),
        REST_ROUTES: _resources([rest_routes(REST_LISTENER, named, taken)]),
        READINESS: _resources([readiness(ordered)]),
        LISTENERS: _resources([grpc, rest]),
    }


def versions(files: Mapping[str, str]) -> dict[str, str]:
    """The `version_info` of each file that has one: all but the bootstrap."""
    parsed = {name: json.loads(text) for name, text in files.items()}
    return {name: content["version_info"] for name, content in parsed.items() if "version_info" in content}


def _clusters(settings: FrontSettings, upstream: Upstream) -> list[dict[str, Any]]:
    return [cluster(settings, upstream), *observer_clusters(settings, upstream)]


def _by_name(upstreams: Iterable[Upstream]) -> list[Upstream]:
    ordered = sorted(upstreams, key=lambda upstream: upstream.name)
    for one, other in zip(ordered, ordered[1:]):
        if one.name == other.name:
            raise FrontError(f"Two models behind this address are called {one.name}.", "Give one another --name.")
    return ordered


def _check(takeover: Takeover, upstreams: Mapping[str, Upstream]) -> None:
    needed = {takeover.candidate, *([takeover.name] if takeover.legacy or takeover.split else [])}
    missing = sorted(needed - upstreams.keys())
    if missing:
        raise FrontError(f"{takeover.name} cannot be taken over: the front has no {' and no '.join(missing)}.")


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
        "overload_manager": {
            "refresh_interval": "0.05s",
            "resource_monitors": [_connection_limit(), _memory_limit(settings)],
            # It gives back what it no longer needs, then refuses, and then ends the requests that hold most, if they
            # came over HTTP/2: a front that outgrows its container is ended by the kernel, with all that it holds.
            "buffer_factory_config": {"minimum_account_to_track_power_of_two": _LARGE_IS_POWER_OF_TWO},
            "actions": [
                _action("shrink_heap", _SHRINKS_AT),
                _action("stop_accepting_requests", _REFUSES_AT),
                _action("reset_high_memory_stream", _RESETS_FROM, 1.0),
            ],
        },
    }


def _memory_limit(settings: FrontSettings) -> dict[str, Any]:
    heap = "envoy.extensions.resource_monitors.fixed_heap.v3.FixedHeapConfig"
    return {
        "name": _HEAP,
        "typed_config": {
            "@type": f"type.googleapis.com/{heap}",
            "max_heap_size_bytes": front_memory_mib(settings.max_message_mib) * 2**20,
        },
    }


def _action(name: str, threshold: float, saturation: float | None = None) -> dict[str, Any]:
    """What Envoy does from a part of its memory on; by degrees up to another, if there is one."""
    if saturation is None:
        trigger: dict[str, Any] = {"threshold": {"value": threshold}}
    else:
        trigger = {"scaled": {"scaling_threshold": threshold, "saturation_threshold": saturation}}
    return {"name": f"envoy.overload_actions.{name}", "triggers": [{"name": _HEAP, **trigger}]}


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
