"""What a model's file has no signature for: tensors named by whoever serves it, or by a request."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from stopgap_protos import serving_pb2 as pb
from stopgap_protos.saved_model_pb2 import TensorInfo
from stopgap_protos.tensor_pb2 import DataType
from stopgap_protos.traits_pb2 import ModelTraits
from stopgap_runtime import tensors
from stopgap_runtime.capi import TensorFlow
from stopgap_runtime.faults import Code, Fault
from stopgap_runtime.given_signatures import GivenSignature, parse_given
from stopgap_runtime.grpc_api import GrpcApi
from stopgap_runtime.host_tensor import array_of, of_array
from stopgap_runtime.predict import DataPlane
from stopgap_runtime.servable import TENSORS, Servable

from tests import zoo

MODEL = zoo.load("stn_affine_resampler")
CASE = MODEL.cases[0]
PREDICT = "/tensorflow.serving.PredictionService/Predict"
METADATA = "/tensorflow.serving.PredictionService/GetModelMetadata"


@pytest.fixture(scope="module")
def open_model(legacy_tensorflow: TensorFlow) -> Iterator[Servable]:
    servable = load(legacy_tensorflow, MODEL, tensors_allowed=True)
    yield servable
    servable.close()


def load(tensorflow: TensorFlow, model: zoo.ZooModel, **how: Any) -> Servable:
    return Servable.load(tensorflow, model.folder, tags={"serve"}, threads=2, load_timeout_s=30, **how)


def grpc_api(servable: Servable) -> GrpcApi:
    return GrpcApi(
        DataPlane(
            "m", 1, servable, run_timeout_s=10, largest_bytes=1 << 20, overdue_after=lambda _deadline: nullcontext()
        )
    )


def ask(
    servable: Servable, signature: str, inputs: Mapping[str, NDArray[Any]], outputs: tuple[str, ...] = ()
) -> dict[str, NDArray[Any]]:
    request = pb.PredictRequest(output_filter=outputs)
    request.model_spec.name, request.model_spec.signature_name = "m", signature
    for alias, array in inputs.items():
        request.inputs[alias].ParseFromString(tensors.encode(of_array(array)))
    answer = b"".join(grpc_api(servable).call(PREDICT, memoryview(request.SerializeToString()), None))
    response = pb.PredictResponse.FromString(answer)
    return {alias: array_of(tensors.decode(proto, alias)) for alias, proto in response.outputs.items()}


def traits(servable: Servable) -> ModelTraits:
    request = pb.GetModelMetadataRequest(metadata_field=["stopgap"])
    request.model_spec.name = "m"
    answer = b"".join(grpc_api(servable).call(METADATA, memoryview(request.SerializeToString()), None))
    return ModelTraits.FromString(pb.GetModelMetadataResponse.FromString(answer).metadata["stopgap"].value)


def test_a_given_signature_answers_as_the_models_own(legacy_tensorflow: TensorFlow) -> None:
    given = parse_given('{"mine": {"inputs": {"picture": "image:0"}, "outputs": {"p": "Softmax:0", "t": "Softmax"}}}')
    servable = load(legacy_tensorflow, MODEL, given=given)
    assert {"mine", "serving_default"} == servable.signatures.keys() == servable.signature_defs.keys()
    answer = ask(servable, "mine", {"picture": CASE.inputs["image"]})
    for alias in ("p", "t"):
        np.testing.assert_allclose(answer[alias], CASE.outputs["probs"], atol=MODEL.atol)
    servable.close()


def test_a_given_signature_has_the_graphs_dtypes_and_shapes(open_model: Servable) -> None:
    given = GivenSignature("mine", {"x": "image:0"}, {"y": "fully_connected_1/BiasAdd:0"})
    found = given.found_in(open_model._session)
    assert (found.inputs["x"].dtype, found.inputs["x"].shape) == (DataType.DT_FLOAT, (None, 24, 24, 1))
    assert (found.outputs["y"].dtype, found.outputs["y"].shape) == (DataType.DT_FLOAT, (None, 6))


def test_a_given_signature_takes_the_place_of_the_models_own(legacy_tensorflow: TensorFlow) -> None:
    given = (GivenSignature("serving_default", {"x": "image:0"}, {"theta": "fully_connected_1/BiasAdd:0"}),)
    servable = load(legacy_tensorflow, MODEL, given=given)
    assert list(servable.signature_defs["serving_default"].inputs) == ["x"]
    np.testing.assert_allclose(
        ask(servable, "serving_default", {"x": CASE.inputs["image"]})["theta"], CASE.outputs["theta"], atol=MODEL.atol
    )
    servable.close()


def test_a_given_signature_over_what_is_not_there_is_refused_at_load(legacy_tensorflow: TensorFlow) -> None:
    with pytest.raises(Fault, match="the graph has no tensor 'nowhere:0'") as refused:
        load(legacy_tensorflow, MODEL, given=(GivenSignature("mine", {}, {"y": "nowhere:0"}),))
    assert refused.value.code is Code.INVALID_ARGUMENT


@pytest.mark.parametrize(
    "text", ["", "[]", '{"a": 1}', '{"a": {"inputs": {}}}', '{"a": {"inputs": [], "outputs": {}}}']
)
def test_what_is_no_signature_is_not_taken_for_one(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - argparse makes its own text of it
        parse_given(text)


def test_a_request_may_name_tensors_where_that_is_allowed(open_model: Servable) -> None:
    theta, probs = "fully_connected_1/BiasAdd:0", "Softmax:0"
    answer = ask(open_model, TENSORS, {"image:0": CASE.inputs["image"]}, (theta, probs))
    assert answer.keys() == {theta, probs}
    np.testing.assert_allclose(answer[theta], CASE.outputs["theta"], atol=MODEL.atol)
    # From the middle of the graph on: what lies before it does not run, so no image is needed.
    middle = ask(open_model, TENSORS, {theta: answer[theta], "image:0": CASE.inputs["image"]}, (probs,))
    np.testing.assert_allclose(middle[probs], CASE.outputs["probs"], atol=MODEL.atol)


@pytest.mark.parametrize(
    ("inputs", "outputs", "code", "text"),
    [
        ({}, (), Code.INVALID_ARGUMENT, "no tensor is named"),
        ({}, ("nowhere:0",), Code.INVALID_ARGUMENT, "the graph has no tensor 'nowhere:0'"),
        ({"image:0": np.zeros((1, 24, 24), "f")}, ("Softmax:0",), Code.INVALID_ARGUMENT, "has shape"),
        ({"image:0": np.zeros((1, 24, 24, 1))}, ("Softmax:0",), Code.INVALID_ARGUMENT, "Expects arg"),
        ({}, ("Softmax:0",), Code.INVALID_ARGUMENT, "must feed a value"),
    ],
)
def test_tensors_are_checked_against_the_graph(
    open_model: Servable, inputs: Mapping[str, NDArray[Any]], outputs: tuple[str, ...], code: Code, text: str
) -> None:
    with pytest.raises(Fault, match=text) as refused:
        ask(open_model, TENSORS, inputs, outputs)
    assert refused.value.code is code


def test_a_tensor_of_the_graph_can_be_asked_about(open_model: Servable) -> None:
    field = "stopgap:tensor:image:0"
    request = pb.GetModelMetadataRequest(metadata_field=[field], model_spec=pb.ModelSpec(name="m"))
    answer = b"".join(grpc_api(open_model).call(METADATA, memoryview(request.SerializeToString()), None))
    info = TensorInfo.FromString(pb.GetModelMetadataResponse.FromString(answer).metadata[field].value)
    assert (info.name, info.dtype) == ("image:0", DataType.DT_FLOAT)
    assert [dim.size for dim in info.tensor_shape.dim] == [-1, 24, 24, 1]
    with pytest.raises(Fault, match="no tensor 'nowhere:0'"):
        open_model.tensor("nowhere:0")


def test_tensors_are_refused_where_they_are_not_allowed(legacy_tensorflow: TensorFlow) -> None:
    servable = load(legacy_tensorflow, MODEL)
    with pytest.raises(Fault, match="--allow-tensors") as refused:
        ask(servable, TENSORS, {"image:0": CASE.inputs["image"]}, ("Softmax:0",))
    assert refused.value.code is Code.PERMISSION_DENIED
    servable.close()


def test_no_tensor_lets_a_stateless_model_change_its_state(open_model: Servable) -> None:
    assign = next(node.name for node in open_model._graph.node if node.op == "Assign")  # type: ignore[union-attr]
    with pytest.raises(Fault, match="would change the model's state") as refused:
        ask(open_model, TENSORS, {}, (f"{assign}:0",))
    assert refused.value.code is Code.FAILED_PRECONDITION


def test_a_model_tells_what_may_be_asked_again_and_what_it_parses(
    open_model: Servable, legacy_tensorflow: TensorFlow
) -> None:
    assert traits(open_model).tensors_allowed
    assert not traits(open_model).state_changing
    stateful = load(legacy_tensorflow, zoo.load("obtain_next_roundrobin_stateful"))
    assert list(traits(stateful).state_changing) == ["serving_default"]
    stateful.close()
    estimator = load(legacy_tensorflow, zoo.load("estimator_dnn_forward_key_control"))
    told = {(one.signature, one.alias): one.features for one in traits(estimator).example_inputs}
    features = told["predict", "examples"]
    assert {key: (spec.dtype, spec.required) for key, spec in features.items()} == {
        "age": (DataType.DT_FLOAT, True),
        "gender": (DataType.DT_STRING, False),
        "row_id": (DataType.DT_STRING, False),
    }
    assert [dim.size for dim in features["age"].shape.dim] == [1]
    estimator.close()


def test_features_of_any_length_are_told_as_such(legacy_tensorflow: TensorFlow) -> None:
    servable = load(legacy_tensorflow, zoo.load("ads_ctr_sparse_cross_v2"))
    features = next(one.features for one in traits(servable).example_inputs if one.signature == "predict")
    assert {key: (spec.dtype, spec.any_length) for key, spec in features.items()} == {
        "ad_id": (DataType.DT_INT64, True),
        "bid": (DataType.DT_FLOAT, False),
        "query": (DataType.DT_STRING, True),
    }
    servable.close()
