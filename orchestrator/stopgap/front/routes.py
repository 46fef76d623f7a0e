"""What both route configurations have in common: one table for every host, and how a request goes to a model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any

from stopgap.front.noting import callers_key, identity, share_held
from stopgap.front.settings import SHARES, Split, Takeover, Upstream
from stopgap.front.sunset_headers import sunset_headers

__all__ = [
    "ANSWERED_BY",
    "MODELS_HOST",
    "TAKEN_OVER",
    "Kind",
    "answer",
    "route_configuration",
    "split_up",
    "taken_over",
    "to_model",
]

MODELS_HOST = "models"
TAKEN_OVER = "takeover"
"""What begins a route's name where the name that was asked for is taken over: `takeover/KIND/` and what is counted."""

ANSWERED_BY = "stopgap-model"
"""The response header that names the model which has answered, whatever it was asked for as."""


class Kind(str, Enum):
    """Why a request for a name that is taken over goes where it goes."""

    PINNED = "pinned"  # to the legacy model's own version: to that
    KEYED = "keyed"  # told who asks: to the one of the two that this one always gets
    KEYLESS = "keyless"  # told nothing: to the legacy model
    ALL = "all"  # to the candidate


# What Envoy adds; it is none of a sandbox's business.
_CALLERS_ADDRESS = "x-envoy-external-address"


def route_configuration(name: str, routes: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """An `envoy.config.route.v3.RouteConfiguration`, the first match first."""
    return {
        "@type": "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
        "name": name,
        "virtual_hosts": [{"name": MODELS_HOST, "domains": ["*"], "routes": list(routes)}],
    }


def to_model(upstream: Upstream, match: dict[str, Any], **more: Any) -> dict[str, Any]:
    """The route of one model.

    Args:
        upstream: The model.
        match: Envoy's RouteMatch.
        more: Further fields of the RouteAction.
    """
    return {
        "match": match,
        "route": {
            "cluster": upstream.name,
            # No deadline of Envoy's own: `timeout` would otherwise be 15 s.
            "timeout": "0s",
            "idle_timeout": "0s",
            **({"retry_policy": _once_more()} if upstream.retried else {}),
            **more,
        },
        "request_headers_to_remove": [_CALLERS_ADDRESS],
        "response_headers_to_add": _told_by(upstream),
    }


def split_up(
    takeover: Takeover, split: Split, upstreams: Mapping[str, Upstream], match: dict[str, Any], **more: Any
) -> dict[str, Any]:
    """The route of those that one of two models answers, chosen by who asks.

    Args:
        takeover: Whose place is taken, and by whom.
        split: The takeover's.
        upstreams: Both models, by name.
        match: Envoy's RouteMatch of the model; that there is a key is added.
        more: Further fields of the RouteAction.
    """
    legacy, candidate = upstreams[takeover.name], upstreams[takeover.candidate]
    route = to_model(legacy, {**match, "headers": [*match.get("headers", ()), _has_key(split)]}, **more)
    action = {name: value for name, value in route["route"].items() if name not in ("cluster", "retry_policy")}
    # The candidate first: whom it has at a share it keeps at every larger one.
    weights = [(candidate, split.share), (legacy, SHARES - split.share)]
    return {
        **{name: value for name, value in route.items() if name != "response_headers_to_add"},
        "name": _name_of(takeover, Kind.KEYED),
        "metadata": share_held(split),
        "typed_per_filter_config": callers_key(split),
        "route": {
            **action,
            **({"retry_policy": _once_more()} if legacy.retried and candidate.retried else {}),
            "weighted_clusters": {
                "clusters": [
                    {"name": each.name, "weight": weight, "response_headers_to_add": [*_told_by(each), identity()]}
                    for each, weight in weights
                ],
                "use_hash_policy": True,
            },
            "hash_policy": [_hashed(split)],
        },
    }


def taken_over(
    takeover: Takeover, kind: Kind, upstream: Upstream, match: dict[str, Any], **more: Any
) -> dict[str, Any]:
    """A route of a name that has been taken over, to one of the two models."""
    return {**to_model(upstream, match, **more), "name": _name_of(takeover, kind)}


def answer(match: dict[str, Any], status: int, text: str) -> dict[str, Any]:
    """The route of what Envoy answers itself.

    Args:
        match: Envoy's RouteMatch.
        status: HTTP's.
        text: In Envoy's format; the listener's local replies make of it what its callers understand.
    """
    body = {"text_format_source": {"inline_string": text}}
    return {"match": match, "direct_response": {"status": status, "body_format": body}}


def _name_of(takeover: Takeover, kind: Kind) -> str:
    return f"{TAKEN_OVER}/{kind.value}/{takeover.counted}"


def _told_by(upstream: Upstream) -> list[dict[str, Any]]:
    """What goes with every answer; whatever the sandbox says of itself under these names is overwritten."""
    name = {"header": {"key": ANSWERED_BY, "value": upstream.name}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
    return [*sunset_headers(upstream), name]


def _has_key(split: Split) -> dict[str, Any]:
    return {"name": split.header, "string_match": {"safe_regex": {"regex": split.key}}}


def _hashed(split: Split) -> dict[str, Any]:
    """An Envoy HashPolicy on the key and the salt."""
    rewrite = {"pattern": {"regex": f"^(?:{split.key})$"}, "substitution": rf"\1:{split.salt}"}
    return {"header": {"header_name": split.header, "regex_rewrite": rewrite}}


def _once_more() -> dict[str, Any]:
    """Ask again in the retry lane, the priority that the request has not been at, where nothing runs beside it."""
    previous_priorities = "envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig"
    return {
        "retry_on": "reset,connect-failure",
        "num_retries": 1,
        "retry_priority": {
            "name": "envoy.retry_priorities.previous_priorities",
            "typed_config": {"@type": f"type.googleapis.com/{previous_priorities}", "update_frequency": 1},
        },
    }
