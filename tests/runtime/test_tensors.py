"""TensorProtos in and out, checked against protobuf itself and against TensorFlow's rules for odd ones."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from stopgap_protos.tensor_pb2 import DataType, TensorProto, TensorShapeProto
from stopgap_runtime.faults import Code, Fault
from stopgap_runtime.host_tensor import ELEMENT, HostTensor, array_of, dtype_name, of_array, zeros
from stopgap_runtime.tensors import decode, encode, pieces

GENERATOR = np.random.default_rng(15)

FIELDS = {
    DataType.DT_FLOAT: "float_val",
    DataType.DT_DOUBLE: "double_val",
    DataType.DT_INT32: "int_val",
    DataType.DT_UINT8: "int_val",
    DataType.DT_INT16: "int_val",
    DataType.DT_INT8: "int_val",
    DataType.DT_COMPLEX64: "scomplex_val",
    DataType.DT_INT64: "int64_val",
    DataType.DT_BOOL: "bool_val",
    DataType.DT_QINT8: "int_val",
    DataType.DT_QUINT8: "int_val",
    DataType.DT_QINT32: "int_val",
    DataType.DT_BFLOAT16: "half_val",
    DataType.DT_QINT16: "int_val",
    DataType.DT_QUINT16: "int_val",
    DataType.DT_UINT16: "int_val",
    DataType.DT_COMPLEX128: "dcomplex_val",
    DataType.DT_HALF: "half_val",
    DataType.DT_UINT32: "uint32_val",
    DataType.DT_UINT64: "uint64_val",
}
NUMERIC = pytest.mark.parametrize("dtype", sorted(FIELDS), ids=dtype_name)
SHAPES = pytest.mark.parametrize("shape", [(), (0,), (1,), (2, 0, 3), (3, 2), (70_001,)], ids=str)


def random_tensor(dtype: int, shape: tuple[int, ...]) -> HostTensor:
    """Every bit pattern is a number; but a bool is 0 or 1."""
    size = int(np.prod(shape)) * ELEMENT[dtype].itemsize
    content = GENERATOR.integers(0, 2 if dtype == DataType.DT_BOOL else 256, size, np.uint8)
    return HostTensor(dtype, shape, content.tobytes())


def written_by_protobuf(tensor: HostTensor) -> TensorProto:
    """The same tensor, element by element, by protobuf's own means."""
    proto = TensorProto(dtype=tensor.dtype, tensor_shape=shape_of(tensor.shape))  # type: ignore[arg-type]  # a number
    if isinstance(tensor.data, list):
        proto.string_val.extend(tensor.data)
        return proto
    elements: NDArray[Any] = np.frombuffer(tensor.data, ELEMENT[tensor.dtype])
    if FIELDS[tensor.dtype] == "half_val":  # type: ignore[index]  # a number of the enum
        elements = elements.view(np.uint16)
    if elements.dtype.kind == "c":
        elements = elements.view(f"f{elements.itemsize // 2}")
    getattr(proto, FIELDS[tensor.dtype]).extend(elements.tolist())  # type: ignore[index]
    return proto


def shape_of(shape: tuple[int, ...]) -> TensorShapeProto:
    return TensorShapeProto(dim=[TensorShapeProto.Dim(size=size) for size in shape])


def test_every_dtype_that_has_elements_is_tried() -> None:
    assert FIELDS.keys() == ELEMENT.keys()


@NUMERIC
@SHAPES
def test_an_answer_is_byte_for_byte_what_protobuf_writes(dtype: int, shape: tuple[int, ...]) -> None:
    tensor = random_tensor(dtype, shape)
    if ELEMENT[dtype].kind not in "fc" or dtype == DataType.DT_HALF:  # Python's floats do not keep every NaN's bits
        assert encode(tensor) == written_by_protobuf(tensor).SerializeToString()
    assert decode(TensorProto.FromString(encode(tensor)), "x") == tensor


@pytest.mark.parametrize("dtype", [DataType.DT_FLOAT, DataType.DT_DOUBLE, DataType.DT_COMPLEX64], ids=dtype_name)
@SHAPES
def test_finite_floats_are_byte_for_byte_what_protobuf_writes(dtype: int, shape: tuple[int, ...]) -> None:
    tensor = of_array(GENERATOR.normal(size=shape).astype(ELEMENT[dtype]))
    assert tensor.dtype == dtype
    assert encode(tensor) == written_by_protobuf(tensor).SerializeToString()


@pytest.mark.parametrize(
    "numbers",
    [
        np.array([0, 1, 127], np.int32),
        np.array([128, 16383, 16384, 2**31 - 1], np.int32),
        np.array([-1, 5, -(2**31)], np.int32),
        np.array([2**63 - 1, -(2**63), 0], np.int64),
        np.array([2**64 - 1, 2**63, 1], np.uint64),
        np.array([2**32 - 1], np.uint32),
        np.array([-128, 127], np.int8),
        np.array([255, 0], np.uint8),
    ],
    ids=str,
)
def test_integers_at_every_edge_are_written_as_protobuf_writes_them(numbers: NDArray[Any]) -> None:
    tensor = of_array(numbers)
    assert encode(tensor) == written_by_protobuf(tensor).SerializeToString()


@SHAPES
def test_strings_are_byte_for_byte_what_protobuf_writes(shape: tuple[int, ...]) -> None:
    count = int(np.prod(shape))
    tensor = HostTensor(DataType.DT_STRING, shape, [b"\0\xff" * (place % 200) for place in range(count)])
    assert encode(tensor) == written_by_protobuf(tensor).SerializeToString()
    assert decode(TensorProto.FromString(encode(tensor)), "x") == tensor


@NUMERIC
@SHAPES
def test_tensor_content_is_taken_as_it_is(dtype: int, shape: tuple[int, ...]) -> None:
    tensor = random_tensor(dtype, shape)
    content = bytes(tensor.data)  # type: ignore[arg-type]  # no strings
    proto = TensorProto(dtype=dtype, tensor_shape=shape_of(shape), tensor_content=content)  # type: ignore[arg-type]
    assert decode(proto, "x") == tensor


def test_strings_in_tensor_content_are_read_as_tensorflow_writes_them() -> None:
    texts = [b"", b"a" * 200, b"bc"]
    content = b"\x00\xc8\x01\x02" + b"".join(texts)
    proto = TensorProto(dtype=DataType.DT_STRING, tensor_shape=shape_of((3,)), tensor_content=content)
    assert decode(proto, "x").data == texts


@pytest.mark.parametrize(
    ("values", "due"),
    [([], [0.0] * 4), ([1.5], [1.5] * 4), ([1.0, 2.0], [1.0, 2.0, 2.0, 2.0]), ([1.0] * 9, [1.0] * 4)],
    ids=["none are zeros", "one is repeated", "the last is repeated", "a surplus is ignored"],
)
def test_values_that_do_not_fit_the_shape_follow_tensorflows_rule(values: list[float], due: list[float]) -> None:
    proto = TensorProto(dtype=DataType.DT_FLOAT, tensor_shape=shape_of((2, 2)), float_val=values)
    assert array_of(decode(proto, "x")).ravel().tolist() == due


def test_the_rule_holds_for_strings_halves_and_complex_numbers_too() -> None:
    strings = TensorProto(dtype=DataType.DT_STRING, tensor_shape=shape_of((3,)), string_val=[b"a", b"b"])
    assert decode(strings, "x").data == [b"a", b"b", b"b"]
    nothing = TensorProto(dtype=DataType.DT_STRING, tensor_shape=shape_of((2,)))
    assert decode(nothing, "x").data == [b"", b""]
    halves = TensorProto(dtype=DataType.DT_HALF, tensor_shape=shape_of((2,)), half_val=[0x3C00])
    assert array_of(decode(halves, "x")).tolist() == [1.0, 1.0]
    odd = TensorProto(dtype=DataType.DT_COMPLEX64, tensor_shape=shape_of((2,)), scomplex_val=[1, 2, 3])
    assert array_of(decode(odd, "x")).tolist() == [1 + 2j, 1 + 2j]


def test_numbers_too_large_for_a_small_dtype_wrap_as_in_tensorflow() -> None:
    proto = TensorProto(dtype=DataType.DT_INT8, tensor_shape=shape_of((2,)), int_val=[300, -129])
    assert array_of(decode(proto, "x")).tolist() == [44, 127]


def test_what_is_beside_an_empty_shape_is_ignored() -> None:
    proto = TensorProto(dtype=DataType.DT_FLOAT, tensor_shape=shape_of((0, 3)), tensor_content=b"xy")
    assert decode(proto, "x") == HostTensor(DataType.DT_FLOAT, (0, 3), b"")


@pytest.mark.parametrize(
    "proto",
    [
        TensorProto(dtype=DataType.DT_FLOAT, tensor_shape=shape_of((2,)), tensor_content=b"1234567"),
        TensorProto(dtype=DataType.DT_FLOAT, tensor_shape=shape_of((2,)), tensor_content=b"123456789"),
        TensorProto(dtype=DataType.DT_FLOAT, tensor_shape=shape_of((-1,)), float_val=[1]),
        TensorProto(dtype=DataType.DT_FLOAT, tensor_shape=shape_of((2**40, 2**40))),
        TensorProto(dtype=DataType.DT_FLOAT, tensor_shape=shape_of((2**40, 2**40, 0))),
        TensorProto(dtype=DataType.DT_FLOAT, tensor_shape=shape_of((1,) * 255), float_val=[1]),
        TensorProto(dtype=DataType.DT_FLOAT, tensor_shape=TensorShapeProto(unknown_rank=True), float_val=[1]),
        TensorProto(dtype=DataType.DT_INVALID, tensor_shape=shape_of((1,)), float_val=[1]),
        TensorProto(dtype=DataType.DT_RESOURCE, tensor_shape=shape_of((1,))),
        TensorProto(dtype=DataType.DT_VARIANT, tensor_shape=shape_of((1,))),
        TensorProto(dtype=DataType.DT_FLOAT_REF, tensor_shape=shape_of((1,)), float_val=[1]),
        TensorProto(dtype=99, tensor_shape=shape_of((1,))),  # type: ignore[arg-type]  # as a stranger may send it
        TensorProto(dtype=DataType.DT_STRING, tensor_shape=shape_of((2,)), tensor_content=b"\x01\x09a"),
        TensorProto(dtype=DataType.DT_STRING, tensor_shape=shape_of((2,)), tensor_content=b"\x01"),
        TensorProto(dtype=DataType.DT_STRING, tensor_shape=shape_of((2,)), tensor_content=b"\xff" * 9),
    ],
    ids=[
        "too few bytes",
        "too many bytes",
        "negative size",
        "overflow",
        "overflow beside a zero",
        "rank 255",
        "unknown rank",
        "no dtype",
        "resource",
        "variant",
        "reference",
        "unknown dtype",
        "string beyond the end",
        "too few strings",
        "endless length",
    ],
)
def test_what_cannot_be_a_tensor_is_refused_in_tf_servings_words(proto: TensorProto) -> None:
    with pytest.raises(Fault) as refused:
        decode(proto, "image")
    assert (refused.value.code, refused.value.text) == (Code.INVALID_ARGUMENT, "tensor parsing error: image")


def test_rank_254_is_the_last_that_is_accepted() -> None:
    proto = TensorProto(dtype=DataType.DT_FLOAT, tensor_shape=shape_of((1,) * 254), float_val=[1])
    assert len(decode(proto, "x").shape) == 254


@pytest.mark.parametrize("dtype", [DataType.DT_FLOAT, DataType.DT_STRING], ids=dtype_name)
def test_a_repeated_value_cannot_fill_the_memory(dtype: DataType) -> None:
    with pytest.raises(Fault) as refused:
        decode(TensorProto(dtype=dtype, tensor_shape=shape_of((2**40,))), "x")
    assert refused.value.code == Code.RESOURCE_EXHAUSTED
    with pytest.raises(Fault):
        decode(TensorProto(dtype=DataType.DT_FLOAT, tensor_shape=shape_of((26,))), "x", largest_bytes=100)


def test_what_has_no_form_on_the_wire_is_refused() -> None:
    with pytest.raises(Fault, match="resource") as refused:
        encode(HostTensor(DataType.DT_RESOURCE, (), b""))
    assert refused.value.code == Code.UNIMPLEMENTED


def test_a_large_answer_is_not_copied_to_stand_behind_its_header() -> None:
    tensor = of_array(np.zeros(1000, np.float32))
    assert pieces(tensor)[-1] is tensor.data


def test_ten_megabytes_of_floats_cost_little_more_than_copying_them() -> None:
    """A loop over the elements would take a hundred times as long as is allowed here."""
    tensor = of_array(GENERATOR.normal(size=2_621_440).astype(np.float32))
    proto = TensorProto.FromString(encode(tensor))
    started = time.perf_counter()
    for _ in range(3):
        decode(proto, "x")
        encode(tensor)
    assert (time.perf_counter() - started) / 3 < 0.03


@pytest.mark.parametrize("dtype", [*sorted(FIELDS), DataType.DT_STRING], ids=dtype_name)
def test_zeros_and_arrays_go_there_and_back(dtype: int) -> None:
    array = array_of(zeros(dtype, (2, 3)))
    assert array.shape == (2, 3)
    again = of_array(array)
    assert array_of(again).tolist() == array.tolist()


@pytest.mark.parametrize("text", [b"x" * 1000, b"x"], ids=["a long text", "many places"])
def test_a_string_that_stands_for_many_is_held_to_what_they_would_take(text: bytes) -> None:
    proto = TensorProto(dtype=DataType.DT_STRING, string_val=[text])
    proto.tensor_shape.dim.add(size=(1 << 20) // 16 if len(text) > 1 else 1 << 17)
    with pytest.raises(Fault) as refused:
        decode(proto, "x", largest_bytes=1 << 20)
    assert refused.value.code == Code.RESOURCE_EXHAUSTED
