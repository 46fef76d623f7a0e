"""The REST listener's routes: a model by its name in the path, and TF Serving's words for what none of them can take.

The paths are those of TF Serving (http_rest_api_handler.cc at 1.15), and so are the texts (server_core.cc,
basic_manager.cc, get_model_status_impl.cc). What a caller has written goes into an answer through the listener's JSON
format, which escapes it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from stopgap.front.routes import Kind, answer, route_configuration, split_up, taken_over, to_model
from stopgap.front.settings import Takeover, Upstream

__all__ = ["NAME_FROM_PATH", "REST_COUNTED", "rest_routes"]

REST_COUNTED = "rest."

NAME_FROM_PATH = "envoy.filters.http.header_to_metadata"
_NOTES = "stopgap.path"

_MODELS = "(?i:/v1/models)"
_NAME = "/[^/:?]+"
_VERSION = "(?i:/versions)/[0-9]+"
_PREDICTION = ":(?:classify|regress|predict)"
_METADATA = "/metadata"


@dataclass(frozen=True)
class _Refusal:
    """What is said to a request that no model's route has taken; the text may have `{name}` and `{version}` in it."""

    method: str
    path: str
    status: int
    text: str


_NO_SERVABLE = "Servable not found for request: Latest({name})"
_NO_SUCH_SERVABLE = "Servable not found for request: Specific({name}, {version})"
_REFUSALS = (
    _Refusal("POST", _MODELS + _NAME + _PREDICTION, 404, _NO_SERVABLE),
    _Refusal("POST", _MODELS + _NAME + _VERSION + _PREDICTION, 404, _NO_SUCH_SERVABLE),
    _Refusal("GET", _MODELS + _NAME + _METADATA, 404, _NO_SERVABLE),
    _Refusal("GET", _MODELS + _NAME + _VERSION + _METADATA, 404, _NO_SUCH_SERVABLE),
    _Refusal("GET", _MODELS + _NAME, 404, "Could not find any versions of model {name}"),
    _Refusal("GET", _MODELS + _NAME + _VERSION, 404, "Could not find version {version} of model {name}"),
    _Refusal("GET", f"{_MODELS}(?:{_VERSION})?(?:{_METADATA})?", 400, "Missing model name in request."),
)


def rest_routes(name: str, upstreams: Mapping[str, Upstream], takeovers: Iterable[Takeover] = ()) -> dict[str, Any]:
    """The `envoy.config.route.v3.RouteConfiguration` of the REST listener."""
    return route_configuration(
        name,
        [
            *(route for takeover in takeovers for route in _taken_over(takeover, upstreams)),
            *(_to_model(upstream) for upstream in upstreams.values()),
            _alive(),
            *(_refused(refusal) for refusal in _REFUSALS),
            _malformed(),
            _not_ours(),
        ],
    )


def _to_model(upstream: Upstream) -> dict[str, Any]:
    """Whatever is below the model's name is its worker's to understand or to refuse."""
    return _counted(to_model(upstream, _below(upstream.name)), upstream)


def _taken_over(takeover: Takeover, upstreams: Mapping[str, Upstream]) -> Iterator[dict[str, Any]]:
    """Before the model's own route, which then is for nobody."""
    name, candidate = takeover.name, upstreams[takeover.candidate]
    if takeover.legacy:
        pinned = _path(f"{_MODELS}/{re.escape(name)}(?i:/versions)/0*{takeover.version}(?:[/:].*)?")
        yield _counted(taken_over(takeover, Kind.PINNED, upstreams[name], pinned), upstreams[name])
    if takeover.split:
        # Which of the two has answered Envoy counts elsewhere: a route has but one prefix.
        yield split_up(takeover, takeover.split, upstreams, _below(name))
        yield _counted(taken_over(takeover, Kind.KEYLESS, upstreams[name], _below(name)), upstreams[name])
    else:
        yield _counted(taken_over(takeover, Kind.ALL, candidate, _below(name)), candidate)


def _counted(route: dict[str, Any], upstream: Upstream) -> dict[str, Any]:
    """So that Envoy counts REST's answers apart from gRPC's, which go to the same cluster."""
    return {**route, "stat_prefix": f"{REST_COUNTED}{upstream.name}"}


def _below(name: str) -> dict[str, Any]:
    return _path(f"{_MODELS}/{re.escape(name)}(?:[/:].*)?")


def _alive() -> dict[str, Any]:
    return {"match": {"path": "/healthz"}, "direct_response": {"status": 200}}


def _refused(refusal: _Refusal) -> dict[str, Any]:
    method = {"name": ":method", "string_match": {"exact": refusal.method}}
    notes = {note: f"%DYNAMIC_METADATA({_NOTES}:{note})%" for note in ("name", "version")}
    return {
        **answer({**_path(refusal.path), "headers": [method]}, refusal.status, refusal.text.format(**notes)),
        "typed_per_filter_config": {NAME_FROM_PATH: _name_from_path()},
    }


def _name_from_path() -> dict[str, Any]:
    return {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.header_to_metadata.v3.Config",
        "request_rules": [
            _note("name", f"^{_MODELS}/([^/:?]+).*$"),
            _note("version", f"^{_MODELS}{_NAME}(?i:/versions)/0*([0-9]+).*$"),
        ],
    }


def _note(key: str, path: str) -> dict[str, Any]:
    """The rule that keeps the group of `path`, which here has its query behind it."""
    rewrite = {"pattern": {"regex": path}, "substitution": r"\1"}
    value = {"metadata_namespace": _NOTES, "key": key, "regex_value_rewrite": rewrite}
    return {"header": ":path", "on_header_present": value}


def _malformed() -> dict[str, Any]:
    return answer(_path("(?i:/v1/).*"), 400, "Malformed request: %REQ(:METHOD)% %PATH(NQ:PATH)%")


def _not_ours() -> dict[str, Any]:
    return answer({"prefix": "/"}, 404, "This address has /v1/models/NAME, /healthz and /readyz, and nothing else.")


def _path(regex: str) -> dict[str, Any]:
    """A RouteMatch on the whole path, without its query."""
    return {"safe_regex": {"regex": regex}}
