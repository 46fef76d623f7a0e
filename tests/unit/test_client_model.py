"""A model called over a real gRPC connection, and what becomes of what goes wrong."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import grpc
import numpy as np
import pytest
from stopgap.client.channel import ServingChannel
from stopgap.client.model import RemoteModel
from stopgap.client.requests import predict_request, status_request
from stopgap.client.signatures import signatures_in
from stopgap.client.status import REMEDIES
from stopgap.errors import PredictionError
from stopgap_protos import tensor_pb2
from stopgap_protos.saved_model_pb2 import SignatureDef, TensorInfo
from stopgap_protos.serving_pb2 import GetModelMetadataResponse, ModelVersionStatus, SignatureDefMap
from stopgap_protos.tensor_pb2 import TensorShapeProto

from tests.serving_server import MODEL, serving

FAILED_PRECONDITION, NOT_FOUND, INTERNAL, UNAVAILABLE = 9, 5, 13, 14


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with serving() as where:
        yield where


@pytest.fixture
def channel(address: str) -> Iterator[ServingChannel]:
    with ServingChannel(address) as channel:
        yield channel


@pytest.fixture
def model(channel: ServingChannel) -> RemoteModel:
    return RemoteModel(channel, MODEL)


def test_lists_and_texts_are_sent_as_the_signature_wants_them(model: RemoteModel) -> None:
    outputs = model.predict({"image": [[1, 2]], "label": ["größer"]}, timeout_s=10)
    assert outputs["image"].dtype == np.float32
    assert outputs["image"].tolist() == [[1.0, 2.0]]
    assert outputs["label"].tolist() == ["größer".encode()]


def test_data_types_that_numpy_does_not_have_are_sent(model: RemoteModel) -> None:
    outputs = model.predict({"b": [1.0], "q": [255]}, signature="narrow", timeout_s=10)
    assert outputs["b"].tolist() == [0x3F80]
    assert outputs["q"].tolist() == [255]


def test_only_the_wanted_outputs_come(model: RemoteModel) -> None:
    assert list(model.predict({"image": [[1, 2]], "label": ["a"]}, outputs=["label"], timeout_s=10)) == ["label"]


def test_the_signatures_are_those_of_the_model(model: RemoteModel) -> None:
    signatures = model.signatures(timeout_s=10)
    assert list(signatures) == ["file", "narrow", "one", "serving_default"]
    inputs = signatures["serving_default"].inputs
    assert [str(spec) for spec in inputs.values()] == ["image: float32 [?, 2]", "label: string [?]"]


def test_the_state_of_the_versions_is_told(channel: ServingChannel) -> None:
    response = channel.status(status_request(MODEL), timeout_s=10)
    assert [version.state for version in response.model_version_status] == [ModelVersionStatus.AVAILABLE]


def test_an_unknown_signature_is_refused_with_those_there_are(model: RemoteModel) -> None:
    with pytest.raises(PredictionError, match="no signature 'two'") as caught:
        model.predict({}, signature="two", timeout_s=10)
    assert caught.value.code == FAILED_PRECONDITION
    assert caught.value.remedy == "There are: 'file', 'narrow', 'one', 'serving_default'."


def test_wrong_inputs_are_named_with_those_there_are(model: RemoteModel) -> None:
    with pytest.raises(PredictionError) as caught:
        model.predict({"image": [[1, 2]], "lable": ["a"]}, timeout_s=10)
    assert "unknown: 'lable', missing: 'label'" in caught.value.problem
    assert "image: float32 [?, 2]" in caught.value.remedy


def test_an_unknown_model_is_not_found(channel: ServingChannel) -> None:
    with pytest.raises(PredictionError, match="NOT_FOUND: Servable not found") as caught:
        RemoteModel(channel, "nobody").predict({}, timeout_s=10)
    assert caught.value.code == NOT_FOUND
    assert "stopgap status" in caught.value.remedy


def test_a_refusals_text_cannot_colour_the_terminal(channel: ServingChannel) -> None:
    model = RemoteModel(channel, MODEL, version=13)
    with pytest.raises(PredictionError, match="worn out") as caught:
        model.predict({"x": [1]}, signature="one", timeout_s=10)
    assert caught.value.code == INTERNAL
    assert "\x1b" not in str(caught.value)


def test_an_output_that_is_no_tensor_is_named(channel: ServingChannel) -> None:
    with pytest.raises(PredictionError, match="'broken': What came is not a tensor"):
        RemoteModel(channel, MODEL, version=14).predict({"x": [1]}, signature="one", timeout_s=10)


def test_nobody_at_the_address_is_unavailable() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        where = f"127.0.0.1:{closed.getsockname()[1]}"
        with ServingChannel(where) as channel, pytest.raises(PredictionError) as caught:
            RemoteModel(channel, MODEL).signatures(timeout_s=10)
    assert caught.value.code == UNAVAILABLE
    assert where in caught.value.problem
    assert "stopgap status" in caught.value.remedy


def test_an_answer_over_the_limit_is_refused(address: str) -> None:
    with ServingChannel(address, max_message_mib=1) as channel:
        model = RemoteModel(channel, MODEL)
        with pytest.raises(PredictionError, match="RESOURCE_EXHAUSTED"):
            model.predict({"x": np.zeros(2**20, np.int32)}, signature="one", timeout_s=10)


def test_a_proxy_of_the_environment_is_not_asked_for_this_machine(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "")
    with ServingChannel(address) as channel:
        assert RemoteModel(channel, MODEL).signatures(timeout_s=10)


def test_every_status_has_its_remedy_or_needs_none() -> None:
    assert REMEDIES.keys() == set(grpc.StatusCode)


def test_a_sparse_input_travels_as_its_three_parts() -> None:
    coo = TensorInfo.CooSparse(values_tensor_name="v", indices_tensor_name="i", dense_shape_tensor_name="s")
    dims = [TensorShapeProto.Dim(size=-1), TensorShapeProto.Dim(size=5)]
    sparse = TensorInfo(coo_sparse=coo, dtype=tensor_pb2.DT_FLOAT, tensor_shape=TensorShapeProto(dim=dims))
    unranked = TensorInfo(name="u:0", dtype=tensor_pb2.DT_RESOURCE, tensor_shape=TensorShapeProto(unknown_rank=True))
    signature = SignatureDef(inputs={"s": sparse, "u": unranked})
    response = GetModelMetadataResponse()
    response.metadata["signature_def"].value = SignatureDefMap(signature_def={"a": signature}).SerializeToString()
    found = signatures_in(response)["a"]
    assert [str(spec) for spec in found.inputs.values()] == [
        "s/indices: int64 [?, 2]",
        "s/values: float32 [?]",
        "s/dense_shape: int64 [2]",
        "u: ? of any rank",
    ]
    with pytest.raises(PredictionError, match="carry a value for the input 'u'"):
        found.fit({"s/indices": [[0, 1]], "s/values": [1], "s/dense_shape": [1, 5], "u": 1})


def test_metadata_that_cannot_be_read_is_one_clear_error() -> None:
    response = GetModelMetadataResponse()
    response.metadata["signature_def"].value = b"\xff"
    with pytest.raises(PredictionError, match="cannot be read"):
        signatures_in(response)


def test_a_request_names_the_version_only_if_one_is_wanted(model: RemoteModel) -> None:
    signature = model.signature("one", timeout_s=10)
    inputs = signature.fit({"x": [1]})
    assert not predict_request(MODEL, inputs, signature).model_spec.HasField("version")
    assert predict_request(MODEL, inputs, signature, version=0).model_spec.version.value == 0
