"""Somebody else's PredictRequest: which is one, and where its answer's class is found.

That tensorflow-serving-api's goes in and comes out is seen in `tests/packaging/test_tensorflow.py`.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from stopgap.client.stock import response_class
from stopgap.errors import PredictionError
from stopgap_protos.serving_pb2 import GetModelStatusRequest, PredictRequest, PredictResponse

INVALID_ARGUMENT = 3
VENDORED = "somebodys_own_predict_pb2"


def generated(package: str, *names: str) -> list[type[Message]]:
    """Message classes of these names, in a pool of their own, as from a module that somebody generated."""
    file = FileDescriptorProto(name="predict.proto", package=package)
    for name in names:
        file.message_type.add(name=name)
    pool = DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    generate: Any = type(PredictRequest)  # as generated code does it, with every protobuf
    return [generate(name, (Message,), described(pool, f"{package}.{name}")) for name in names]


def described(pool: DescriptorPool, name: str) -> dict[str, object]:
    return {"DESCRIPTOR": pool.FindMessageTypeByName(name), "__module__": VENDORED}


@pytest.fixture
def vendored(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = ModuleType(VENDORED)
    monkeypatch.setitem(sys.modules, VENDORED, module)
    return module


def test_the_answers_class_is_the_one_beside_the_requests(vendored: ModuleType) -> None:
    request, response = generated("tensorflow.serving", "PredictRequest", "PredictResponse")
    vars(vendored)["PredictResponse"] = response
    assert response_class(request()) is response
    assert response_class(PredictRequest()) is PredictResponse


@pytest.mark.parametrize(
    "other", [GetModelStatusRequest(), b"", {"x": 1}, None], ids=lambda other: type(other).__name__
)
def test_what_is_no_such_request_is_refused_by_its_name(other: object) -> None:
    with pytest.raises(PredictionError, match=type(other).__name__) as caught:
        response_class(other)
    assert caught.value.code == INVALID_ARGUMENT
    assert "predict_pb2.PredictRequest()" in caught.value.remedy


def test_a_request_of_that_name_from_another_package_is_refused(vendored: ModuleType) -> None:
    request, response = generated("somebody.else", "PredictRequest", "PredictResponse")
    vars(vendored)["PredictResponse"] = response
    with pytest.raises(PredictionError, match=r"A somebody\.else\.PredictRequest is no PredictRequest"):
        response_class(request())


@pytest.mark.usefixtures("vendored")
def test_a_request_whose_class_stands_alone_is_refused() -> None:
    (request,) = generated("tensorflow.serving", "PredictRequest")
    with pytest.raises(PredictionError, match=f"no PredictResponse in '{VENDORED}'"):
        response_class(request())
