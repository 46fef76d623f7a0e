"""What a worker's layers take for one request, in one process and without a wake-up: what is left to be made faster.

Python's own part is what the layers take beside TensorFlow's run. It is measured by the same objects that a worker is
made of, with the request coming through a socket pair that has all of it already. The same is measured in turns with a
front that answers something else: code is slower after another program's than after itself.
"""

from __future__ import annotations

import json
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stopgap_runtime.http11 import Connection
    from stopgap_runtime.servable import Servable

ROOT = Path(__file__).resolve().parents[1]
NAME = "bench"
LARGEST_BYTES = 1 << 27
CALLS = 2000
PREDICT = b"/tensorflow.serving.PredictionService/Predict"


def layers_us(bundle: Path, model: Path) -> dict[str, float]:
    """Medians in microseconds.

    Returns:
        `read`, `write`: HTTP/1.1 in and out with the kernel's copies; `face`: protobuf, checks, tensors in Python's
        memory; `transfer`: tensors into TensorFlow's memory and out of it; `run`: `TF_SessionRun` alone.
    """
    return _asked("layers", bundle, model)


def turns_us(bundle: Path, model: Path, rest: str) -> dict[str, float]:
    """Medians in microseconds for all layers together.

    Args:
        rest: A front's `HOST:PORT` for REST.

    Returns:
        `in_a_loop`: one request after the other; `after_the_front`: each after the front has said that it does not know
        some other model, which is not counted.
    """
    return _asked("turns", bundle, model, rest)


def _asked(what: str, *arguments: Path | str) -> dict[str, float]:
    command = [sys.executable, __file__, what, *map(str, arguments)]
    answer: dict[str, float] = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    return answer


class Stopwatch:
    """Adds up what a function takes, between two readings."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self._seconds = 0.0

    def __call__(self, *arguments: Any) -> Any:
        began = time.perf_counter()
        try:
            return self._function(*arguments)
        finally:
            self._seconds += time.perf_counter() - began

    def taken_us(self) -> float:
        seconds, self._seconds = self._seconds, 0.0
        return seconds * 1e6


def _layers(bundle: Path, model: Path) -> dict[str, float]:
    servable = _servable(bundle, model)
    session = servable._session  # noqa: SLF001 - the benchmark looks inside
    functions = session._functions  # noqa: SLF001
    whole, run = Stopwatch(session.run), Stopwatch(functions.session_run)
    session.run, functions.session_run = whole, run  # type: ignore[assignment,method-assign]  # as good, and timed
    with _worker(servable, model) as exchange:
        rounds = [(*exchange(), whole.taken_us(), run.taken_us()) for _ in range(CALLS)]
    read, answering, write, whole_us, run_us = map(statistics.median, zip(*rounds[CALLS // 10 :]))
    parts = {"read": read, "face": answering - whole_us, "transfer": whole_us - run_us, "run": run_us, "write": write}
    return {name: round(figure, 1) for name, figure in parts.items()}


def _turns(bundle: Path, model: Path, rest: str) -> dict[str, float]:
    host, _, port = rest.rpartition(":")
    with _worker(_servable(bundle, model), model) as exchange, socket.create_connection((host, int(port))) as front:
        alone = [sum(exchange()) for _ in range(CALLS)]
        after = [sum(exchange()) for _ in range(CALLS) if _unknown(front)]
    figures = {"in_a_loop": alone[CALLS // 10 :], "after_the_front": after[CALLS // 10 :]}
    return {name: round(statistics.median(values), 1) for name, values in figures.items()}


def _unknown(front: socket.socket) -> bool:
    """Asks for a model that is not there."""
    front.sendall(b"GET /v1/models/nobody HTTP/1.1\r\nhost: bench\r\n\r\n")
    return front.recv(1 << 16).startswith(b"HTTP/1.1 404 ")


@contextmanager
def _worker(servable: Servable, model: Path) -> Iterator[Callable[[], tuple[float, float, float]]]:
    """Gives what answers one request as a worker does, and says how long reading, answering and writing took."""
    from stopgap_runtime.http11 import Connection  # noqa: PLC0415 - in the child alone

    near, far = socket.socketpair()
    with near, far:
        connection = Connection(far, LARGEST_BYTES)
        answer, message = _front_desk(servable), _message(model)
        yield lambda: _one(near, connection, message, answer)


def _one(
    near: socket.socket, worker: Connection, message: bytes, answer: Callable[..., Any]
) -> tuple[float, float, float]:
    """Microseconds for reading, answering, writing."""
    near.sendall(message)
    began = time.perf_counter()
    request = worker.read()
    worker.peer_left()
    read = time.perf_counter()
    response = answer(request)
    answered = time.perf_counter()
    worker.write(response, keep_alive=True)
    written = time.perf_counter()
    if not near.recv(1 << 16).endswith(b"grpc-status: 0\r\n\r\n"):
        raise RuntimeError("the request failed")
    return (read - began) * 1e6, (answered - read) * 1e6, (written - answered) * 1e6


def _servable(bundle: Path, model: Path) -> Servable:
    from stopgap_runtime.capi import TensorFlow  # noqa: PLC0415
    from stopgap_runtime.servable import Servable  # noqa: PLC0415

    servable = Servable.load(TensorFlow.load(bundle), model / "1", tags={"serve"}, threads=2)
    servable.warm_up()
    return servable


def _front_desk(servable: Servable) -> Callable[..., Any]:
    from stopgap_runtime.front_desk import FrontDesk  # noqa: PLC0415
    from stopgap_runtime.grpc_api import GrpcApi  # noqa: PLC0415
    from stopgap_runtime.predict import DataPlane  # noqa: PLC0415
    from stopgap_runtime.rest_api import RestApi  # noqa: PLC0415
    from stopgap_runtime.scoreboard import Scoreboard  # noqa: PLC0415

    overdue_after = Scoreboard(1).busy_until
    plane = DataPlane(NAME, 1, servable, run_timeout_s=60, largest_bytes=LARGEST_BYTES, overdue_after=overdue_after)
    return FrontDesk(GrpcApi(plane), RestApi(plane, LARGEST_BYTES)).answer


def _message(model: Path) -> bytes:
    """The request as the front sends it on."""
    from h2load import framed  # noqa: PLC0415
    from zoo_request import example_inputs, predict_request  # noqa: PLC0415

    body = framed(predict_request(NAME, example_inputs(model)))
    head = b"POST %s HTTP/1.1\r\nhost: bench\r\ncontent-type: application/grpc\r\ncontent-length: %d\r\n\r\n"
    return head % (PREDICT, len(body)) + body


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT / "images" / "runtime"))
    what, bundle, model, *rest = sys.argv[1:]
    figures = _turns(Path(bundle), Path(model), *rest) if what == "turns" else _layers(Path(bundle), Path(model))
    print(json.dumps(figures))  # noqa: T201 - the answer
