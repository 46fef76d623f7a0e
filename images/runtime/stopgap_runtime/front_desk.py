"""Sends each request of a worker's socket to the face that it is for, and turns failures into that face's words."""

from __future__ import annotations

import traceback
from collections.abc import Callable

from . import grpc_wire, rest_api
from .faults import Code, Fault
from .grpc_api import GrpcApi
from .http11 import Request, Response
from .rest_api import RestApi

__all__ = ["HEALTH", "FrontDesk", "refusal"]

HEALTH = "/healthz"


class FrontDesk:
    """Answers every request, whoever asks and whatever goes wrong."""

    def __init__(self, grpc_api: GrpcApi, rest_api: RestApi) -> None:
        self._grpc_api = grpc_api
        self._rest_api = rest_api

    def answer(self, request: Request) -> Response:
        """One request's response; never raises."""
        if _is_grpc(request):
            return _answered(self._by_grpc, request, grpc_wire.failure)
        if rest_api.is_for_rest(request.path):
            return _answered(self._rest_api.answer, request, rest_api.failure)
        if request.path == HEALTH:
            return Response(200, {"content-type": "text/plain"}, (b"ok\n",))
        return Response(404, {"content-type": "text/plain"}, (b"this socket speaks gRPC, and JSON below /v1/\n",))

    def _by_grpc(self, request: Request) -> Response:
        timeout_s = grpc_wire.timeout_s_of(request)
        return grpc_wire.success(self._grpc_api.call(request.path, grpc_wire.message_of(request), timeout_s))


def refusal(request: Request, fault: Fault) -> Response:
    """A failure in the words of the face that the request is for."""
    return grpc_wire.failure(fault) if _is_grpc(request) else rest_api.failure(fault)


def _is_grpc(request: Request) -> bool:
    return request.headers.get("content-type", "").startswith("application/grpc")


def _answered(
    answer: Callable[[Request], Response], request: Request, failure: Callable[[Fault], Response]
) -> Response:
    try:
        return answer(request)
    except Fault as fault:
        return failure(fault)
    except MemoryError:
        return failure(Fault(Code.RESOURCE_EXHAUSTED, "the sandbox's memory does not suffice for this request"))
    except Exception:  # noqa: BLE001 - the caller must get an answer, and the other callers theirs
        traceback.print_exc()
        return failure(Fault(Code.INTERNAL, "the runtime failed on this request; its log says how"))
