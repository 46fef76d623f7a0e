"""Callers under whose eyes things die and are replaced."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from stopgap.client.channel import ServingChannel
from stopgap.client.tensors import to_proto
from stopgap.errors import PredictionError
from stopgap_protos.serving_pb2 import PredictRequest

from tests import zoo

__all__ = ["CALLERS", "Load", "image_request", "until"]

CALLERS = 8
PAUSE_S = 0.02  # after an error, as a decent client makes one: who is to come back needs the processor


def image_request(name: str) -> PredictRequest:
    request = PredictRequest()
    request.model_spec.name = name
    for alias, array in zoo.load("stn_affine_resampler").cases[0].inputs.items():
        request.inputs[alias].CopyFrom(to_proto(array[:1]))
    return request


class Load:
    """Callers that ask without a pause until they are told to stop; every error is kept, with its time."""

    def __init__(self, address: str, request: PredictRequest) -> None:
        self._address = address
        self._request = request
        self._over = threading.Event()
        self.answers = 0
        self.errors: list[PredictionError] = []
        self.failed_at: list[float] = []

    def __enter__(self) -> Load:
        self._threads = ThreadPoolExecutor(CALLERS)
        self._callers = [self._threads.submit(self._call) for _ in range(CALLERS)]
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._threads.shutdown()
        for caller in self._callers:
            caller.result()  # whatever ended it but the end

    def _call(self) -> None:
        with ServingChannel(self._address) as channel:
            while not self._over.is_set():
                try:
                    channel.predict(self._request, timeout_s=20)
                except PredictionError as error:  # noqa: PERF203 - one failure is not the end
                    self.errors.append(error)
                    self.failed_at.append(time.monotonic())
                    time.sleep(PAUSE_S)
                else:
                    self.answers += 1


def until(condition: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.005)
