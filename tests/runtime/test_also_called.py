"""A candidate that has been told a further name answers to it, over both faces, as itself."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import nullcontext

import pytest
from stopgap_protos import serving_pb2 as pb
from stopgap_protos.tensor_pb2 import DataType
from stopgap_runtime.capi import TensorFlow
from stopgap_runtime.faults import Code, Fault
from stopgap_runtime.front_desk import FrontDesk
from stopgap_runtime.grpc_api import GrpcApi
from stopgap_runtime.http11 import Request
from stopgap_runtime.predict import DataPlane
from stopgap_runtime.rest_api import RestApi
from stopgap_runtime.servable import Servable

from tests.graphs import echo

SERVICE = "/tensorflow.serving."
LARGEST_BYTES = 1 << 20


@pytest.fixture(scope="module")
def plane(legacy_tensorflow: TensorFlow, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DataPlane]:
    """`candidate`, version 7, which also answers to `legacy`."""
    model = echo(tmp_path_factory.mktemp("also") / "m", {"x": (DataType.DT_FLOAT, (-1,))})
    servable = Servable.load(legacy_tensorflow, model, tags={"serve"}, threads=1)
    yield DataPlane(
        "candidate",
        7,
        servable,
        also_called=("legacy",),
        run_timeout_s=10,
        largest_bytes=LARGEST_BYTES,
        overdue_after=lambda _deadline: nullcontext(),
    )
    servable.close()


def spec(name: str, version: int | None = None) -> pb.ModelSpec:
    asked = pb.ModelSpec(name=name)
    if version is not None:
        asked.version.value = version
    return asked


def grpc(plane: DataPlane, method: str, request: pb.PredictRequest | pb.GetModelMetadataRequest) -> bytes:
    return b"".join(GrpcApi(plane).call(SERVICE + method, memoryview(request.SerializeToString()), None))


def predicted(plane: DataPlane, asked: pb.ModelSpec) -> pb.ModelSpec:
    request = pb.PredictRequest(model_spec=asked)
    request.inputs["x"].dtype = DataType.DT_FLOAT
    request.inputs["x"].tensor_shape.dim.add(size=1)
    request.inputs["x"].float_val.append(2.0)
    return pb.PredictResponse.FromString(grpc(plane, "PredictionService/Predict", request)).model_spec


def rest(plane: DataPlane, method: str, path: str, body: bytes = b"") -> tuple[int, dict[str, object]]:
    desk = FrontDesk(GrpcApi(plane), RestApi(plane, LARGEST_BYTES))
    response = desk.answer(Request(method, path, {}, memoryview(bytearray(body)), keep_alive=True))
    return response.status, json.loads(b"".join(response.body))


@pytest.mark.parametrize("name", ["candidate", "legacy"])
def test_an_answer_says_the_name_that_was_asked_for_and_the_candidates_version(plane: DataPlane, name: str) -> None:
    for version in (None, 7):
        answered = predicted(plane, spec(name, version))
        assert (answered.name, answered.version.value, answered.signature_name) == (name, 7, "serving_default")
    metadata = pb.GetModelMetadataRequest(model_spec=spec(name), metadata_field=["signature_def"])
    told = pb.GetModelMetadataResponse.FromString(grpc(plane, "PredictionService/GetModelMetadata", metadata))
    assert (told.model_spec.name, told.model_spec.version.value) == (name, 7)


@pytest.mark.parametrize("name", ["candidate", "legacy"])
def test_over_rest_the_name_in_the_path_may_be_either(plane: DataPlane, name: str) -> None:
    assert rest(plane, "POST", f"/v1/models/{name}:predict", b'{"inputs": [2.0]}') == (200, {"outputs": [2.0]})
    assert rest(plane, "POST", f"/v1/models/{name}/versions/7:predict", b'{"inputs": [2.0]}')[0] == 200
    status, told = rest(plane, "GET", f"/v1/models/{name}/metadata")
    assert (status, told["model_spec"]) == (200, {"name": name, "signature_name": "", "version": "7"})
    assert rest(plane, "GET", f"/v1/models/{name}")[0] == 200


def test_another_version_and_another_name_are_refused_as_ever(plane: DataPlane) -> None:
    refusals = {
        ("legacy", 1): "Specific(legacy, 1)",
        ("third", None): "Latest(third)",
        ("third", 7): "Specific(third, 7)",
    }
    for (name, version), told in refusals.items():
        with pytest.raises(Fault) as refusal:
            predicted(plane, spec(name, version))
        assert (refusal.value.code, refusal.value.text) == (
            Code.NOT_FOUND,
            f"Servable not found for request: {told}",
        )
    assert rest(plane, "POST", "/v1/models/legacy/versions/1:predict", b'{"inputs": [2.0]}')[0] == 404
    assert rest(plane, "GET", "/v1/models/third")[0] == 404
