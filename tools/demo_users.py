"""The demonstration's users: they ask one name, again and again, and notice when they are not answered."""

from __future__ import annotations

import threading
import time
from collections import Counter
from types import TracebackType
from typing import Any, Final

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from tools.successor import drawings

__all__ = ["USER_HEADER", "Users"]

USER_HEADER: Final = "x-user-id"
USERS: Final = 400
REQUESTS_PER_S: Final = 50
DEADLINE_S: Final = 10


class Users:
    """While it is entered, so many requests a second are sent, whether earlier ones were answered or not.

    Attributes:
        failed: How many were not answered with a prediction.
        last_model: Which deployment has answered the last one.
    """

    def __init__(self, address: str, name: str) -> None:
        self._name = name
        self._channel = grpc.insecure_channel(address)
        self._stub = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)
        self._drawn = np.random.default_rng(2)
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._ask, name="users")
        self._lock = threading.Lock()
        self._answered: Counter[str] = Counter()
        self._under_way = 0
        self.failed = 0
        self.last_model = ""

    def __enter__(self) -> Users:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ends.set()
        self._thread.join()
        deadline = time.monotonic() + DEADLINE_S
        while self._under_way and time.monotonic() < deadline:
            time.sleep(0.01)
        self._channel.close()

    def told(self) -> str:
        """How they fared, in a sentence."""
        with self._lock:
            by_whom = ", ".join(f"{count} by {name}" for name, count in self._answered.items())
            return f"{sum(self._answered.values())} requests of users were answered, {by_whom}; {self.failed} failed"

    def _ask(self) -> None:
        next_s = time.monotonic()
        while not self._ends.wait(max(0.0, next_s - time.monotonic())):
            next_s += 1 / REQUESTS_PER_S
            request = predict_pb2.PredictRequest()
            request.model_spec.name = self._name
            request.inputs["image"].CopyFrom(tf.make_tensor_proto(drawings(self._drawn, 1)))
            user = (USER_HEADER, f"user-{self._drawn.integers(USERS)}")
            with self._lock:
                self._under_way += 1
            self._stub.Predict.future(request, DEADLINE_S, (user,)).add_done_callback(self._take)

    def _take(self, call: Any) -> None:
        headers = dict(call.initial_metadata() or ())
        with self._lock:
            self._under_way -= 1
            if call.exception() is None:
                self.last_model = headers.get("stopgap-model", self._name)
                self._answered[self.last_model] += 1
            else:
                self.failed += 1
