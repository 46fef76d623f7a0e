"""What callers send: gRPC's framing and messages, JSON, paths and headers, up to where TensorFlow would begin."""

from __future__ import annotations

import gzip
import json
import struct
from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from unittest import mock

import numpy as np
from google.protobuf.message import DecodeError
from stopgap.client.tensors import to_array
from stopgap.errors import PredictionError
from stopgap_protos.serving_pb2 import (
    GetModelMetadataRequest,
    GetModelStatusRequest,
    PredictRequest,
    PredictResponse,
)
from stopgap_protos.tensor_pb2 import DataType, TensorProto
from stopgap_runtime import json_document, large_contents
from stopgap_runtime.faults import Fault
from stopgap_runtime.grpc_wire import message_of, timeout_s_of
from stopgap_runtime.host_tensor import HostTensor, array_of, of_array
from stopgap_runtime.http11 import Request, Response
from stopgap_runtime.tensors import decode, encode

from tests.fuzz.echo_plane import LARGEST_BYTES, NAME, front_desk, grpc_api, rest_api
from tests.fuzz.target import Target

__all__ = ["GRPC", "JSON", "LARGE_CONTENTS", "REQUEST", "TENSOR"]

_SERVICE = "/tensorflow.serving.PredictionService"
_METHODS = (f"{_SERVICE}/Predict", f"{_SERVICE}/GetModelMetadata", "/tensorflow.serving.ModelService/GetModelStatus")


# --- gRPC ----------------------------------------------------------------------------------------------------------


def _predict(**arrays: Any) -> PredictRequest:
    request = PredictRequest()
    request.model_spec.name = NAME
    for alias, array in arrays.items():
        request.inputs[alias].ParseFromString(encode(of_array(np.asarray(array))))
    return request


def _check_grpc(data: bytes) -> None:
    for method in _METHODS:
        with suppress(Fault):
            answer = b"".join(grpc_api.call(method, memoryview(data), None))
            if method.endswith("Predict"):
                _check_echo(PredictRequest.FromString(data), PredictResponse.FromString(answer))


def _check_echo(request: PredictRequest, response: PredictResponse) -> None:
    for alias in response.outputs:
        if alias in request.inputs:
            sent = decode(request.inputs[alias], alias)
            assert _same(decode(response.outputs[alias], alias), sent), f"{alias} has changed on its way"


def _same(one: HostTensor, other: HostTensor) -> bool:
    """Whether two tensors are alike; any byte but 0 is true."""
    return one[:2] == other[:2] and _data(one) == _data(other)


def _data(tensor: HostTensor) -> bytes | list[bytes]:
    if isinstance(tensor.data, list):
        return tensor.data
    data = bytes(tensor.data)
    return bytes(map(bool, data)) if tensor.dtype == DataType.DT_BOOL else data


_PREDICTIONS = (
    _predict(n=[1], s=np.array([b"a"], object), x=np.array([[1, 2]], np.float32)),
    _predict(n=[1, -(2**63)], s=np.array([b"", b"\xff"], object), x=np.zeros((2, 2), np.float32)),
)
_MESSAGES = (
    *(request.SerializeToString() for request in _PREDICTIONS),
    GetModelStatusRequest(model_spec=_PREDICTIONS[0].model_spec).SerializeToString(),
    GetModelMetadataRequest(
        model_spec=_PREDICTIONS[0].model_spec, metadata_field=["signature_def", "stopgap", "stopgap:tensor:x:0"]
    ).SerializeToString(),
)

GRPC = Target("grpc", _check_grpc, seeds=_MESSAGES, tokens=(b"serving_default", b"DT_STRING"), is_protobuf=True)


# --- Whole requests ------------------------------------------------------------------------------------------------


def _check_request(data: bytes) -> None:
    """`METHOD path`, header lines, an empty line, a body: as a connection would have read it."""
    head, _, body = data.partition(b"\n\n")
    first, *lines = head.decode("latin-1").split("\n")
    method, _, path = first.partition(" ")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    request = Request(method, path, headers, body, keep_alive=True)
    with suppress(Fault):
        timeout_s_of(request)
        message_of(request)
    response = front_desk.answer(request)
    _check_written(response)


def _check_written(response: Response) -> None:
    said = b"".join(response.body)
    assert b"the runtime failed on this request" not in said, "something escaped from a decoder"
    assert response.headers.get("grpc-message", "").find("the runtime failed") < 0, "something escaped from a decoder"
    for name, value in response.headers.items():
        assert value.isascii(), f"{name} is not ASCII"
        assert value.isprintable(), f"{name} could forge a header"


def _framed(message: bytes) -> bytes:
    return struct.pack(">BI", 0, len(message)) + message


_JSON_HEAD = b"POST /v1/models/m:predict\ncontent-type: application/json\n\n"
_INPUTS = b'{"inputs": {"x": [[1, 2]], "n": [7], "s": ["a"], "rate": 5}}'

REQUEST = Target(
    "request",
    _check_request,
    seeds=(
        _JSON_HEAD + _INPUTS,
        b"POST /v1/models/m/versions/3:predict\ncontent-encoding: gzip\n\n" + gzip.compress(_INPUTS, mtime=0),
        b"GET /v1/models/m/metadata\n\n",
        b"GET /v1/models/m\n\n",
        b"HEAD /v1/models/m/versions/3\n\n",
        b"GET /healthz\n\n",
        *(
            f"POST {method}\ncontent-type: application/grpc\ngrpc-timeout: 5S\n\n".encode() + _framed(message)
            for method, message in zip((_METHODS[0], _METHODS[2], _METHODS[1]), _MESSAGES[1:])
        ),
    ),
    tokens=(b"/v1/models/", b"%ff", b"%00", b"/versions/", b"99999999999999999999", b":predict", b":classify", b"\n\n"),
)


# --- Tensors -------------------------------------------------------------------------------------------------------


def _check_tensor(data: bytes) -> None:
    try:
        proto = TensorProto.FromString(data)
    except DecodeError:
        return
    try:
        tensor = decode(proto, "x", largest_bytes=LARGEST_BYTES)
    except Fault:
        return
    payload = tensor.nbytes
    assert payload <= LARGEST_BYTES + len(data), f"{len(data)} bytes unfolded to {payload}"
    again = TensorProto.FromString(encode(tensor))
    assert _same(decode(again, "x"), tensor), "encoded and decoded, the tensor is another"
    with suppress(PredictionError):  # it takes fewer: no surplus values, at most 32 dimensions
        theirs = to_array(proto)
        assert theirs.shape == tensor.shape
        if tensor.dtype != DataType.DT_BOOL:
            assert _elements(theirs) == _elements(array_of(tensor))


def _elements(array: Any) -> object:
    """Strings as a list; numbers as their bits, since NaN is not equal to itself."""
    return array.ravel().tolist() if array.dtype == object else array.tobytes()


_ARRAYS = (
    np.arange(6, dtype=np.float32).reshape(2, 3),
    np.array([1.5, np.nan, np.inf], np.float16),
    np.array([-1, 2**63 - 1], np.int64),
    np.array([0, 2**64 - 1], np.uint64),
    np.array([True, False]),
    np.array([1 + 2j], np.complex64),
    np.array([b"a", b"", b"xyz" * 50], object),
    np.array(7, np.int8),
    np.zeros((0, 3), np.float64),
)
_CONTENTS = (
    TensorProto(dtype=DataType.DT_FLOAT, tensor_content=bytes(8)),
    TensorProto(dtype=DataType.DT_STRING, tensor_content=b"\x01\x00\x02axy"),
    TensorProto(dtype=DataType.DT_STRING, string_val=[b"x" * 100]),
)
for _proto, _size in zip(_CONTENTS, (2, 3, 50)):
    _proto.tensor_shape.dim.add(size=_size)
_TENSORS = (*(encode(of_array(array)) for array in _ARRAYS), *(proto.SerializeToString() for proto in _CONTENTS))

TENSOR = Target("tensor", _check_tensor, seeds=_TENSORS, is_protobuf=True, bytes_for_each=64)


# --- Large contents ------------------------------------------------------------------------------------------------


def _check_large_contents(data: bytes) -> None:
    """What `parted` takes apart is what protobuf would have read; with a limit at which small inputs are large."""
    with mock.patch.object(large_contents, "_LARGE", 4):
        parts = large_contents.parted(memoryview(data))
    if parts is None:
        return
    try:
        whole = PredictRequest.FromString(data)
    except DecodeError:
        whole = None
    try:
        rest = PredictRequest.FromString(parts.message)
    except DecodeError:
        assert whole is None, "the rest cannot be read, the whole can"
        return
    if len(rest.inputs) != parts.inputs:
        return  # an input twice: protobuf alone knows which counts
    assert whole is not None, "the rest can be read, the whole cannot"
    for alias, content in parts.contents.items():
        rest.inputs[alias].tensor_content = bytes(content)
    assert rest == whole


_CONTENT_REQUEST = PredictRequest(output_filter=["x"])
_CONTENT_REQUEST.model_spec.name = NAME
for _alias, _proto in zip("xyz", _CONTENTS):
    _CONTENT_REQUEST.inputs[_alias].CopyFrom(_proto)

LARGE_CONTENTS = Target(
    "large_contents",
    _check_large_contents,
    seeds=(_CONTENT_REQUEST.SerializeToString(), *_MESSAGES[:2]),
    is_protobuf=True,
)


# --- JSON ----------------------------------------------------------------------------------------------------------


def _check_json(data: bytes) -> None:
    try:
        document = json_document.parsed(data, LARGEST_BYTES)
    except Fault:
        document = None
    request = Request("POST", f"/v1/models/{NAME}:predict", {}, data, keep_alive=True)
    try:
        response = rest_api.answer(request)
    except Fault as fault:
        _check_written(Response(200, {}, (fault.text.encode(errors="replace"),)))
        return
    assert document is not None, "a document was answered that cannot be read"
    reference = json.loads(data.decode("utf-8-sig"))
    answer = json.loads(b"".join(response.body))
    _check_values(reference, answer)


def _check_values(sent: Mapping[str, Any], answer: Mapping[str, Any]) -> None:
    """By the standard library, numbers have come back as they were sent, rounded as NumPy rounds them."""
    key = sent.get("signature_name") or "serving_default"
    form = "instances" if "instances" in sent else "inputs"
    returned = answer["predictions" if form == "instances" else "outputs"]
    dtype = {"DT_FLOAT": np.float32, "DT_DOUBLE": np.float64, "DT_HALF": np.float16, "DT_INT64": np.int64}.get(key)
    value = sent[form]
    if dtype is None or _has_objects(value):
        return
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(np.array(returned, dtype), np.array(value, dtype))


def _has_objects(value: Any) -> bool:
    while isinstance(value, list) and value:
        value = value[0]
    return isinstance(value, dict)


def _asking(key: str, value: str, form: str = "inputs") -> bytes:
    return f'{{"signature_name": "{key}", "{form}": {value}}}'.encode()


JSON = Target(
    "json",
    _check_json,
    seeds=(
        _INPUTS,
        b'{"instances": [{"x": [1, 2.5], "n": 7, "s": {"b64": "YQ=="}}, {"x": [3, -4e2], "n": 8, "s": "\\u00e9"}]}',
        _asking("DT_FLOAT", "[[1, 2.5, NaN], [-Infinity, 1e-40, 16777215]]"),
        _asking("DT_DOUBLE", "[1e308, -0.0, 9007199254740991]", "instances"),
        _asking("DT_HALF", "[65504, 1e-8]"),
        _asking("DT_BFLOAT16", "[1, 3.0e38, NaN]"),
        _asking("DT_INT64", "[[[-9223372036854775808], [9223372036854775807]]]"),
        _asking("DT_UINT64", "18446744073709551615"),
        _asking("DT_INT8", "[]"),
        _asking("DT_BOOL", "[true, false]", "instances"),
        _asking("DT_STRING", '["a", {"b64": "/w=="}, ""]'),
        _asking("DT_FLOAT", str([[float(n) for n in range(40)]] * 20)),
    ),
    tokens=(
        *(b"NaN", b"Infinity", b"-Inf", b"null", b"true", b"1" * 401, b"1" * 5000, b"1e400", b"-0", b"0.1"),
        *(b"[", b"]", b"{", b"}", b",", b":", b'"', b"\\", b"\\ud800", b"\\u0000", b'{"b64": "', b"\xef\xbb\xbf"),
        *(b"[" * 2000, b'{"a":' * 1500, b"\xff", b'"x": 1, "x": 2', b'"instances"', b'"inputs"', b"DT_COMPLEX64"),
        *(b"DT_INT32", b"DT_STRING", b"DT_BOOL", b"[[]]", b"16777217", b"9007199254740993"),
    ),
    bytes_for_each=600,
)
