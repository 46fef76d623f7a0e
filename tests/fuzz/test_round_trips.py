"""What is written can be read, and means the same: to us, to NumPy, to the standard library, to protobuf."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stopgap.client.tensors import to_array, to_proto
from stopgap_protos.serving_pb2 import PredictRequest
from stopgap_protos.tensor_pb2 import DataType, TensorProto
from stopgap_protos.unfolding import _weighed, unfolded_bytes
from stopgap_runtime.bfloat16 import bits_of, floats_of
from stopgap_runtime.host_tensor import ELEMENT, HostTensor, elements_in
from stopgap_runtime.json_answers import write_outputs
from stopgap_runtime.json_document import parsed
from stopgap_runtime.json_numbers import numbers, shape_of
from stopgap_runtime.json_requests import Form, read_inputs
from stopgap_runtime.signatures import Signature, TensorSpec
from stopgap_runtime.tensors import decode, encode
from stopgap_runtime.varints import packed_varints, varint

LARGEST_BYTES = 1 << 24

bounded = settings(
    max_examples=150, derandomize=True, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)

shapes = st.lists(st.integers(0, 5), max_size=4).map(tuple)


@st.composite
def tensors(draw: st.DrawFn, dtypes: st.SearchStrategy[int] | None = None) -> HostTensor:
    """A tensor of any dtype that can travel, its bytes drawn as they are."""
    dtype = draw(dtypes or st.sampled_from([*ELEMENT, int(DataType.DT_STRING)]))
    shape = draw(shapes)
    count = elements_in(shape)
    if dtype == DataType.DT_STRING:
        return HostTensor(dtype, shape, draw(st.lists(st.binary(max_size=300), min_size=count, max_size=count)))
    size = count * ELEMENT[dtype].itemsize
    data = draw(st.binary(min_size=size, max_size=size))
    return HostTensor(dtype, shape, bytes(byte & 1 for byte in data) if dtype == DataType.DT_BOOL else data)


@bounded
@given(tensor=tensors())
def test_a_tensor_comes_back_as_it_was_and_our_client_reads_the_same(tensor: HostTensor) -> None:
    proto = TensorProto.FromString(encode(tensor))
    assert bytes(proto.SerializeToString()) == encode(tensor), "protobuf writes it otherwise"
    back = decode(proto, "x")
    assert back[:2] == tensor[:2]
    assert (back.data if isinstance(back.data, list) else bytes(back.data)) == tensor.data
    array = to_array(proto)
    again = decode(to_proto(array, tensor.dtype), "x")
    assert (again.data if isinstance(again.data, list) else bytes(again.data)) == tensor.data


@bounded
@given(values=st.lists(st.integers(-(2**63), 2**63 - 1), max_size=60))
def test_packed_numbers_are_protobufs(values: list[int]) -> None:
    proto = TensorProto(int64_val=values)
    written = packed_varints(np.array(values, np.int64))
    assert proto.SerializeToString() == (b"\x52" + varint(len(written)) + written if values else b"")


floats = st.floats(width=64)
nested = st.recursive(st.one_of(st.integers(-(2**63), 2**64 - 1), floats, st.booleans()), st.lists)


@bounded
@given(value=st.one_of(nested, shapes.flatmap(lambda shape: _filled(shape, floats))))
def test_nested_lists_of_numbers_are_numpys_arrays(value: Any) -> None:
    shape = shape_of(value)
    array = numbers(value, shape, {int, float})
    try:
        expected = np.array(value, np.float64 if _has(value, float) else None)
    except (ValueError, OverflowError):  # its rows are of different lengths, or no dtype holds it
        assert array is None
        return
    if array is not None:
        assert expected.shape == shape
        np.testing.assert_array_equal(array.reshape(shape).astype(np.float64), expected.astype(np.float64))
    else:
        assert _has(value, bool) or expected.dtype == object or expected.dtype.kind == "f", value


def _filled(shape: tuple[int, ...], elements: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    filled = elements
    for size in reversed(shape):
        filled = st.lists(filled, min_size=size, max_size=size)
    return filled


def _has(value: Any, kind: type) -> bool:
    if isinstance(value, list):
        return any(_has(one, kind) for one in value)
    return type(value) is kind


@bounded
@given(value=shapes.filter(bool).flatmap(lambda shape: _filled(shape, st.floats(width=32, allow_nan=False))))
def test_json_answers_are_the_requests_that_they_came_from(value: list[Any]) -> None:
    """NaN apart, which is no number to compare; the words for infinity are in."""
    spec = TensorSpec("x", "x:0", int(DataType.DT_FLOAT), None)
    signature = Signature("s", "", {"x": spec}, {"x": spec})
    document = parsed(json.dumps({"inputs": value}).encode(), LARGEST_BYTES)
    inputs = read_inputs(document, signature)
    answer = json.loads(write_outputs({"x": inputs.tensors["x"]}, Form.COLUMNS))
    assert np.array_equal(np.array(answer["outputs"], np.float32), np.array(value, np.float32))


@bounded
@given(text=st.text(st.characters(exclude_categories=["Cs"])), words=st.sampled_from(["NaN", "Infinity", "1", '""']))
def test_json_texts_are_the_standard_librarys(text: str, words: str) -> None:
    quoted = json.dumps(text, ensure_ascii=len(text) % 2 == 0)
    document = f'{{"inputs": [{quoted}, {words}]}}'
    assert repr(parsed(document.encode(), LARGEST_BYTES)) == repr(json.loads(document))


@bounded
@given(numbers=st.lists(st.floats(width=32)))
def test_bfloat16_is_the_nearest_one(numbers: list[float]) -> None:
    exact = np.array(numbers, np.float32)
    rounded = floats_of(bits_of(exact))
    bits = exact.view(np.uint32)
    below = (bits & 0xFFFF0000).view(np.float32)
    with np.errstate(all="ignore"):
        above = ((bits & 0xFFFF0000) + 0x10000).astype(np.uint32).view(np.float32)
        nearest = np.where(np.abs(above - exact) < np.abs(exact - below), above, below)
    halfway = (bits & 0xFFFF) == 0x8000
    right = (rounded == nearest) | halfway | ~np.isfinite(exact) | ~np.isfinite(rounded)
    assert right.all(), exact[~right]
    assert (np.isnan(rounded) == np.isnan(exact)).all()


@bounded
@given(
    inputs=st.dictionaries(st.text(max_size=5), tensors(), max_size=5),
    outputs=st.lists(st.text(max_size=5), max_size=5),
)
def test_what_a_message_takes_is_never_told_as_less_than_its_values(
    inputs: dict[str, HostTensor], outputs: list[str]
) -> None:
    request = PredictRequest(output_filter=outputs)
    for alias, tensor in inputs.items():
        request.inputs[alias].ParseFromString(encode(tensor))
    payload = sum(tensor.nbytes for tensor in inputs.values()) + sum(map(len, outputs))
    serialised = request.SerializeToString()
    told = _weighed(request.DESCRIPTOR, serialised, 10**12)
    assert payload <= told + 4096  # a dtype of one byte goes as it is
    assert told <= unfolded_bytes(PredictRequest, serialised, 10**12)
