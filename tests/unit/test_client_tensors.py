"""TensorProto to and from NumPy, every data type in every form."""

from __future__ import annotations

import time

import numpy as np
import pytest
from stopgap.client.dtypes import Dtype, dtype_of
from stopgap.client.tensors import to_array, to_arrays, to_proto
from stopgap.errors import PredictionError
from stopgap_protos import tensor_pb2
from stopgap_protos.tensor_pb2 import TensorProto, TensorShapeProto

INVALID_ARGUMENT = 3
INTERNAL = 13
NUMBERS = [d for d in map(dtype_of, range(64)) if d is not None and not d.is_string]


def shaped(*sizes: int) -> TensorShapeProto:
    return TensorShapeProto(dim=[TensorShapeProto.Dim(size=size) for size in sizes])


def sample(dtype: Dtype, shape: tuple[int, ...] = (2, 3)) -> np.ndarray:
    """Values that use all the bytes of their type, the first of them 0."""
    random = np.random.RandomState(7)
    if dtype.numpy.kind == "b":
        return np.asarray(random.randint(0, 2, shape), dtype.numpy)
    if dtype.numpy.kind in "iu":
        limits = np.iinfo(dtype.numpy)
        values = np.array([0, limits.max, limits.min, 1, 5, limits.max - 1], dtype.numpy)
        return np.resize(values, shape)
    values = random.standard_normal(shape)
    return np.asarray(values + 1j * np.flip(values) if dtype.numpy.kind == "c" else values).astype(dtype.numpy)


def one_by_one(array: np.ndarray, dtype: Dtype) -> TensorProto:
    """The array in the field that carries single values."""
    proto = TensorProto(dtype=dtype.number, tensor_shape=shaped(*array.shape))  # type: ignore[arg-type]
    flat = array.ravel()
    if dtype.field == "half_val":
        flat = flat.view(np.uint16)
    if dtype.numpy.kind == "c":
        flat = flat.view(flat.real.dtype)
    getattr(proto, dtype.field).extend(flat.tolist())
    return proto


@pytest.mark.parametrize("dtype", NUMBERS, ids=lambda dtype: dtype.name)
@pytest.mark.parametrize("shape", [(2, 3), (), (0,), (4, 0, 2), (6,)], ids=str)
def test_numbers_come_back_as_they_were(dtype: Dtype, shape: tuple[int, ...]) -> None:
    array = sample(dtype, shape)
    proto = TensorProto.FromString(to_proto(array, dtype.number).SerializeToString())
    assert proto.dtype == dtype.number
    back = to_array(proto)
    assert back.dtype == dtype.numpy
    assert back.shape == shape
    assert back.tobytes() == array.tobytes()


@pytest.mark.parametrize("dtype", NUMBERS, ids=lambda dtype: dtype.name)
@pytest.mark.parametrize("shape", [(2, 3), (), (0,), (4, 0, 2)], ids=str)
def test_single_values_are_read(dtype: Dtype, shape: tuple[int, ...]) -> None:
    array = sample(dtype, shape)
    back = to_array(one_by_one(array, dtype))
    assert back.dtype == dtype.numpy
    assert back.shape == shape
    assert back.tobytes() == array.tobytes()


@pytest.mark.parametrize("dtype", NUMBERS, ids=lambda dtype: dtype.name)
def test_a_short_list_repeats_its_last_value(dtype: Dtype) -> None:
    first_two = sample(dtype)[0, :2]
    proto = one_by_one(first_two, dtype)
    proto.tensor_shape.CopyFrom(shaped(2, 2))
    expected = np.array([first_two[0], first_two[1], first_two[1], first_two[1]], dtype.numpy)
    assert to_array(proto).tobytes() == expected.tobytes()


@pytest.mark.parametrize("dtype", NUMBERS, ids=lambda dtype: dtype.name)
def test_no_values_are_zeros(dtype: Dtype) -> None:
    proto = TensorProto(dtype=dtype.number, tensor_shape=shaped(3))  # type: ignore[arg-type]
    assert to_array(proto).tolist() == [0, 0, 0]


def test_an_array_tells_its_own_data_type() -> None:
    for dtype in NUMBERS:
        if not dtype.name.startswith("q") and dtype.name != "bfloat16":
            assert to_proto(sample(dtype)).dtype == dtype.number


def test_a_big_endian_or_strided_array_is_sent_in_the_wires_order() -> None:
    array = np.arange(12, dtype=">i4").reshape(3, 4).T[::2]
    assert to_array(to_proto(array)).tolist() == array.tolist()


def test_a_type_that_tensorflow_does_not_have_is_refused() -> None:
    for array in (np.zeros(2, "datetime64[s]"), np.zeros(2, [("a", "f4")]), np.zeros(2, np.longdouble)):
        with pytest.raises(PredictionError, match="cannot carry") as caught:
            to_proto(array)
        assert caught.value.code == INVALID_ARGUMENT
    with pytest.raises(PredictionError, match="data type 20"):
        to_proto(np.zeros(2), tensor_pb2.DT_RESOURCE)


def test_an_array_of_another_type_than_the_one_asked_for_is_refused() -> None:
    with pytest.raises(PredictionError, match="float64 is not one of float32"):
        to_proto(np.zeros(2), tensor_pb2.DT_FLOAT)
    with pytest.raises(PredictionError, match="not one of strings"):
        to_proto(np.zeros(2), tensor_pb2.DT_STRING)
    with pytest.raises(PredictionError, match="not one of int32"):
        to_proto(np.array([b"a"]), tensor_pb2.DT_INT32)


@pytest.mark.parametrize(
    "array",
    [
        np.array([[b"a", b"bc"], [b"", b"\xff\x00\x01"]]),
        np.array([["a", "bc"], ["", "größer"]]),
        np.array([[b"a", "bc"], [b"", b"ends\0\0"]], dtype=object),
        np.array(b"scalar"),
        np.array([], dtype="S1"),
    ],
    ids=["S", "U", "O", "scalar", "empty"],
)
def test_strings_come_back_as_bytes(array: np.ndarray) -> None:
    back = to_array(to_proto(array))
    assert back.dtype == object
    assert back.shape == array.shape
    expected = [item.encode() if isinstance(item, str) else item for item in array.ravel().tolist()]
    assert back.ravel().tolist() == expected


def test_strings_in_tensor_content_are_read() -> None:
    strings = [b"a", b"", b"x" * 300]
    content = b"\x01\x00\xac\x02" + b"".join(strings)
    proto = TensorProto(dtype=tensor_pb2.DT_STRING, tensor_shape=shaped(3), tensor_content=content)
    assert to_array(proto).tolist() == strings


def test_a_short_list_of_strings_repeats_its_last() -> None:
    proto = TensorProto(dtype=tensor_pb2.DT_STRING, tensor_shape=shaped(3), string_val=[b"a", b"b"])
    assert to_array(proto).tolist() == [b"a", b"b", b"b"]
    del proto.string_val[:]
    assert to_array(proto).tolist() == [b"", b"", b""]


def test_what_is_no_string_is_refused() -> None:
    with pytest.raises(PredictionError, match="cannot hold 1"):
        to_proto(np.array([b"a", 1], dtype=object))
    with pytest.raises(PredictionError, match="not text"):
        to_proto(np.array(["\ud800"], dtype=object))


def test_any_byte_of_a_bool_is_true_or_false() -> None:
    proto = TensorProto(dtype=tensor_pb2.DT_BOOL, tensor_shape=shaped(3), tensor_content=b"\x00\x01\x02")
    assert to_array(proto).view(np.uint8).tolist() == [0, 1, 1]


@pytest.mark.parametrize(
    "proto",
    [
        TensorProto(dtype=tensor_pb2.DT_INVALID),
        TensorProto(dtype=tensor_pb2.DT_RESOURCE, tensor_shape=shaped(1)),
        TensorProto(dtype=tensor_pb2.DT_FLOAT_REF, tensor_shape=shaped(1)),
        TensorProto(dtype=tensor_pb2.DT_FLOAT, tensor_shape=shaped(2), float_val=[1, 2, 3]),
        TensorProto(dtype=tensor_pb2.DT_FLOAT, tensor_shape=shaped(2), tensor_content=b"1234"),
        TensorProto(dtype=tensor_pb2.DT_FLOAT, tensor_shape=shaped(-1), float_val=[1]),
        TensorProto(dtype=tensor_pb2.DT_FLOAT, tensor_shape=TensorShapeProto(unknown_rank=True), float_val=[1]),
        TensorProto(dtype=tensor_pb2.DT_FLOAT, tensor_shape=shaped(2**40), float_val=[1]),
        TensorProto(dtype=tensor_pb2.DT_FLOAT, tensor_shape=shaped(2**62, 2**62), float_val=[1]),
        TensorProto(dtype=tensor_pb2.DT_FLOAT, tensor_shape=shaped(2**62, 0, 2**62)),
        TensorProto(dtype=tensor_pb2.DT_FLOAT, tensor_shape=shaped(*[1] * 65), float_val=[1]),
        TensorProto(dtype=tensor_pb2.DT_COMPLEX64, tensor_shape=shaped(1), scomplex_val=[1]),
        TensorProto(dtype=tensor_pb2.DT_STRING, tensor_shape=shaped(2**40), string_val=[b"a"]),
        TensorProto(dtype=tensor_pb2.DT_STRING, tensor_shape=shaped(2**40), tensor_content=b"a"),
        TensorProto(dtype=tensor_pb2.DT_STRING, tensor_shape=shaped(1), tensor_content=b"\x05ab"),
        TensorProto(dtype=tensor_pb2.DT_STRING, tensor_shape=shaped(1), tensor_content=b"\xff" * 9),
        TensorProto(dtype=tensor_pb2.DT_STRING, tensor_shape=shaped(1), tensor_content=b"\x01ab"),
    ],
)
def test_what_is_not_a_tensor_is_one_clear_error(proto: TensorProto) -> None:
    with pytest.raises(PredictionError, match="not a tensor") as caught:
        to_array(proto)
    assert caught.value.code == INTERNAL


def test_a_million_floats_are_not_touched_one_by_one() -> None:
    array = np.random.RandomState(7).standard_normal(1_000_000).astype(np.float32)
    proto = one_by_one(array, NUMBERS[0])
    assert NUMBERS[0].name == "float32"
    took_s = []
    for _ in range(5):
        started = time.perf_counter()
        to_array(to_proto(array))
        to_array(proto)
        took_s.append(time.perf_counter() - started)
    # Some milliseconds at best; a loop in Python takes more than a hundred.
    assert min(took_s) < 0.05


def test_strings_that_cannot_be_there_are_not_looked_for() -> None:
    for content, size in ((b"\x01" * 1000, 10**9), (b"\x05ab", 1), (b"\x80", 1), (b"\xff\xff\xff\xff\x0f", 1)):
        proto = TensorProto(dtype=tensor_pb2.DT_STRING, tensor_shape=shaped(size), tensor_content=content)
        with pytest.raises(PredictionError) as caught:
            to_array(proto)
        assert caught.value.code == INTERNAL


def test_the_values_that_an_answer_leaves_out_are_bounded_over_all_of_its_outputs() -> None:
    short = TensorProto(dtype=tensor_pb2.DT_UINT8, tensor_shape=shaped(100 << 20), int_val=[1])
    assert list(to_arrays({"b": short, "a": short})) == ["a", "b"]
    with pytest.raises(PredictionError, match="output 'c'"):
        to_arrays({"a": short, "b": short, "c": short})


def test_an_array_of_nothing_in_more_rows_than_could_be_written_down_is_refused() -> None:
    with pytest.raises(PredictionError, match="nothing in it"):
        to_array(TensorProto(dtype=tensor_pb2.DT_FLOAT, tensor_shape=shaped(2**40, 0)))
    assert to_array(TensorProto(dtype=tensor_pb2.DT_FLOAT, tensor_shape=shaped(0, 2**40))).shape == (0, 2**40)
