"""What Envoy itself answers when it cannot carry a request: the conditions and texts that both listeners share."""

from __future__ import annotations

from typing import Any

from stopgap.client.status import WORKER_DIED
from stopgap.front.settings import FrontSettings

__all__ = [
    "FRONT_FULL",
    "NOT_ARRIVED",
    "QUEUE_FULL",
    "WORKER_DIED",
    "WORKER_MISSING",
    "again_later",
    "flags",
    "too_large",
    "where",
]

WORKER_MISSING = "The model's sandbox does not take this request: it is starting again, or has more than it can do."
QUEUE_FULL = "Too many requests are waiting for this model: ask again in a second, or serve it with more workers."
FRONT_FULL = "The front holds as many requests as its memory allows: ask again in a second."
NOT_ARRIVED = "The request did not arrive in time."
_AGAIN_AFTER_S = 1


def too_large(settings: FrontSettings) -> str:
    """The text for a request that does not fit."""
    return f"The request is larger than {settings.max_message_mib} MiB; raise the limit with --max-message-mib."


def where(expression: str) -> dict[str, Any]:
    """A condition in the Common Expression Language."""
    cel = "envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter"
    return {
        "extension_filter": {
            "name": "envoy.access_loggers.extension_filters.cel",
            "typed_config": {"@type": f"type.googleapis.com/{cel}", "expression": expression},
        }
    }


def again_later(*names: str) -> list[dict[str, Any]]:
    """Response headers by which a caller knows when to ask again.

    Args:
        names: `retry-after` is HTTP's, in seconds; `grpc-retry-pushback-ms` gRPC's, in milliseconds (gRFC A6).
    """
    values = {"retry-after": _AGAIN_AFTER_S, "grpc-retry-pushback-ms": _AGAIN_AFTER_S * 1000}
    return [_header(name, str(values[name])) for name in names]


def _header(key: str, value: str) -> dict[str, Any]:
    return {"header": {"key": key, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}


def flags(*names: str) -> dict[str, Any]:
    """A condition on Envoy's response flags, by their short names."""
    return {"response_flag_filter": {"flags": list(names)}}
