"""What can go wrong with a deployment, done on purpose."""

from __future__ import annotations

import enum
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Final

from stopgap.client.channel import ServingChannel
from stopgap.containment.specs import front_container, sandbox_container
from stopgap.errors import PredictionError

from tests.backstage import workers_of
from tests.chaos.load import Window
from tests.chaos.requests import bomb, poison
from tests.stopgap_program import Program

__all__ = ["FRONTS", "HEAVY", "Chaos", "Fault", "drawn"]

# How long a model may take to be back: what this model's load takes is a few hundredths of a second.
BACK_S: Final = 2.0
# A container is brought back by its engine, which first has to notice.
CONTAINER_BACK_S: Final = 4.0
FRONT_BACK_S: Final = 1.0
PATIENCE_S: Final = 10.0
CHUNK: Final = bytes(1 << 20)


class Fault(enum.Enum):
    """One thing that goes wrong."""

    WORKER_KILLED = "a worker is killed"
    WORKER_STOPPED = "a worker is stopped"
    POISON = "a request ends its worker"
    BOMB = "a request asks for all memory"
    TMP_FULL = "no room is left in /tmp"
    SANDBOX_KILLED = "the sandbox is killed"
    FRONT_RESTARTED = "the front is told to end, and comes back"
    FRONT_KILLED = "the front is killed"


FRONTS: Final = (Fault.FRONT_RESTARTED, Fault.FRONT_KILLED)
HEAVY: Final = (Fault.SANDBOX_KILLED, *FRONTS)
LIGHT: Final = tuple(fault for fault in Fault if fault not in HEAVY)
EVERY_S: Final = 5.0
HEAVY_EVERY: Final = 3  # faults, so every 15 s


def drawn(random: Random, seconds: float) -> list[Fault]:
    """A fault every five seconds, each third a heavy one; every kind before any comes again."""
    light, heavy = _shuffled_for_ever(random, LIGHT), _shuffled_for_ever(random, HEAVY)
    return [heavy() if number % HEAVY_EVERY == 0 else light() for number in range(int(seconds / EVERY_S))]


class Chaos:
    """Does harm to one deployment, and to the front before it.

    Attributes:
        windows: When the attacked model may fail for it.
        front_windows: When all may.
    """

    def __init__(self, program: Program, model: str) -> None:
        self._program = program
        self._model = model
        self._poisons = 0
        self.windows: list[Window] = []
        self.front_windows: list[Window] = []

    def do(self, fault: Fault) -> None:
        """Does it, and notes for how long it may be felt."""
        self._empty_tmp()
        began = time.monotonic()
        done: dict[Fault, Callable[[], None]] = {
            Fault.WORKER_KILLED: lambda: os.kill(self._worker(), signal.SIGKILL),
            Fault.WORKER_STOPPED: lambda: os.kill(self._worker(), signal.SIGSTOP),
            Fault.POISON: self._send_poison,
            Fault.BOMB: self._send_bomb,
            Fault.TMP_FULL: self._fill_tmp,
            Fault.SANDBOX_KILLED: lambda: os.kill(self._sandbox(), signal.SIGKILL),
            Fault.FRONT_RESTARTED: lambda: os.kill(self._front(), signal.SIGTERM),
            Fault.FRONT_KILLED: lambda: os.kill(self._front(), signal.SIGKILL),
        }
        done[fault]()
        ended = time.monotonic()
        if fault in FRONTS:
            self.front_windows.append(Window(fault.value, began, began + FRONT_BACK_S))
        else:
            back_s = CONTAINER_BACK_S if fault is Fault.SANDBOX_KILLED else BACK_S
            self.windows.append(Window(fault.value, began, ended + back_s))

    def _sandbox(self) -> int:
        return self._program.backstage.first_process(sandbox_container(self._model))

    def _worker(self) -> int:
        (worker,) = workers_of(self._sandbox())
        return worker

    def _front(self) -> int:
        return self._program.backstage.first_process(front_container(self._program.port))

    def _send_poison(self) -> None:
        self._poisons += 1
        with ServingChannel(self._program.address.grpc) as channel, suppress(PredictionError):
            channel.predict(poison(self._model, self._poisons), PATIENCE_S)
            raise AssertionError("poison was answered")

    def _send_bomb(self) -> None:
        with ServingChannel(self._program.address.grpc) as channel, suppress(PredictionError):
            channel.predict(bomb(self._model), PATIENCE_S)
            raise AssertionError("8 GiB were there")

    def _fill_tmp(self) -> None:
        """As the host's root, who may look into a sandbox: who is inside can write nothing."""
        with suppress(OSError), self._ballast().open("wb", buffering=0) as file:
            while True:
                file.write(CHUNK)

    def _empty_tmp(self) -> None:
        with suppress(OSError):  # it has not been filled, or has gone with its sandbox
            self._ballast().unlink()

    def _ballast(self) -> Path:
        return Path(f"/proc/{self._sandbox()}/root/tmp/ballast")


def _shuffled_for_ever(random: Random, faults: tuple[Fault, ...]) -> Callable[[], Fault]:
    """Draws without putting back, until none is left."""
    deck: list[Fault] = []

    def draw() -> Fault:
        if not deck:
            deck.extend(random.sample(faults, len(faults)))
        return deck.pop()

    return draw
