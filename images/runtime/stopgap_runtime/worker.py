"""One worker: lays down its rights, then loads the model, then serves one socket. Untrusted from then on."""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import traceback
from dataclasses import dataclass
from types import FrameType
from typing import NoReturn

from . import kernel
from .capi import TensorFlow
from .faults import Code, Fault
from .grpc_api import GrpcApi
from .grpc_wire import FRAME_HEADER_BYTES, failure, message_of, success, timeout_s_of
from .http11 import Request, Response
from .predict import DataPlane
from .scoreboard import Scoreboard, Stage
from .servable import Servable
from .server import Server
from .settings import ServeSettings

__all__ = ["LOADED", "LOAD_FAILED", "Inheritance", "work"]

LOADED = "loaded"
LOAD_FAILED = "failed"


@dataclass(frozen=True)
class Inheritance:
    """What the parent hands to a worker.

    Attributes:
        control: Descriptor to report on, once: `loaded <1 if the model changes state>` or `failed <code> <text>`.
        warm_up: False after a worker died of its warm-up.
    """

    settings: ServeSettings
    tensorflow: TensorFlow
    listener: socket.socket
    scoreboard: Scoreboard
    control: int
    warm_up: bool


class _DrainRequested(Exception):
    pass


def work(inheritance: Inheritance) -> NoReturn:
    """Serves until SIGTERM and ends the process; never returns to the parent's code."""
    exit_code = 1
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
        signal.signal(signal.SIGTERM, _on_sigterm)
        kernel.confine()
        exit_code = _serve(inheritance)
    except _DrainRequested:  # while it was loading
        exit_code = 0
    except Exception:  # noqa: BLE001 - a forked child must not unwind into the parent's frames
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(exit_code)


def _on_sigterm(_signal: int, _frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise _DrainRequested


def _serve(inheritance: Inheritance) -> int:
    settings, scoreboard = inheritance.settings, inheritance.scoreboard
    try:
        servable = _loaded(inheritance)
    except Fault as fault:
        _report(inheritance.control, f"{LOAD_FAILED} {int(fault.code)} {fault.text}")
        return 1
    data_plane = DataPlane(
        settings.name,
        settings.model_version,
        servable,
        run_timeout_s=settings.run_timeout_s,
        largest_bytes=settings.max_message_bytes,
        overdue_after=scoreboard.run_until,
    )
    front_desk = _FrontDesk(GrpcApi(data_plane))
    server = Server(
        inheritance.listener,
        front_desk.answer,
        connections=settings.connections,
        max_body_bytes=settings.max_message_bytes + FRAME_HEADER_BYTES,
    )
    scoreboard.stage = Stage.SERVING
    _report(inheritance.control, f"{LOADED} {int(servable.changes_any_state)}")
    try:
        server.serve()
    except _DrainRequested:
        server.drain(settings.drain_timeout_s)
    return 0


def _loaded(inheritance: Inheritance) -> Servable:
    settings, scoreboard = inheritance.settings, inheritance.scoreboard
    scoreboard.stage = Stage.LOADING
    servable = Servable.load(
        inheritance.tensorflow,
        settings.model,
        tags=settings.tags,
        op_libraries=settings.op_libraries,
        threads=settings.threads,
        load_timeout_s=settings.load_timeout_s,
    )
    if inheritance.warm_up:
        scoreboard.stage = Stage.WARMING
        servable.warm_up()
    return servable


def _report(control: int, text: str) -> None:
    os.write(control, text.encode()[: select.PIPE_BUF])
    os.close(control)


class _FrontDesk:
    """Sends each request to the face that it is for, and turns every failure into that face's words."""

    def __init__(self, grpc_api: GrpcApi) -> None:
        self._grpc_api = grpc_api

    def answer(self, request: Request) -> Response:
        """One request's response; never raises."""
        if request.path == "/healthz":
            return Response(200, {"content-type": "text/plain"}, (b"ok\n",))
        if not request.headers.get("content-type", "").startswith("application/grpc"):
            return Response(415, {"content-type": "text/plain"}, (b"this socket speaks gRPC\n",))
        try:
            timeout_s = timeout_s_of(request)
            return success(self._grpc_api.call(request.path, message_of(request), timeout_s))
        except Fault as fault:
            return failure(fault)
        except MemoryError:
            return failure(Fault(Code.RESOURCE_EXHAUSTED, "the sandbox's memory does not suffice for this request"))
        except Exception:  # noqa: BLE001 - the caller must get an answer, and the other callers theirs
            traceback.print_exc()
            return failure(Fault(Code.INTERNAL, "the runtime failed on this request; its log says how"))
