"""The promise itself: every zoo model, served contained, answers stock TF Serving stubs as TensorFlow 1.15 did."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Final

import grpc
import pytest
from numpy.typing import NDArray
from stopgap import deployment
from stopgap.engines.docker import connect
from stopgap.engines.protocol import Engine
from stopgap.progress import silent
from stopgap.settings import Address, Limits, ServeSettings
from stopgap.store import Store

from tests import zoo
from tests.docker.stopgap_program import free_port, program_in

pytestmark = [pytest.mark.docker, pytest.mark.slow]

# Where the sandbox has no network and no other programs, an answer differs from the one recorded outside of it.
NEEDS_A_PROGRAM: Final = {("ffmpeg_wav_encode", "no_ffmpeg_video"), ("ffmpeg_wav_encode", "no_ffmpeg_binary")}


class StockStubs:
    """TensorFlow 2 and tensorflow-serving-api as their users have them; nothing of stopgap's own client."""

    def __init__(self, address: str) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # TensorFlow's own
            import tensorflow as tf  # noqa: PLC0415 - only here: it takes seconds
            from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc  # noqa: PLC0415
        self._tf = tf
        self._request = predict_pb2.PredictRequest
        self._channel = grpc.insecure_channel(address)
        self._stub = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)

    def close(self) -> None:
        self._channel.close()

    def ask(self, model: str, case: zoo.Case) -> dict[str, NDArray[Any]]:
        """One case's answer; raises `grpc.RpcError`."""
        request = self._request()
        request.model_spec.name = model
        request.model_spec.signature_name = case.signature
        for alias, array in case.inputs.items():
            request.inputs[alias].CopyFrom(self._tf.make_tensor_proto(array, shape=array.shape))
        response = self._stub.Predict(request, timeout=30)
        assert response.model_spec.name == model
        assert response.model_spec.signature_name == case.signature
        return {alias: self._tf.make_ndarray(tensor) for alias, tensor in response.outputs.items()}


@dataclass(frozen=True)
class Serving:
    """One front for the whole zoo; models come and go."""

    engine: Engine
    store: Store
    port: int
    stubs: StockStubs

    @contextmanager
    def model(self, name: str, **limits: Any) -> Iterator[None]:
        wanted = ServeSettings(
            name=name,
            model=zoo.ZOO / name,
            until=date.today() + timedelta(days=1),
            address=Address("127.0.0.1", self.port),
            limits=Limits(**limits),
        )
        deployment.serve(wanted, self.engine, self.store, print, silent)
        try:
            yield
        finally:
            deployment.stop(name, self.engine, self.store, print)


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    with program_in(tmp_path_factory.mktemp("zoo")) as program:
        port = free_port()
        stubs = StockStubs(f"127.0.0.1:{port}")
        yield Serving(connect(), Store(program.state), port, stubs)
        stubs.close()


@pytest.mark.parametrize("name", [name for name in zoo.NAMES if zoo.load(name).servable])
def test_every_servable_model_answers_stock_stubs_through_the_front(serving: Serving, name: str) -> None:
    model = zoo.load(name)
    with serving.model(name):
        for case in model.cases:
            if case.error is None:
                zoo.assert_matches(model, case, serving.stubs.ask(name, case))
                continue
            with pytest.raises(grpc.RpcError) as refused:
                serving.stubs.ask(name, case)
            status: Any = refused.value
            assert status.code().value[0] == case.error.code, f"{name}/{case.name}: {status.details()}"
            if (name, case.name) in NEEDS_A_PROGRAM:
                assert "FFmpeg must be installed" in status.details()


def test_every_model_that_nobody_can_serve_says_why(serving: Serving) -> None:
    """tf.py_func: the model loads, and its one signature answers with TensorFlow's own explanation."""
    (name,) = (name for name in zoo.NAMES if not zoo.load(name).servable)
    with serving.model(name), pytest.raises(grpc.RpcError) as refused:
        serving.stubs.ask(name, zoo.load(name).cases[0])
    status: Any = refused.value
    assert status.code() is not grpc.StatusCode.OK
    assert "PyFunc" in status.details() or "pyfunc" in status.details()
