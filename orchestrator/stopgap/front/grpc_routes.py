"""The gRPC listener's routes: which cluster a request goes to, and what is said to one that none of them can take.

A request is routed by what the listener has read out of its `model_spec`. The texts are TF Serving's own
(server_core.cc, basic_manager.cc, get_model_status_impl.cc at 1.15); Envoy percent-encodes them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from stopgap.front.arm_log import OBSERVER_HEADER as COMPARISON_HEADER
from stopgap.front.descriptor import methods
from stopgap.front.mirroring import (
    OBSERVER_HEADER,
    PREDICT,
    asked_cluster,
    by_observer,
    compared_cluster,
    mirror_policies,
    mirrors_of,
    of_observer,
)
from stopgap.front.routes import Kind, answer, route_configuration, split_up, taken_over, to_model
from stopgap.front.settings import Takeover, Upstream

__all__ = ["FIELD_EXTRACTION", "MODEL_NAME", "MODEL_VERSION", "grpc_routes"]

# The filter that reads fields, which is also where it puts them, and the two that it reads.
FIELD_EXTRACTION = "envoy.filters.http.grpc_field_extraction"
MODEL_NAME = "model_spec.name"
MODEL_VERSION = "model_spec.version.value"

# In HTTP's words; the listener's replies have the table by which they become gRPC's.
_INVALID_ARGUMENT = 400
_NOT_FOUND = 404
_UNIMPLEMENTED = 501

# The caller's deadline holds, however long: the largest grpc-timeout that is honoured is told by a 0.
_AS_THE_CALLER_SAYS = {"max_stream_duration": {"grpc_timeout_header_max": "0s"}}

_GET_MODEL_STATUS = "/tensorflow.serving.ModelService/GetModelStatus"


def grpc_routes(name: str, upstreams: Mapping[str, Upstream], takeovers: Iterable[Takeover] = ()) -> dict[str, Any]:
    """The `envoy.config.route.v3.RouteConfiguration` of the gRPC listener."""
    return route_configuration(
        name,
        [
            *(route for upstream in upstreams.values() for route in _from_observers(upstream)),
            *(route for takeover in takeovers for route in _taken_over(takeover, upstreams)),
            *(route for upstream in upstreams.values() for route in _to_model(upstream)),
            *(_unknown_version(method) for method in methods()),
            *(_unknown_model(method) for method in methods()),
            *(_no_model(method) for method in methods()),
            _unknown_method(),
            _not_grpc(),
        ],
    )


def _from_observers(upstream: Upstream) -> Iterator[dict[str, Any]]:
    """What a model's observers ask first, which is never mirrored, and always the model's own to answer."""
    for token in upstream.observers:
        match = {**_named(upstream.name), "headers": by_observer(token)}
        route = to_model(of_observer(upstream), match, **_AS_THE_CALLER_SAYS)
        yield {
            **route,
            "route": {**route["route"], "cluster": asked_cluster(upstream.name)},
            "request_headers_to_remove": [*route["request_headers_to_remove"], OBSERVER_HEADER],
        }


def _to_model(upstream: Upstream) -> Iterator[dict[str, Any]]:
    """What is mirrored, then all the rest. What a comparison or a replay asks is no user's: else it recorded itself."""
    if mirrors_of(upstream):
        predictions = {name: value for name, value in _named(upstream.name).items() if name != "prefix"}
        predictions["path"] = PREDICT
        compared = {**predictions, "headers": [{"name": COMPARISON_HEADER, "present_match": True}]}
        asked = to_model(of_observer(upstream), compared, **_AS_THE_CALLER_SAYS)
        yield {**asked, "route": {**asked["route"], "cluster": compared_cluster(upstream.name)}}
        yield to_model(upstream, predictions, **_AS_THE_CALLER_SAYS, **mirror_policies(upstream))
    yield to_model(upstream, _named(upstream.name), **_AS_THE_CALLER_SAYS)


def _taken_over(takeover: Takeover, upstreams: Mapping[str, Upstream]) -> Iterator[dict[str, Any]]:
    """Before the model's own route, which then is for nobody; whoever answers, the legacy model's observers see it."""
    legacy = upstreams.get(takeover.name)
    for route in _by_whom(takeover, upstreams):
        if legacy is not None and mirrors_of(legacy):
            if route["route"].get("cluster") == legacy.name:
                yield _compared(route, legacy)
            yield _mirrored(route, legacy)
        yield route


def _by_whom(takeover: Takeover, upstreams: Mapping[str, Upstream]) -> Iterator[dict[str, Any]]:
    name, candidate = takeover.name, upstreams[takeover.candidate]
    if takeover.legacy:
        pinned = _named(name, _read(MODEL_VERSION, {"exact": str(takeover.version)}))
        yield taken_over(takeover, Kind.PINNED, upstreams[name], pinned, **_AS_THE_CALLER_SAYS)
    if takeover.split:
        yield split_up(takeover, takeover.split, upstreams, _named(name), **_AS_THE_CALLER_SAYS)
        yield taken_over(takeover, Kind.KEYLESS, upstreams[name], _named(name), **_AS_THE_CALLER_SAYS)
    else:
        yield taken_over(takeover, Kind.ALL, candidate, _named(name), **_AS_THE_CALLER_SAYS)


def _compared(route: Mapping[str, Any], upstream: Upstream) -> dict[str, Any]:
    """The same for what a comparison or a replay asks of the legacy model, which is not counted as users'."""
    action = {name: value for name, value in route["route"].items() if name != "retry_policy"}
    return {
        **_predictions(route, {"name": COMPARISON_HEADER, "present_match": True}),
        "route": {**action, "cluster": compared_cluster(upstream.name)},
    }


def _mirrored(route: Mapping[str, Any], upstream: Upstream) -> dict[str, Any]:
    """The same for what is mirrored of it: users' predictions, and not what a comparison asks."""
    return {
        **_predictions(route, {"name": COMPARISON_HEADER, "present_match": True, "invert_match": True}),
        "route": {**route["route"], **mirror_policies(upstream)},
    }


def _predictions(route: Mapping[str, Any], header: Mapping[str, Any]) -> dict[str, Any]:
    """The same for Predict alone, with such a header."""
    match = {name: value for name, value in route["match"].items() if name != "prefix"}
    return {**route, "match": {**match, "path": PREDICT, "headers": [*match.get("headers", ()), header]}}


def _named(name: str, *further: dict[str, Any]) -> dict[str, Any]:
    """A RouteMatch on the model's name, and on further fields of the message."""
    return {"prefix": "/", "grpc": {}, "dynamic_metadata": [_read(MODEL_NAME, {"exact": name}), *further]}


def _unknown_version(method: str) -> dict[str, Any]:
    """Of an unknown model: a known one's worker tells of its versions itself.

    None for version 0 either: on the wire its wrapper is empty, and nothing is read.
    """
    name, version = _written(MODEL_NAME), _written(MODEL_VERSION)
    text = (
        f"Could not find version {version} of model {name}"
        if method == _GET_MODEL_STATUS
        else f"Servable not found for request: Specific({name}, {version})"
    )
    return answer(_asks(method, MODEL_NAME, MODEL_VERSION), _NOT_FOUND, text)


def _unknown_model(method: str) -> dict[str, Any]:
    name = _written(MODEL_NAME)
    text = (
        f"Could not find any versions of model {name}"
        if method == _GET_MODEL_STATUS
        else f"Servable not found for request: Latest({name})"
    )
    return answer(_asks(method, MODEL_NAME), _NOT_FOUND, text)


def _no_model(method: str) -> dict[str, Any]:
    return answer(_asks(method), _INVALID_ARGUMENT, "Missing ModelSpec")


def _unknown_method() -> dict[str, Any]:
    return answer({"prefix": "/", "grpc": {}}, _UNIMPLEMENTED, "stopgap does not serve this method")


def _not_grpc() -> dict[str, Any]:
    text = "This address speaks gRPC: TensorFlow Serving's PredictionService and ModelService.\n"
    # What gRPC's specification asks for where the content type is not application/grpc.
    return answer({"prefix": "/"}, 415, text)


def _asks(method: str, *fields: str) -> dict[str, Any]:
    """A RouteMatch on the method, and on fields that say something."""
    something = {"safe_regex": {"regex": "(?s).+"}}
    return {"path": method, "grpc": {}, "dynamic_metadata": [_read(field, something) for field in fields]}


def _read(field: str, match: dict[str, Any]) -> dict[str, Any]:
    """A MetadataMatcher on a field of the message."""
    values = {"list_match": {"one_of": {"string_match": match}}}
    return {"filter": FIELD_EXTRACTION, "path": [{"key": field}], "value": values}


def _written(field: str) -> str:
    """The field in Envoy's format, its first 1024 bytes."""
    return f'%CEL(metadata.filter_metadata["{FIELD_EXTRACTION}"]["{field}"][0]):1024%'
