"""Envoy's routes: which cluster a request goes to, and what is said to a request that none of them can take.

A request is routed by the header `x-stopgap-model`, which the listener takes from `model_spec.name` and
percent-encodes as gRPC does its messages; beside it is `x-stopgap-version` where a version was asked for. The texts are
TF Serving's own (server_core.cc, basic_manager.cc, get_model_status_impl.cc at 1.15).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from stopgap.front.descriptor import methods
from stopgap.front.settings import Upstream

__all__ = ["MODEL_HEADER", "VERSION_HEADER", "route_configuration"]

MODEL_HEADER = "x-stopgap-model"
VERSION_HEADER = "x-stopgap-version"
_GET_MODEL_STATUS = "/tensorflow.serving.ModelService/GetModelStatus"

_INVALID_ARGUMENT = 3
_NOT_FOUND = 5
_UNIMPLEMENTED = 12


def route_configuration(name: str, upstreams: Iterable[Upstream]) -> dict[str, Any]:
    """The `envoy.config.route.v3.RouteConfiguration` of the gRPC listener, the first match first."""
    return {
        "@type": "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
        "name": name,
        "virtual_hosts": [
            {
                "name": "models",
                "domains": ["*"],
                "routes": [
                    *(_to_model(upstream) for upstream in upstreams),
                    *(_unknown_version(method) for method in methods()),
                    *(_unknown_model(method) for method in methods()),
                    *(_no_model(method) for method in methods()),
                    _unknown_method(),
                    _not_grpc(),
                ],
            }
        ],
    }


def _to_model(upstream: Upstream) -> dict[str, Any]:
    named = {"name": MODEL_HEADER, "string_match": {"exact": upstream.name}}
    return {
        "match": {"prefix": "/", "grpc": {}, "headers": [named]},
        "route": {
            "cluster": upstream.name,
            # No deadline but the caller's own: `timeout` would otherwise be 15 s, and the largest grpc-timeout
            # that is honoured is told by a 0.
            "timeout": "0s",
            "idle_timeout": "0s",
            "max_stream_duration": {"grpc_timeout_header_max": "0s"},
            **({"retry_policy": _once_more()} if upstream.retried else {}),
        },
        "request_headers_to_remove": [MODEL_HEADER, VERSION_HEADER],
    }


def _once_more() -> dict[str, Any]:
    """Ask again on a worker that has not had the request; on the same one, once it is back, if there is no other."""
    previous_hosts = "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
    return {
        "retry_on": "reset,connect-failure",
        "num_retries": 1,
        "retry_host_predicate": [
            {
                "name": "envoy.retry_host_predicates.previous_hosts",
                "typed_config": {"@type": f"type.googleapis.com/{previous_hosts}"},
            }
        ],
        "host_selection_retry_max_attempts": 5,
    }


def _unknown_version(method: str) -> dict[str, Any]:
    """Of an unknown model: a known one's worker tells of its versions itself."""
    name, version = f"%REQ({MODEL_HEADER})%", f"%REQ({VERSION_HEADER})%"
    text = (
        f"Could not find version {version} of model {name}"
        if method == _GET_MODEL_STATUS
        else f"Servable not found for request: Specific({name}, {version})"
    )
    present = [{"name": header, "present_match": True} for header in (MODEL_HEADER, VERSION_HEADER)]
    return _grpc_answer({"path": method, "grpc": {}, "headers": present}, _NOT_FOUND, text)


def _unknown_model(method: str) -> dict[str, Any]:
    name = f"%REQ({MODEL_HEADER})%"
    text = (
        f"Could not find any versions of model {name}"
        if method == _GET_MODEL_STATUS
        else f"Servable not found for request: Latest({name})"
    )
    match = {"path": method, "grpc": {}, "headers": [{"name": MODEL_HEADER, "present_match": True}]}
    return _grpc_answer(match, _NOT_FOUND, text)


def _no_model(method: str) -> dict[str, Any]:
    return _grpc_answer({"path": method, "grpc": {}}, _INVALID_ARGUMENT, "Missing ModelSpec")


def _unknown_method() -> dict[str, Any]:
    return _grpc_answer({"prefix": "/", "grpc": {}}, _UNIMPLEMENTED, "stopgap does not serve this method")


def _grpc_answer(match: dict[str, Any], code: int, message: str) -> dict[str, Any]:
    """An answer of headers alone, as gRPC's errors are.

    Args:
        match: Envoy's RouteMatch.
        code: gRPC's status code.
        message: Envoy's header format, percent-encoded where it is not a plain text.
    """
    headers = {"grpc-status": str(code), "grpc-message": message}
    return {
        "match": match,
        "direct_response": {"status": 200},
        "response_headers_to_add": [
            {"header": {"key": key, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
            for key, value in headers.items()
        ],
    }


def _not_grpc() -> dict[str, Any]:
    text = "This address speaks gRPC: TensorFlow Serving's PredictionService and ModelService.\n"
    return {
        "match": {"prefix": "/"},
        # What gRPC's specification asks for where the content type is not application/grpc.
        "direct_response": {"status": 415, "body": {"inline_string": text}},
    }
