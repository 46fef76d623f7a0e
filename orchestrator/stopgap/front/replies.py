"""What Envoy itself answers when it cannot carry a request, said so that a caller can act on it."""

from __future__ import annotations

from typing import Any

from stopgap.front.settings import FrontSettings

__all__ = ["local_replies"]

_RESOURCE_EXHAUSTED = 8
_UNIMPLEMENTED = 12
_UNAVAILABLE = 14

_EXTRACTION = "grpc_field_extraction"


def local_replies(settings: FrontSettings) -> dict[str, Any]:
    """The `LocalReplyConfig`: the first filter that matches gives the status and the text."""
    return {
        "mappers": [
            # Field extraction calls a message that is larger than its buffer FAILED_PRECONDITION.
            _reply(
                _where(f'response.code_details.startsWith("{_EXTRACTION}_FAILED_PRECONDITION")'),
                _RESOURCE_EXHAUSTED,
                f"The request is larger than {settings.max_message_mib} MiB; raise the limit with --max-message-mib.",
            ),
            # It cannot look into a compressed message either, and calls it INVALID_ARGUMENT like one cut short.
            _reply(
                _where(
                    f'response.code_details.startsWith("{_EXTRACTION}_INVALID_ARGUMENT")'
                    ' && request.headers["grpc-encoding"] in ["gzip", "deflate", "snappy", "zstd"]'
                ),
                _UNIMPLEMENTED,
                "Compressed requests cannot be routed; send the message with grpc-encoding: identity.",
            ),
            _reply(
                _flags("UC", "UR"),
                _UNAVAILABLE,
                "The model's worker died while it had this request; it is being replaced.",
            ),
            _reply(
                _flags("UF", "UH", "NC"),
                _UNAVAILABLE,
                "The model's sandbox does not take this request: it is starting again, or has more than it can do.",
            ),
            _reply(_flags("UO"), _UNAVAILABLE, "Too many requests are waiting for this model."),
        ]
    }


def _reply(condition: dict[str, Any], code: int, text: str) -> dict[str, Any]:
    status = {"header": {"key": "grpc-status", "value": str(code)}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
    return {
        "filter": condition,
        "headers_to_add": [status],
        "body_format_override": {"text_format_source": {"inline_string": text}},
    }


def _where(expression: str) -> dict[str, Any]:
    """A condition in the Common Expression Language."""
    cel = "envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter"
    return {
        "extension_filter": {
            "name": "envoy.access_loggers.extension_filters.cel",
            "typed_config": {"@type": f"type.googleapis.com/{cel}", "expression": expression},
        }
    }


def _flags(*flags: str) -> dict[str, Any]:
    """A condition on Envoy's response flags, by their short names."""
    return {"response_flag_filter": {"flags": list(flags)}}
