"""TensorFlow 2 and tensorflow-serving-api as their users have them, in a process of their own.

Of their own, because their libraries' symbols are for the whole process, where TensorFlow 1.15's must not meet them.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from types import TracebackType
from typing import Any

from numpy.typing import NDArray

__all__ = ["Refused", "StockClient"]

Arrays = Mapping[str, NDArray[Any]]


class Refused(Exception):
    """The server's error, as the stub gave it."""

    def __init__(self, code: int, details: str) -> None:
        super().__init__(code, details)
        self.code = code
        self.details = details


class StockClient:
    """Stock stubs for one address; nothing of stopgap's own client."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._process = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))

    def __enter__(self) -> StockClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.shutdown()

    def predict(self, model: str, signature: str, inputs: Arrays) -> dict[str, NDArray[Any]]:
        """One prediction.

        Raises:
            Refused: The server answered with an error.
        """
        return self._process.submit(_predict, self._address, model, signature, dict(inputs)).result(timeout=120)

    def headers(self, model: str, signature: str, inputs: Arrays) -> dict[str, str]:
        """The initial metadata with which a prediction is answered."""
        return self._process.submit(_headers, self._address, model, signature, dict(inputs)).result(timeout=120)


def _headers(address: str, model: str, signature: str, inputs: Arrays) -> dict[str, str]:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import grpc  # noqa: PLC0415 - in the child process alone
    from tensorflow_serving.apis import prediction_service_pb2_grpc  # noqa: PLC0415

    with grpc.insecure_channel(address) as channel:
        stub: Any = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        _, call = stub.Predict.with_call(_request(model, signature, inputs), timeout=30)
        return dict(call.initial_metadata())


def _predict(address: str, model: str, signature: str, inputs: Arrays) -> dict[str, NDArray[Any]]:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import grpc  # noqa: PLC0415 - in the child process alone
    import tensorflow as tf  # noqa: PLC0415
    from tensorflow_serving.apis import prediction_service_pb2_grpc  # noqa: PLC0415

    request = _request(model, signature, inputs)
    with grpc.insecure_channel(address) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        try:
            response = stub.Predict(request, timeout=30)
        except grpc.RpcError as error:
            status: Any = error
            raise Refused(status.code().value[0], status.details()) from None
    assert (response.model_spec.name, response.model_spec.signature_name) == (model, signature)
    return {alias: tf.make_ndarray(tensor) for alias, tensor in response.outputs.items()}


def _request(model: str, signature: str, inputs: Arrays) -> Any:
    import tensorflow as tf  # noqa: PLC0415
    from tensorflow_serving.apis import predict_pb2  # noqa: PLC0415

    request = predict_pb2.PredictRequest()
    request.model_spec.name = model
    request.model_spec.signature_name = signature
    for alias, array in inputs.items():
        request.inputs[alias].CopyFrom(tf.make_tensor_proto(array, shape=array.shape))
    return request
