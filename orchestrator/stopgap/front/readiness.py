"""`/readyz`: whether every model behind a front has a worker that answers, as an Envoy filter with a file of its own.

A filter's configuration that has a file of its own can follow the models that join and leave: the listener that it
belongs to is left alone, and with it its connections.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from stopgap.front.settings import Upstream

__all__ = ["READINESS_FILTER", "readiness", "readiness_filter"]

READINESS_FILTER = "readiness"
_HEALTH_CHECK = "type.googleapis.com/envoy.extensions.filters.http.health_check.v3.HealthCheck"

# A cluster that is not there is not healthy, and no model's name has a space.
_NO_MODEL = "no model"


def readiness_filter(source: dict[str, Any]) -> dict[str, Any]:
    """The listener's filter, whose configuration comes from `source`."""
    return {"name": READINESS_FILTER, "config_discovery": {"config_source": source, "type_urls": [_HEALTH_CHECK]}}


def readiness(upstreams: Iterable[Upstream]) -> dict[str, Any]:
    """Its configuration, an `envoy.config.core.v3.TypedExtensionConfig`."""
    percentages = {upstream.name: _least_percent(upstream) for upstream in upstreams if not upstream.only_observed} or {
        _NO_MODEL: 1.0
    }
    return {
        "@type": "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig",
        "name": READINESS_FILTER,
        "typed_config": {
            "@type": _HEALTH_CHECK,
            "pass_through_mode": False,
            "headers": [{"name": ":path", "string_match": {"safe_regex": {"regex": "/readyz(?:[?].*)?"}}}],
            "cluster_min_healthy_percentages": {name: {"value": percent} for name, percent in percentages.items()},
        },
    }


def _least_percent(upstream: Upstream) -> float:
    """One worker is enough. Envoy counts the retry lane among them, and always as healthy."""
    lanes = 1 if upstream.retried else 0
    return 100 * (lanes + 0.5) / (upstream.workers + lanes)
