"""Requests with large tensors: taken apart and put together again they are what protobuf reads, or left to it."""

from __future__ import annotations

import pytest
from google.protobuf.message import DecodeError
from stopgap_protos.serving_pb2 import PredictRequest
from stopgap_protos.tensor_pb2 import DataType, TensorProto, TensorShapeProto
from stopgap_runtime.faults import Code, Fault
from stopgap_runtime.grpc_api import _asked
from stopgap_runtime.large_contents import parted
from stopgap_runtime.varints import length_delimited

LARGE = bytes(range(256)) * 400
LARGEST_BYTES = 1 << 20
_INPUTS, _KEY, _VALUE, _CONTENT = 2, 1, 2, 4


def request(**contents: bytes) -> PredictRequest:
    message = PredictRequest()
    message.model_spec.name = "m"
    message.model_spec.version.value = 3
    for alias, content in contents.items():
        tensor = message.inputs[alias]
        tensor.dtype = DataType.DT_UINT8
        tensor.tensor_shape.CopyFrom(TensorShapeProto(dim=[TensorShapeProto.Dim(size=len(content))]))
        tensor.tensor_content = content
    message.output_filter.append("y")
    return message


def field(number: int, value: bytes) -> bytes:
    return length_delimited(number, len(value)) + value


def entry(alias: bytes, tensor: bytes) -> bytes:
    return field(_INPUTS, field(_KEY, alias) + field(_VALUE, tensor))


def whole(message: bytes) -> PredictRequest:
    asked, contents = _asked(memoryview(message), LARGEST_BYTES)
    for alias, content in contents.items():
        asked.inputs[alias].tensor_content = bytes(content)
    return asked


@pytest.mark.parametrize("contents", [{"x": LARGE}, {"x": LARGE, "y": LARGE[::-1]}, {"small": b"1", "ü": LARGE}])
def test_large_contents_are_taken_out_and_belong_to_their_inputs(contents: dict[str, bytes]) -> None:
    message = request(**contents).SerializeToString()
    parts = parted(memoryview(message))
    assert parts is not None
    assert {alias: bytes(content) for alias, content in parts.contents.items()} == {
        alias: content for alias, content in contents.items() if content != b"1"
    }
    assert len(parts.message) < 500
    assert whole(message) == request(**contents)


def test_a_content_is_not_copied() -> None:
    message = bytearray(request(x=LARGE).SerializeToString())
    parts = parted(memoryview(message))
    assert parts is not None
    assert parts.contents["x"].obj is message


def test_small_requests_are_not_looked_at() -> None:
    assert parted(memoryview(request(x=b"123").SerializeToString())) is None


@pytest.mark.parametrize(
    "message",
    [
        entry(b"x", field(_CONTENT, LARGE)) + entry(b"x", field(_CONTENT, b"the later one counts")),
        entry(b"x", field(_CONTENT, LARGE)) + entry(b"x", field(_CONTENT, LARGE[::-1])),
        entry(b"x", field(_CONTENT, LARGE) + field(_CONTENT, b"the later one counts")),
        entry(b"x", field(8, LARGE)),
        field(_INPUTS, field(_VALUE, field(_CONTENT, LARGE))),
        field(_INPUTS, field(_KEY, b"x") + field(_VALUE, field(_CONTENT, LARGE)) + field(_VALUE, field(1, b""))),
        field(_INPUTS, field(_KEY, b"x") + field(_VALUE, field(_CONTENT, LARGE)) + field(_VALUE, b"\x08\x01")),
        entry(b"x", field(_CONTENT, LARGE)) + b"\x53\x54",
        field(99, LARGE) + request(x=b"1").SerializeToString(),
        request(x=LARGE).SerializeToString() + b"\x78\x01" * 2000,
    ],
    ids=[
        "an input twice, then small",
        "an input twice, both large",
        "a content twice",
        "values elsewhere",
        "no alias",
        "a second value",
        "a value in two parts",
        "a group",
        "an unknown field",
        "very many fields",
    ],
)
def test_what_is_not_plain_means_what_protobuf_says(message: bytes) -> None:
    try:
        expected = PredictRequest.FromString(message)
    except DecodeError:
        with pytest.raises(Fault):
            whole(message)
    else:
        assert whole(message) == expected


@pytest.mark.parametrize("end", [1, 100, len(LARGE) - 1, len(LARGE) + 20])
def test_a_request_cut_short_is_refused(end: int) -> None:
    message = request(x=LARGE, y=LARGE).SerializeToString()
    with pytest.raises(Fault) as refused:
        _asked(memoryview(message[:-end]), LARGEST_BYTES)
    assert refused.value.code == Code.INVALID_ARGUMENT


def test_an_alias_that_is_no_text_is_refused() -> None:
    with pytest.raises(Fault):
        _asked(memoryview(entry(b"\xff", TensorProto(tensor_content=LARGE).SerializeToString())), LARGEST_BYTES)
