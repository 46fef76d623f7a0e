"""What Envoy itself answers to a REST caller: always JSON, `{"error": …}` unless all is well."""

from __future__ import annotations

from typing import Any

from stopgap.front.replies import (
    FRONT_FULL,
    QUEUE_FULL,
    WORKER_DIED,
    WORKER_MISSING,
    again_later,
    flags,
    too_large,
    where,
)
from stopgap.front.settings import FrontSettings

__all__ = ["over_the_limit", "rest_replies"]

_LARGEST_LENGTH = 2**63 - 1
_NOT_READY = "Not ready: a model behind this address has no worker that answers its health check, or there is no model."


def rest_replies(settings: FrontSettings) -> dict[str, Any]:
    """The REST listener's `LocalReplyConfig`: the first filter that matches gives the text."""
    is_over = {"header_filter": {"header": over_the_limit(settings)}}
    was_cut = where('response.code_details == "request_payload_too_large"')
    return {
        "mappers": [
            {**_error(is_over, too_large(settings)), "status_code": 413},
            _error(was_cut, too_large(settings)),
            _reply(where("response.code == 200"), {"status": "ok"}),
            _error(where('response.code_details.startsWith("health_check_failed")'), _NOT_READY),
            _error(flags("UC", "UR"), WORKER_DIED),
            _error(flags("UF", "UH", "NC"), WORKER_MISSING),
            _overloaded(flags("UO"), QUEUE_FULL),
            _overloaded(where('response.code_details == "overload"'), FRONT_FULL),
            _error(where('response.code_details == "direct_response"'), "%LOCAL_REPLY_BODY%"),
        ],
        # What Envoy found wrong by itself: it has a word for everything, but not always a sentence.
        "body_format": {"json_format": {"error": "The request cannot be taken: %RESPONSE_CODE_DETAILS%"}},
    }


def over_the_limit(settings: FrontSettings) -> dict[str, Any]:
    """A HeaderMatcher for a request that says of itself that it is too large."""
    lengths = {"start": settings.max_message_bytes + 1, "end": _LARGEST_LENGTH}
    return {"name": "content-length", "range_match": lengths}


def _overloaded(condition: dict[str, Any], text: str) -> dict[str, Any]:
    return {**_error(condition, text), "status_code": 429, "headers_to_add": again_later("retry-after")}


def _error(condition: dict[str, Any], text: str) -> dict[str, Any]:
    return _reply(condition, {"error": text})


def _reply(condition: dict[str, Any], content: dict[str, str]) -> dict[str, Any]:
    """Envoy escapes what it puts into the texts of `content`."""
    return {"filter": condition, "body_format_override": {"json_format": content}}
