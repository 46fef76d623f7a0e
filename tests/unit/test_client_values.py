"""What a person may give for an input of each data type, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from stopgap.client.dtypes import dtype_of
from stopgap.client.values import fitted, widened
from stopgap.errors import PredictionError

DTYPES = {dtype.name: dtype for dtype in map(dtype_of, range(64)) if dtype is not None}


def fit(value: object, dtype: str) -> np.ndarray:
    return fitted("x", value, DTYPES[dtype])


@pytest.mark.parametrize(
    ("dtype", "value", "expected"),
    [
        ("float32", [[1, 2], [3, 4]], [[1.0, 2.0], [3.0, 4.0]]),
        ("float32", 7, 7.0),
        ("float32", np.array([0.1]), [np.float32(0.1)]),
        ("float32", [float("nan"), float("inf")], [float("nan"), float("inf")]),
        ("float16", [1, 2.5], [1.0, 2.5]),
        ("int32", [], []),
        ("int64", np.array([1, 2], np.uint8), [1, 2]),
        ("int8", [-128, 127], [-128, 127]),
        ("uint64", [2**64 - 1], [2**64 - 1]),
        ("quint8", [0, 255], [0, 255]),
        ("bool", [True, False], [True, False]),
        ("complex64", [1, 2.5], [1 + 0j, 2.5 + 0j]),
        ("complex128", np.array([1j], np.complex64), [1j]),
        ("string", "a", "a"),
        ("string", [["a", b"b"], ["", b"\0"]], [["a", b"b"], ["", b"\0"]]),
        ("string", np.array([b"a"]), [b"a"]),
        ("string", np.array(["ü"]), ["ü"]),
        ("string", [], []),
    ],
)
def test_what_keeps_its_meaning_is_taken(dtype: str, value: object, expected: Any) -> None:
    array = fit(value, dtype)
    assert array.dtype == DTYPES[dtype].numpy
    np.testing.assert_array_equal(array, np.array(expected, array.dtype))


@pytest.mark.parametrize(
    ("dtype", "value", "reason"),
    [
        ("int32", [1.0], "values of float64 cannot be int32"),
        ("int32", [2**31], "2147483648 does not fit into int32"),
        ("uint8", [-1], "-1 does not fit into uint8"),
        ("uint64", [-1], "-1 does not fit into uint64"),
        ("int64", np.array([2**63], np.uint64), "9223372036854775808 does not fit"),
        ("int64", [2**64], "different"),
        ("quint8", [256], "256 does not fit into quint8"),
        ("float32", [1e39], "1e+39 does not fit into float32"),
        ("float16", [70000], "70000 does not fit into float16"),
        ("bfloat16", [3.5e38], "does not fit into bfloat16"),
        ("complex64", [1e39], "does not fit into complex64"),
        ("float32", ["1"], "cannot be float32"),
        ("float32", [1j], "cannot be float32"),
        ("float32", [None], "different"),
        ("float32", [[1, 2], [3]], "rows are of different lengths"),
        ("float32", {"a": 1}, "different"),
        ("float32", [True], "values of bool cannot be float32"),
        ("bool", [1], "cannot be bool"),
        ("string", [1], "1 cannot be string"),
        ("string", ["a", None], "None cannot be string"),
        ("string", [["a"], ["b", "c"]], "rows of different lengths"),
        ("string", np.array([1.5]), "1.5 cannot be string"),
    ],
)
def test_what_would_change_its_meaning_is_refused(dtype: str, value: object, reason: str) -> None:
    with pytest.raises(PredictionError) as caught:
        fit(value, dtype)
    assert caught.value.problem.startswith("The input 'x' cannot be sent: ")
    assert reason in caught.value.problem
    assert caught.value.code == 3


def test_a_bfloat16_is_its_bits_or_the_nearest_number() -> None:
    bits = fit(np.array([0x3F80, 0x7FC0], np.uint16), "bfloat16")
    assert bits.tolist() == [0x3F80, 0x7FC0]
    # Halfway between 1 and the next one up goes to the even of the two, as does halfway from that one.
    numbers = [1, 1 + 2**-8, 1 + 3 * 2**-8, -2.5, float("inf"), float("nan")]
    rounded = fit(numbers, "bfloat16")
    assert rounded.dtype == np.uint16
    expected = [1, 1, 1 + 2**-6, -2.5, float("inf"), float("nan")]
    np.testing.assert_array_equal(widened(rounded, DTYPES["bfloat16"]), np.array(expected, np.float32))


def test_a_scalar_stays_a_scalar() -> None:
    for name, dtype in DTYPES.items():
        value = "a" if name == "string" else True if name == "bool" else 1
        assert fitted("x", value, dtype).shape == ()


def test_every_data_type_has_rules() -> None:
    assert len(DTYPES) == 21
    for name, dtype in DTYPES.items():
        assert fitted("x", [], dtype).shape == (0,), name
