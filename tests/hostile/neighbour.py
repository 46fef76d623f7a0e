"""An honest model beside the attacked one, asked without a pause worth the name: never wrong, never failing."""

from __future__ import annotations

import threading
import time
from typing import Final

import numpy as np
from stopgap.client.channel import ServingChannel
from stopgap.client.tensors import to_array, to_proto
from stopgap.errors import PredictionError
from stopgap_protos.serving_pb2 import PredictRequest

__all__ = ["Neighbour"]

PAUSE_S: Final = 0.02
PATIENCE_S: Final = 20.0


class Neighbour:
    """Asks the linear model `ok_baseline`, each time something else, and keeps what was not as it must be.

    Attributes:
        answers: How many were right.
        troubles: What else there was.
    """

    def __init__(self, address: str, name: str) -> None:
        self._address = address
        self._name = name
        self._over = threading.Event()
        self.answers = 0
        self.troubles: list[str] = []

    def __enter__(self) -> Neighbour:
        self._thread = threading.Thread(target=self._ask_on)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _ask_on(self) -> None:
        with ServingChannel(self._address) as channel:
            number = 0
            while not self._over.wait(PAUSE_S):
                number = number % 1000 + 1
                try:
                    self._ask(channel, float(number))
                except PredictionError as error:
                    self.troubles.append(f"{time.strftime('%X')}: code {error.code}: {error}")

    def _ask(self, channel: ServingChannel, number: float) -> None:
        request = PredictRequest()
        request.model_spec.name = self._name
        request.inputs["x"].CopyFrom(to_proto(np.full((1, 4), number, np.float32)))
        answer = to_array(channel.predict(request, PATIENCE_S).outputs["y"])
        if answer.tolist() == [[4 * number] * 3]:  # its weights are ones, its bias nothing
            self.answers += 1
        else:
            self.troubles.append(f"{time.strftime('%X')}: {number} gave {answer.tolist()}")
