"""One worker: lays down its rights, then loads the model, then serves one socket. Untrusted from then on."""

from __future__ import annotations

import os
import select
import signal
import socket
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import FrameType
from typing import Final, NoReturn

from . import kernel
from .admission import Desk, closed, noted, screened, watched, written_down
from .birth import end
from .capi import TensorFlow
from .duty import Duty
from .faults import Fault
from .front_desk import FrontDesk
from .grpc_api import GrpcApi
from .grpc_wire import FRAME_HEADER_BYTES
from .keepsake import Keepsake
from .predict import DataPlane
from .quarantine import Quarantine
from .rest_api import RestApi
from .scoreboard import Scoreboard, Stage
from .servable import Servable
from .server import Server
from .settings import ServeSettings

__all__ = ["BESIDES_ITS_RUN_S", "LOADED", "LOAD_FAILED", "Inheritance", "lay_down_rights", "turn_away", "work"]

BESIDES_ITS_RUN_S: Final = 300.0  # to take the largest requests apart and put their answers together, many at once
LOADED = "loaded"
LOAD_FAILED = "failed"


@dataclass(frozen=True)
class Inheritance:
    """What the parent hands to a worker.

    Attributes:
        name: What the process is called.
        control: Descriptor to report on, once: `loaded <1 if the model changes state>` or `failed <code> <text>`.
        warm_up: False after a worker died of its warm-up. Without, no run takes place in its caller's thread.
        memory_bytes: What it may have beyond what it starts with; 0 for as much as there is.
        keepsake: Where the retry lane keeps each request, if it may.
    """

    name: str
    duty: Duty
    settings: ServeSettings
    tensorflow: TensorFlow
    listener: socket.socket
    scoreboard: Scoreboard
    quarantine: Quarantine
    control: int
    warm_up: bool
    memory_bytes: int
    keepsake: Keepsake | None

    @property
    def descriptors(self) -> tuple[int, ...]:
        """What the worker's process needs beyond the standard ones: listener, control, and its pages."""
        shared = self.scoreboard, self.quarantine, self.keepsake
        pages = (each.descriptor for each in shared if each is not None)
        return self.listener.fileno(), self.control, *pages

    def mapped(self) -> Inheritance:
        """The same in a process that was just forked, which has no mapping of these pages yet.

        The parent's objects must live on: to free one would unmap whatever has taken its addresses meanwhile.
        """
        return replace(
            self,
            scoreboard=Scoreboard(self.scoreboard.connections, self.scoreboard.descriptor),
            quarantine=Quarantine(self.quarantine.descriptor),
            keepsake=None if self.keepsake is None else Keepsake(self.keepsake.descriptor),
        )


class _DrainRequested(Exception):
    pass


def work(inheritance: Inheritance) -> NoReturn:
    """Serves the model until SIGTERM and ends the process."""
    _end_after(inheritance, lambda: _serve(inheritance))


def turn_away(inheritance: Inheritance, why: str, until: float) -> NoReturn:
    """In place of `work`, for as long as the model is not run: no model is loaded, nothing is read but a head."""
    desk = closed(inheritance.settings.name, why, until, others=inheritance.duty is Duty.ASIDE)

    def refuse() -> int:
        _limit_memory(inheritance)
        return _answer_all(inheritance, desk, changes_state=False)

    _end_after(inheritance, refuse)


def lay_down_rights(listener: socket.socket | None = None) -> None:
    """What every worker does before it reads anything: from here on it can do what inference needs, and no more."""
    kernel.confine(None if listener is None else listener.fileno())


def _end_after(inheritance: Inheritance, serve: Callable[[], int]) -> NoReturn:
    exit_code = 1
    try:
        kernel.call_process(inheritance.name)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
        signal.signal(signal.SIGTERM, _on_sigterm)
        if inheritance.duty is Duty.ASIDE:
            kernel.give_way()
        lay_down_rights(inheritance.listener)
        exit_code = serve()
    except _DrainRequested:  # while it was loading
        exit_code = 0
    except Exception:  # noqa: BLE001 - said here, and not in the parent's frames
        traceback.print_exc()
    finally:
        end(exit_code)


def _on_sigterm(_signal: int, _frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise _DrainRequested


def _serve(inheritance: Inheritance) -> int:
    settings, scoreboard = inheritance.settings, inheritance.scoreboard
    _limit_memory(inheritance)
    try:
        servable = _loaded(inheritance)
    except Fault as fault:
        _report(inheritance.control, f"{LOAD_FAILED} {int(fault.code)} {fault.text}")
        return 1
    data_plane = DataPlane(
        settings.name,
        settings.model_version,
        servable,
        also_called=settings.also_called,
        run_timeout_s=settings.run_timeout_s,
        largest_bytes=settings.max_message_bytes,
        overdue_after=scoreboard.busy_until,
    )
    front_desk = FrontDesk(GrpcApi(data_plane), RestApi(data_plane, settings.max_message_bytes))
    desk: Desk = front_desk.answer
    if inheritance.duty is Duty.ALONE:
        desk = written_down(desk, scoreboard, inheritance.keepsake)
    if inheritance.duty is not Duty.USERS:
        desk = noted(desk, scoreboard)
    desk = watched(desk, scoreboard, settings.run_timeout_s + BESIDES_ITS_RUN_S)
    desk = screened(desk, settings.name, inheritance.quarantine)
    return _answer_all(inheritance, desk, changes_state=servable.changes_any_state)


def _answer_all(inheritance: Inheritance, desk: Desk, *, changes_state: bool) -> int:
    settings, alone = inheritance.settings, inheritance.duty is Duty.ALONE
    server = Server(
        inheritance.listener,
        desk,
        connections=1 if alone else settings.connections,
        keeps_alive=not alone,
        show_life=inheritance.scoreboard.show_life,
        max_body_bytes=settings.max_message_bytes + FRAME_HEADER_BYTES,
    )
    inheritance.scoreboard.stage = Stage.SERVING
    _report(inheritance.control, f"{LOADED} {int(changes_state)}")
    try:
        server.serve()
    except _DrainRequested:
        server.drain(settings.drain_timeout_s)
    return 0


def _limit_memory(inheritance: Inheritance) -> None:
    if inheritance.memory_bytes:
        kernel.limit_memory(inheritance.memory_bytes)


def _loaded(inheritance: Inheritance) -> Servable:
    settings, scoreboard = inheritance.settings, inheritance.scoreboard
    scoreboard.stage = Stage.LOADING
    servable = Servable.load(
        inheritance.tensorflow,
        settings.model,
        tags=settings.tags,
        op_libraries=settings.op_libraries,
        given=settings.given_signatures,
        tensors_allowed=settings.tensors_allowed,
        threads=settings.threads,
        load_timeout_s=settings.load_timeout_s,
    )
    if inheritance.warm_up:
        scoreboard.stage = Stage.WARMING
        servable.warm_up(longest_run_s=settings.run_timeout_s)
    return servable


def _report(control: int, text: str) -> None:
    os.write(control, text.encode()[: select.PIPE_BUF])
    os.close(control)
