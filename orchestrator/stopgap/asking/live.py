"""A model that can be asked: behind a channel, whoever serves it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stopgap.asking.sides import Identity, Question
from stopgap.client.answer_files import readable
from stopgap.client.channel import ServingChannel
from stopgap.client.model import RemoteModel
from stopgap.client.requests import predict_request, status_request
from stopgap.client.signatures import Signature, choose
from stopgap.client.status import UNAVAILABLE, WORKER_DIED, code_name
from stopgap.client.tensors import to_arrays
from stopgap.comparison.pairs import Answer, Case, Failure, Tensors
from stopgap.errors import PredictionError

__all__ = ["LiveSide", "nobody_was_there"]

LOOK_TIMEOUT_S = 5.0


class LiveSide:
    """One model behind an address.

    Args:
        channel: Whose address serves it; closed with this.
        name: The model's.
        identity: Tells what it is now.
        version: Of the model; None for whichever answers to the name: a successor's, perhaps.
        close: What else ends with it.
        timeout_s: Until it has told its signatures.

    Raises:
        PredictionError: The address does not answer, or knows no such model.
    """

    def __init__(
        self,
        channel: ServingChannel,
        name: str,
        identity: Callable[[], Identity],
        close: Callable[[], None] = lambda: None,
        timeout_s: float = 60.0,
        *,
        version: int | None = None,
    ) -> None:
        self._channel = channel
        self._name = name
        self._identity = identity
        self._close = close
        self._version = version
        model = RemoteModel(channel, name, version)
        self._signatures = model.signatures(timeout_s)
        self._traits = model.traits(timeout_s)

    def identity(self) -> Identity:
        """See `Side`."""
        return self._identity()

    def signatures(self) -> Mapping[str, Signature]:
        """The model's, as it told them when it was opened."""
        return self._signatures

    def changes_state(self, signature: str) -> bool:
        """See `Side`: of what somebody else serves nothing is known."""
        return self._traits.state_changing is not None and signature in self._traits.state_changing

    def question(self, case: Case) -> Question:
        """See `Side`."""
        return partial(self.ask, case.inputs, case.signature)

    def ask(self, inputs: Tensors, signature: str, timeout_s: float) -> Answer:
        """What it says: also that the inputs are not its own is an answer. It is asked once.

        Args:
            inputs: By its own names.
            signature: Its own.
            timeout_s: The deadline.

        Returns:
            Outputs with bfloat16 as numbers, or a failure; the latency is that of the call alone.
        """
        try:
            chosen = choose(self._signatures, signature)
            request = predict_request(self._name, chosen.fit(inputs), chosen, version=self._version)
        except PredictionError as error:
            return Answer(failure=self._failure(error))
        began = time.perf_counter()
        try:
            response = self._channel.predict(request, timeout_s)
        except PredictionError as error:
            return Answer(failure=self._failure(error), latency_s=time.perf_counter() - began)
        latency_s = time.perf_counter() - began
        try:
            outputs = readable(to_arrays(response.outputs), chosen.outputs)
        except PredictionError as error:
            return Answer(failure=self._failure(error), latency_s=latency_s)
        return Answer({name: owned(array) for name, array in outputs.items()}, latency_s=latency_s)

    def is_there(self) -> bool:
        """See `Side`."""
        try:
            self._channel.status(status_request(self._name, self._version), LOOK_TIMEOUT_S)
        except PredictionError as error:
            return error.code != UNAVAILABLE
        return True

    def close(self) -> None:
        """Calls in flight are cancelled."""
        self._channel.close()
        self._close()

    def _failure(self, error: PredictionError) -> Failure:
        """In the model's own words, without the address, in which two models differ in any case."""
        code = code_name(error.code)
        return Failure(code, error.problem.removeprefix(f"{self._channel.address} answered {code}: "))


def owned(array: np.ndarray) -> NDArray[Any]:
    """Of the answer's bytes nothing else is to stay in memory; a view would keep all of them."""
    return array if array.base is None else array.copy()


def nobody_was_there(answer: Answer) -> bool:
    """Whether the answer says nothing of the model: the address was dead, and no worker died of this request."""
    failure = answer.failure
    return failure is not None and failure.code == code_name(UNAVAILABLE) and WORKER_DIED not in failure.text
