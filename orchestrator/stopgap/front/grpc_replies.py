"""What Envoy itself answers to a gRPC caller whose request it cannot carry: the status and the text."""

from __future__ import annotations

from typing import Any

from stopgap.front.replies import (
    FRONT_FULL,
    NOT_ARRIVED,
    QUEUE_FULL,
    WORKER_DIED,
    WORKER_MISSING,
    again_later,
    flags,
    too_large,
    where,
)
from stopgap.front.settings import FrontSettings

__all__ = ["grpc_replies"]

_INVALID_ARGUMENT = 3
_DEADLINE_EXCEEDED = 4
_NOT_FOUND = 5
_RESOURCE_EXHAUSTED = 8
_UNIMPLEMENTED = 12
_UNAVAILABLE = 14

# A route can answer in HTTP's statuses only.
_OF_A_ROUTE = {400: _INVALID_ARGUMENT, 404: _NOT_FOUND, 501: _UNIMPLEMENTED}

_EXTRACTION = "grpc_field_extraction"


def grpc_replies(settings: FrontSettings) -> dict[str, Any]:
    """The gRPC listener's `LocalReplyConfig`: the first filter that matches gives the status and the text."""
    # Field extraction calls a message that is larger than its buffer FAILED_PRECONDITION.
    does_not_fit = where(
        'response.code_details == "request_payload_too_large"'
        f' || response.code_details.startsWith("{_EXTRACTION}_FAILED_PRECONDITION")'
    )
    # It cannot look into a compressed message either, and calls it INVALID_ARGUMENT like one cut short.
    is_compressed = where(
        f'response.code_details.startsWith("{_EXTRACTION}_INVALID_ARGUMENT")'
        ' && request.headers["grpc-encoding"] in ["gzip", "deflate", "snappy", "zstd"]'
    )
    compressed = "Compressed requests cannot be routed; send the message with grpc-encoding: identity."
    return {
        "mappers": [
            _reply(does_not_fit, _RESOURCE_EXHAUSTED, too_large(settings)),
            _reply(is_compressed, _UNIMPLEMENTED, compressed),
            _reply(where('response.code_details == "request_overall_timeout"'), _DEADLINE_EXCEEDED, NOT_ARRIVED),
            _reply(flags("UC", "UR"), _UNAVAILABLE, WORKER_DIED),
            _reply(flags("UF", "UH", "NC"), _UNAVAILABLE, WORKER_MISSING),
            _overloaded(flags("UO"), QUEUE_FULL),
            _overloaded(where('response.code_details == "overload"'), FRONT_FULL),
            *(_reply(_answered(status), code, "%LOCAL_REPLY_BODY%") for status, code in _OF_A_ROUTE.items()),
        ]
    }


def _answered(status: int) -> dict[str, Any]:
    """By a route, which has the text already."""
    return where(f'response.code_details == "direct_response" && response.code == {status}')


def _overloaded(condition: dict[str, Any], text: str) -> dict[str, Any]:
    reply = _reply(condition, _RESOURCE_EXHAUSTED, text)
    return {**reply, "headers_to_add": [*reply["headers_to_add"], *again_later("grpc-retry-pushback-ms")]}


def _reply(condition: dict[str, Any], code: int, text: str) -> dict[str, Any]:
    status = {"header": {"key": "grpc-status", "value": str(code)}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
    return {
        "filter": condition,
        "headers_to_add": [status],
        "body_format_override": {"text_format_source": {"inline_string": text}},
    }
