"""JSON ↔ tensors: TF Serving's rules and texts, every dtype, and no way to make a million values slow."""

from __future__ import annotations

import base64
import json
import math
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from stopgap_protos.tensor_pb2 import DataType
from stopgap_runtime.bfloat16 import bits_of, floats_of
from stopgap_runtime.faults import Code, Fault
from stopgap_runtime.host_tensor import ELEMENT, HostTensor, array_of, of_array
from stopgap_runtime.json_answers import check_writable, write_outputs
from stopgap_runtime.json_document import excerpt, parsed
from stopgap_runtime.json_numbers import LARGEST_RANK, numbers, shape_of
from stopgap_runtime.json_requests import Form, Inputs, read_inputs
from stopgap_runtime.json_tensors import tensor_of
from stopgap_runtime.signatures import Signature, TensorSpec

MIB = 1 << 20
FLOAT, INT32, STRING = DataType.DT_FLOAT, DataType.DT_INT32, DataType.DT_STRING
INTEGERS = [dtype for dtype, element in ELEMENT.items() if element.kind in "iu" and dtype != DataType.DT_BFLOAT16]


def spec(
    dtype: int, shape: Sequence[int | None] | None = None, alias: str = "x", *, optional: bool = False
) -> TensorSpec:
    return TensorSpec(alias, f"{alias}:0", dtype, None if shape is None else tuple(shape), optional)


def signature(*specs: TensorSpec, outputs: Sequence[TensorSpec] = ()) -> Signature:
    return Signature("sig", "", {one.alias: one for one in specs}, {one.alias: one for one in outputs})


def read(text: str | bytes, *specs: TensorSpec) -> Inputs:
    body = text if isinstance(text, bytes) else text.encode()
    return read_inputs(parsed(body, 128 * MIB), signature(*specs))


def read_one(value: str, dtype: int, shape: Sequence[int | None] | None = None) -> NDArray[Any]:
    return array_of(read(f'{{"inputs": {value}}}', spec(dtype, shape)).tensors["x"])


def refusal(text: str | bytes, *specs: TensorSpec) -> str:
    with pytest.raises(Fault) as refused:
        read(text, *specs)
    assert refused.value.code is Code.INVALID_ARGUMENT
    return refused.value.text


def float32(value: object) -> NDArray[np.float32]:
    return np.array(value, np.float32)


def answer(form: Form = Form.COLUMNS, **outputs: HostTensor) -> str:
    return write_outputs(outputs, form).decode()


def strings(*texts: bytes, shape: tuple[int, ...] | None = None) -> HostTensor:
    return HostTensor(STRING, (len(texts),) if shape is None else shape, list(texts))


# --- Numbers in ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", INTEGERS, ids=DataType.Name)
def test_an_integer_dtype_takes_its_whole_range_and_not_one_more(dtype: int) -> None:
    bounds = np.iinfo(ELEMENT[dtype].str)
    assert read_one(f"[{bounds.min}, {bounds.max}]", dtype).tolist() == [bounds.min, bounds.max]
    for beyond in (bounds.min - 1, bounds.max + 1):
        with pytest.raises(Fault, match="is not of expected type"):
            read_one(f"[0, {beyond}]", dtype)


@pytest.mark.parametrize("dtype", [FLOAT, DataType.DT_DOUBLE, DataType.DT_HALF], ids=DataType.Name)
def test_a_float_dtype_takes_integers_and_rounds_decimals(dtype: int) -> None:
    given = [1, -2, 0.1, 1e-3, -0.0]
    assert read_one(json.dumps(given), dtype).tolist() == np.array(given, ELEMENT[dtype]).tolist()


def test_bfloat16_is_rounded_to_the_nearest() -> None:
    assert floats_of(read_one("[1, 1.00390625, 1.01171875, -3.0, 1e-40]", DataType.DT_BFLOAT16)).tolist() == [
        1.0,
        1.0,  # halfway to 1.0078125, whose last bit is odd
        1.015625,  # halfway as well, and this one is even
        -3.0,
        floats_of(bits_of(np.array([1e-40])))[0],
    ]
    assert np.isnan(floats_of(read_one("[NaN]", DataType.DT_BFLOAT16))).all()


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        (FLOAT, "1e39"),
        (FLOAT, "-3.5e38"),
        (FLOAT, "16777216"),
        (FLOAT, "-16777216"),
        (DataType.DT_DOUBLE, "9007199254740992"),
        (DataType.DT_HALF, "65520.0"),
        (DataType.DT_HALF, "100000"),
        (DataType.DT_BFLOAT16, "3.4e38"),
    ],
)
@pytest.mark.parametrize("form", ["[{}]", "[1.5, {}]", "[1, {}]"])
def test_a_number_that_its_dtype_cannot_hold_is_refused_as_lossy(dtype: int, value: str, form: str) -> None:
    text = refusal(f'{{"inputs": {form.format(value)}}}', spec(dtype))
    assert text.startswith("Cannot convert JSON value: ")
    assert text.endswith(f" to {DataType.Name(dtype)[3:].lower()} without loss of precision.")


def test_numbers_at_the_edge_are_taken() -> None:
    assert (
        read_one("[16777215, 3.4028235e38, 1e20]", FLOAT).tolist() == float32([16777215, 3.4028235e38, 1e20]).tolist()
    )
    assert read_one("[18446744073709551616]", DataType.DT_DOUBLE).tolist() == [2.0**64]  # beyond 64 bits: a decimal


def test_nan_and_infinity_are_read_as_words() -> None:
    read_words = read_one("[NaN, Infinity, -Infinity, Inf, -Inf, 1, 0.5]", FLOAT)
    np.testing.assert_array_equal(read_words, float32([np.nan, np.inf, -np.inf, np.inf, -np.inf, 1, 0.5]))


def test_words_within_strings_are_left_alone() -> None:
    assert read_one(r'["NaN", "a\"NaN", "\\", "-Inf"]', STRING).tolist() == [b"NaN", b'a"NaN', b"\\", b"-Inf"]
    inputs = read(r'{"inputs": {"s": ["Inf\\"], "x": [NaN]}}', spec(STRING, alias="s"), spec(FLOAT))
    assert inputs.tensors["s"].data == [b"Inf\\"]


@pytest.mark.parametrize("dtype", [DataType.DT_COMPLEX64, DataType.DT_COMPLEX128], ids=DataType.Name)
def test_complex_numbers_are_refused_in_both_directions(dtype: int) -> None:
    assert "JSON has no complex numbers, gRPC does (input 'x')" in refusal('{"inputs": [1.0]}', spec(dtype))
    assert "JSON has no complex numbers, gRPC does (input 'x')" in refusal('{"instances": [1.0]}', spec(dtype))
    with pytest.raises(Fault, match=r"JSON has no complex numbers, gRPC does \(output 'y'\)"):
        check_writable(signature(outputs=[spec(dtype, alias="y")]))
    with pytest.raises(Fault, match="JSON has no complex numbers"):
        answer(y=HostTensor(dtype, (1,), bytes(ELEMENT[dtype].itemsize)))


def test_what_is_neither_number_nor_string_is_refused() -> None:
    with pytest.raises(Fault, match="Conversion of JSON Value: 1 to type: resource") as refused:
        tensor_of(1, spec(DataType.DT_RESOURCE))
    assert refused.value.code is Code.UNIMPLEMENTED
    with pytest.raises(Fault, match="Failed to write JSON value for tensor type: variant"):
        check_writable(signature(outputs=[spec(DataType.DT_VARIANT, alias="y")]))


@pytest.mark.parametrize(
    ("dtype", "value", "text"),
    [
        (FLOAT, '"a"', 'JSON Value: "a" Type: String is not of expected type: float'),
        (FLOAT, "true", "JSON Value: true Type: True is not of expected type: float"),
        (FLOAT, "[1.0, null]", "JSON Value: null Type: Null is not of expected type: float"),
        (FLOAT, '[[1, {"b64": "YQ=="}]]', 'JSON Value: {"b64": "YQ=="} Type: Object is not of expected type: float'),
        (INT32, "1.0", "JSON Value: 1.0 Type: Number is not of expected type: int32"),
        (INT32, "[false]", "JSON Value: false Type: False is not of expected type: int32"),
        (INT32, "2147483648", "JSON Value: 2147483648 Type: Number is not of expected type: int32"),
        (DataType.DT_BOOL, "[true, 1]", "JSON Value: 1 Type: Number is not of expected type: bool"),
        (STRING, "[1]", "JSON Value: 1 Type: Number is not of expected type: string"),
        (STRING, '[{"b64": 1}]', 'JSON Value: {"b64": 1} not formatted correctly for base64 data'),
        (STRING, '["a", {"b64": "*"}]', "Unable to base64 decode"),
        (STRING, '[{"b64": "YWJjZ"}]', "Unable to base64 decode"),
        (FLOAT, "[1, [2]]", "Encountered list at unexpected level: 1 expected < 1"),
        (FLOAT, "[[1], 2]", "JSON Value: 2 found at incorrect level: 2 in the JSON DOM. Expected at level: 2"),
        (FLOAT, "[[1, 2], [3]]", "Encountered list at unexpected size: 1 at level: 1 expected size: 2"),
        (FLOAT, "[[], [3]]", "Encountered list at unexpected size: 1 at level: 1 expected size: 0"),
    ],
)
def test_a_wrong_value_is_named_in_tf_servings_words(dtype: int, value: str, text: str) -> None:
    assert refusal(f'{{"inputs": {value}}}', spec(dtype)) == text


def test_of_several_faults_the_first_is_named() -> None:
    assert "Value: true" in refusal('{"inputs": [[1, 2], [3, true], [4], "a"]}', spec(FLOAT))


@pytest.mark.parametrize("shape", [(), (3,), (0,), (2, 0), (600,), (700, 1), (1, 700), (10, 7, 9), (2, 3, 4, 5, 6)])
def test_lists_of_every_shape_become_arrays(shape: tuple[int, ...]) -> None:
    count = np.arange(math.prod(shape)).reshape(shape)
    for array, kinds in ((count * 0.5, {float, int}), (count, {int}), (count - 2**40, {int}), (count % 2 == 1, {bool})):
        nested = array.tolist()
        assert shape_of(nested) == shape
        read_back = numbers(nested, shape, kinds)
        assert read_back is not None
        assert read_back.dtype.kind == (array.dtype.kind if array.size else "f")
        np.testing.assert_array_equal(read_back, array.ravel())


@pytest.mark.parametrize("strange", [True, None, "", "abcd", [], {}, 2**40, 7, 0.5], ids=repr)
@pytest.mark.parametrize("place", [0, 1, 999])
@pytest.mark.parametrize("usual", [0.5, 7])
def test_one_strange_value_among_a_thousand_is_noticed(usual: float, place: int, strange: object) -> None:
    """Some of them take as many bytes as the usual one where they are serialised."""
    values: list[Any] = [usual] * 1000
    values[place] = strange
    rows = [values[start : start + 10] for start in range(0, 1000, 10)]
    for kinds in ({float, int}, {int}):
        expected = values if {type(usual), type(strange)} <= kinds else None
        for nested, shape in ((values, (1000,)), (rows, (100, 10))):
            found = numbers(nested, shape, kinds)
            assert (None if found is None else found.tolist()) == expected


def test_lists_whose_lengths_make_up_for_each_other_are_not_regular() -> None:
    rows = [[0.5] * 10, [0.5] * 9, [0.5] * 11, *[[0.5] * 10] * 97]
    assert numbers(rows, (100, 10), {float}) is None
    assert "unexpected size: 9 at level: 1 expected size: 10" in refusal(json.dumps({"inputs": rows}), spec(FLOAT))


def test_an_integer_is_not_taken_for_the_head_of_a_list() -> None:
    """It is as long where they are serialised, and the floats behind it lie where the list's would."""
    row = [0.5] * 300
    nested = [[row, row], [row, 7, *row]]
    assert numbers(nested, (2, 2, 300), {float, int}) is None
    assert "unexpected size: 302 at level: 1 expected size: 2" in refusal(json.dumps({"inputs": nested}), spec(FLOAT))


def test_nesting_has_an_end() -> None:
    deep = "[" * LARGEST_RANK + "1" + "]" * LARGEST_RANK
    assert read_one(deep, FLOAT).shape == (1,) * LARGEST_RANK
    assert f"unexpected level: {LARGEST_RANK}" in refusal(f'{{"inputs": [{deep}]}}', spec(FLOAT))


def test_a_fault_among_a_million_values_is_found_as_fast_as_they_are_read() -> None:
    body = json.dumps({"instances": [[0.5] * 100] * 9_999 + [[0.5] * 99 + ["a"]]})
    began = time.monotonic()
    assert refusal(body, spec(FLOAT)).startswith("Failed to process element: 9999 of 'instances' list.")
    assert time.monotonic() - began < 5


# --- Strings in ----------------------------------------------------------------------------------------------------


def test_strings_come_as_text_or_as_base64_with_or_without_padding() -> None:
    given = '["é", {"b64": "AP8="}, {"b64": "AP8"}, {"b64": "A P\\n8="}, {"b64": ""}, ""]'
    assert read_one(given, STRING).tolist() == ["é".encode(), b"\0\xff", b"\0\xff", b"\0\xff", b"", b""]


def test_one_string_in_base64_may_be_all_there_is() -> None:
    assert read_one('{"b64": "YQ=="}', STRING).tolist() == b"a"
    rows = read('{"instances": [{"b64": "YQ=="}, "b"]}', spec(STRING))
    assert rows.tensors["x"].data == [b"a", b"b"]


# --- Shapes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "known", "shape"),
    [
        ("[]", (None, 28, 28), (0, 28, 28)),
        ("[[], []]", (None, None, 3), (2, 0, 3)),
        ("[]", (None, None), (0, 0)),
        ("[]", None, (0,)),
        ("[1]", (None, 28), (1,)),
    ],
)
def test_an_empty_list_goes_on_as_the_signature_says(
    value: str, known: tuple[int | None, ...] | None, shape: tuple[int, ...]
) -> None:
    assert read_one(value, FLOAT, known).shape == shape


# --- Forms ---------------------------------------------------------------------------------------------------------


def test_rows_of_one_input_are_stacked() -> None:
    inputs = read('{"instances": [[1, 2], [3, 4], [5, 6]]}', spec(FLOAT))
    assert inputs.form is Form.ROWS
    assert array_of(inputs.tensors["x"]).tolist() == [[1, 2], [3, 4], [5, 6]]
    assert array_of(read('{"instances": [1, 2]}', spec(FLOAT)).tensors["x"]).tolist() == [1, 2]
    assert array_of(read('{"instances": [{"x": 1}, {"x": 2}]}', spec(FLOAT)).tensors["x"]).tolist() == [1, 2]


def test_rows_of_several_inputs_are_objects() -> None:
    text = '{"instances": [{"x": [1.5], "s": "a"}, {"s": {"b64": "Yg=="}, "x": [2]}], "parameters": {"ignored": [1]}}'
    inputs = read(text, spec(FLOAT), spec(STRING, alias="s"))
    assert array_of(inputs.tensors["x"]).tolist() == [[1.5], [2]]
    assert inputs.tensors["s"].data == [b"a", b"b"]


def test_columns_are_an_object_whose_other_keys_are_ignored() -> None:
    inputs = read('{"inputs": {"x": [1], "s": ["a"], "more": 1}}', spec(FLOAT), spec(STRING, alias="s"))
    assert inputs.form is Form.COLUMNS
    assert list(inputs.tensors) == ["x", "s"]


def test_optional_inputs_may_be_left_out() -> None:
    image, rate = spec(FLOAT), spec(FLOAT, (), "rate", optional=True)
    assert list(read('{"inputs": [1]}', image, rate).tensors) == ["x"]
    assert list(read('{"inputs": {"x": [1]}}', image, rate).tensors) == ["x"]
    assert list(read('{"inputs": {"x": [1], "rate": 1}}', image, rate).tensors) == ["x", "rate"]
    assert list(read('{"instances": [[1]]}', image, rate).tensors) == ["x"]
    assert list(read('{"instances": [{"x": 1}]}', image, rate).tensors) == ["x"]
    assert "must only have keys: x" in refusal('{"instances": [{"x": 1}, {}]}', image, rate)


def test_a_signature_without_inputs_is_asked_by_columns() -> None:
    assert read('{"inputs": {}}').tensors == {}
    assert refusal('{"instances": [{}]}').startswith("Failed to get input map for signature: sig")


TWO = (spec(FLOAT), spec(FLOAT, alias="y"))


@pytest.mark.parametrize(
    ("text", "specs", "part"),
    [
        ("{}", [spec(FLOAT)], "Missing 'inputs' or 'instances' key"),
        (
            '{"inputs": 1, "instances": [1]}',
            [spec(FLOAT)],
            "expecting only one of 'inputs' or 'instances' keys to exist ",
        ),
        ('{"instances": 1}', [spec(FLOAT)], "Excepting 'instances' to be an list/array"),
        ('{"instances": []}', [spec(FLOAT)], "No values in 'instances' array"),
        (
            '{"instances": [1]}',
            TWO,
            "instances is a plain list, but expecting list of objects as multiple input tensors required as per "
            "tensorinfo_map",
        ),
        (
            '{"inputs": [1]}',
            TWO,
            "inputs is a plain value/list, but expecting an object as multiple input tensors required as per "
            "tensorinfo_map",
        ),
        ('{"inputs": {"x": 1}}', TWO, "Missing named input: y in 'inputs' object."),
        (
            '{"instances": [1, "a"]}',
            [spec(FLOAT)],
            "Failed to process element: 1 of 'instances' list. Error: Invalid argument: "
            'JSON Value: "a" Type: String is not of expected type: float',
        ),
        (
            '{"instances": [[1, 2], [1, 2, 3]]}',
            [spec(FLOAT)],
            "Failed to process element: 1 of 'instances' list. Error: Invalid argument: "
            "Expecting tensor size: 2 but got: 3",
        ),
        (
            '{"instances": [[1, 2], [[1, 2]]]}',
            [spec(FLOAT)],
            "Failed to process element: 1 of 'instances' list. Error: Invalid argument: "
            "Expecting shape [2] but got: [1,2]",
        ),
        (
            '{"instances": [1, {"x": 1}]}',
            [spec(FLOAT)],
            "Expecting value/list but got object at item 1 of input list",
        ),
        ('{"instances": [{"x": 1, "y": 1}, 1]}', TWO, "Expecting object but got list at item 1 of input list"),
        (
            '{"instances": [{"x": 1, "y": 1}, {"x": 1, "y": "a"}]}',
            TWO,
            "Failed to process element: 1 key: y of 'instances' list. Error: Invalid argument: "
            'JSON Value: "a" Type: String is not of expected type: float',
        ),
        (
            '{"instances": [{"x": 1, "z": 1}]}',
            TWO,
            "Failed to process element: 0 key: z of 'instances' list. Error: Invalid argument: "
            "JSON object: does not have named input: z",
        ),
        (
            '{"instances": [{"x": 1, "y": 1}, {"x": 1}]}',
            TWO,
            "Failed to process element: 1 of 'instances' list. JSON object: {\"x\": 1} must only have keys: x,y",
        ),
    ],
)
def test_a_wrong_form_is_named_in_tf_servings_words(text: str, specs: Sequence[TensorSpec], part: str) -> None:
    assert refusal(text, *specs).endswith(part)


# --- Documents -----------------------------------------------------------------------------------------------------


IN_DEPTH = b"[" * 5000 + b"]" * 5000
NO_DOCUMENTS = {
    "nothing": (b"", "JSON Parse error: The document is empty"),
    "white space": (b" \n", "JSON Parse error: The document is empty"),
    "a list": (b"[1]", "JSON Value: [1] Is not object"),
    "a word": (b"NaN", "JSON Value: NaN Is not object"),
    "too large": (b'{"inputs": [1e400]}', "JSON Parse error: number is infinity when parsed as double at offset: 12"),
    "too large after a word": (
        b'{"inputs": [NaN, 1e400]}',
        "JSON Parse error: number is infinity when parsed as double at offset: 17",
    ),
    "a word behind a number": (b'{"inputs": [1NaN]}', "JSON Parse error: "),
    "a word before a number": (b'{"inputs": [NaN.5]}', "JSON Parse error: "),
    "another word": (b'{"inputs": [Nan]}', "JSON Parse error: "),
    "a word for a name": (b"{NaN: 1}", "JSON Parse error: "),
    "half a surrogate": (b'{"inputs": ["\\ud800"]}', "JSON Parse error: "),
    "half a surrogate before a word": (b'{"inputs": ["\\ud800", NaN]}', "JSON Parse error: "),
    "no UTF-8": (b'{"inputs": ["\xff"]}', "JSON Parse error: the text is not UTF-8 at offset: 13; send bytes as"),
    "no UTF-8 before a word": (
        b'{"inputs": ["\xff", NaN]}',
        "JSON Parse error: the text is not UTF-8 at offset: 13; send bytes as",
    ),
    "a second document": (b'{"inputs": [1]} 2', "JSON Parse error: "),
    "no end": (b'{"inputs": ' + b"[" * 100_000, "JSON Parse error: "),
    "depth": (b'{"inputs": ' + IN_DEPTH + b"}", "JSON Parse error: "),
    "depth after a word": (b'{"inputs": NaN, "a": ' + IN_DEPTH + b"}", "JSON Parse error: "),
    "depth of objects": (b'{"a": ' * 5000 + b"1" + b"}" * 5000, "JSON Parse error: "),
    "depth that Python cannot": (
        b'{"inputs": NaN, "a": ' + b"[" * 1010 + b"]" * 1010 + b"}",
        "JSON Parse error: the document is nested too deeply",
    ),
    "a name twice": (b'{"inputs": 1, "inputs": 2}', 'JSON Value: {"inputs": 2} has a key twice in the request'),
    "a name twice and a word": (b'{"inputs": {"x": 1, "x": NaN}}', 'JSON Value: {"x": NaN} has a key twice'),
    "a name twice in a row": (b'{"instances": [{"x": 1, "x": 1}]}', "has a key twice in the request"),
    "b64 twice": (b'{"inputs": [[{"b64": "YQ==", "b64": "YQ=="}]]}', "has a key twice in the request"),
    "a name twice elsewhere": (b'{"inputs": 1, "parameters": {"p": {"q": 1, "q": 2}}}', "has a key twice"),
}


@pytest.mark.parametrize("what", NO_DOCUMENTS)
def test_what_is_no_acceptable_document_is_refused(what: str) -> None:
    body, part = NO_DOCUMENTS[what]
    assert part in refusal(body, spec(FLOAT))


def test_colons_in_texts_are_nothing_to_wonder_about() -> None:
    assert read_one('["a:b", "::::"]', STRING).tolist() == [b"a:b", b"::::"]


def test_a_byte_order_mark_is_passed_over() -> None:
    assert read(b'\xef\xbb\xbf{"inputs": 1}', spec(FLOAT)).tensors["x"].shape == ()


@pytest.mark.parametrize("value", ["[]", "0", "{}", '""'])
def test_a_body_that_would_unfold_to_gigabytes_is_refused_before(value: str) -> None:
    body = b'{"inputs": [' + f"{value},".encode() * (9 * MIB) + b"0]}"
    began = time.monotonic()
    with pytest.raises(Fault, match="send fewer instances at a time, or use gRPC") as refused:
        parsed(body, 64 * MIB)
    assert refused.value.code is Code.RESOURCE_EXHAUSTED
    assert time.monotonic() - began < 2


def test_a_body_without_end_is_looked_at_once() -> None:
    """Where a search began anew at every quote, this would take hours."""
    began = time.monotonic()
    assert "JSON Parse error" in refusal(b'{"inputs": [NaN, "' + b'\\"' * MIB + b"\\", spec(FLOAT))
    assert time.monotonic() - began < 5


def test_an_errors_excerpt_is_short_whatever_it_is_taken_from() -> None:
    wide: Any = "x" * MIB
    for value in (wide, [wide] * 3, {wide: 1}, list(range(MIB)), {"a": [0.5] * MIB}):
        assert len(excerpt(value)) == 256 + len("...")
    deep: Any = 1
    for _ in range(1000):
        deep = [deep]
    assert excerpt(deep).endswith("...")
    assert excerpt({"é": [1, None, True, 0.5]}) == '{"é": [1, null, true, 0.5]}'


# --- Answers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("array", "text"),
    [
        (float32([0.1, 1, -0.0, 1e-7]), "[0.1,1.0,-0.0,1e-7]"),
        (np.array([0.1, 1e300, 2]), "[0.1,1e+300,2.0]"),
        (np.array([0.5, 65504], np.float16), "[0.5,65504.0]"),
        (np.array([[1, -2], [3, 4]], np.int8), "[[1,-2],[3,4]]"),
        (np.array([2**64 - 1], np.uint64), "[18446744073709551615]"),
        (np.array([-(2**63)], np.int64), "[-9223372036854775808]"),
        (np.array([True, False]), "[true,false]"),
        (np.zeros((2, 0, 3), np.float32), "[[],[]]"),
        (np.array(3, np.int32), "3"),
        (np.array(0.25, np.float32), "0.25"),
        (np.array(True), "true"),
        (float32([[np.nan, 1], [np.inf, -np.inf]]), "[[NaN,1.0],[Infinity,-Infinity]]"),
        (np.array(np.nan), "NaN"),
        (np.array([np.inf], np.float16), "[Infinity]"),
    ],
)
def test_numbers_are_written_with_the_digits_that_say_them(array: NDArray[Any], text: str) -> None:
    assert answer(y=of_array(array)) == f'{{"outputs":{text}}}'


def test_bfloat16_is_written_as_the_number_it_is() -> None:
    tensor = HostTensor(DataType.DT_BFLOAT16, (3,), bits_of(np.array([1, -0.5, np.nan])).tobytes())
    assert answer(y=tensor) == '{"outputs":[1.0,-0.5,NaN]}'


def test_strings_that_are_no_utf_8_go_out_in_base64_and_those_of_a_bytes_alias_always() -> None:
    texts = strings(b"a", "é\n\0".encode(), b"\xff\0")
    assert json.loads(answer(y=texts)) == {"outputs": ["a", "é\n\0", {"b64": "/wA="}]}
    assert json.loads(answer(y_bytes=texts)) == {
        "outputs": [{"b64": base64.b64encode(text).decode()} for text in (b"a", "é\n\0".encode(), b"\xff\0")]
    }
    assert answer(y=strings(b"a", shape=())) == '{"outputs":"a"}'
    assert answer(y=strings(shape=(2, 0))) == '{"outputs":[[],[]]}'


def test_one_output_goes_without_its_name_and_several_go_by_theirs() -> None:
    one, two = of_array(np.array([1, 2], np.int32)), of_array(float32([[0.5], [np.nan]]))
    assert answer(Form.ROWS, y=one) == '{"predictions":[1,2]}'
    assert answer(Form.COLUMNS, y=one, z=two) == '{"outputs":{"y":[1,2],"z":[[0.5],[NaN]]}}'
    assert answer(Form.ROWS, y=one, z=two, s=strings(b"null", b"\xff")) == (
        '{"predictions":[{"y":1,"z":[0.5],"s":"null"},{"y":2,"z":[NaN],"s":{"b64":"/w=="}}]}'
    )
    assert answer(Form.ROWS, y=of_array(np.zeros((0, 3)))) == '{"predictions":[]}'


@pytest.mark.parametrize(
    ("outputs", "text"),
    [
        ({"y": np.int32(1)}, "Tensor name: y has no shape information "),
        ({"y": np.zeros(3), "z": np.zeros(1)}, "Tensor name: z has inconsistent batch size: 1 expecting: 3"),
    ],
)
def test_outputs_that_are_not_of_one_batch_have_no_rows(outputs: dict[str, NDArray[Any]], text: str) -> None:
    with pytest.raises(Fault) as refused:
        answer(Form.ROWS, **{alias: of_array(np.asarray(array)) for alias, array in outputs.items()})
    assert (refused.value.code, refused.value.text) == (Code.INVALID_ARGUMENT, text)


def test_a_tensor_of_nothing_in_more_lists_than_can_be_written_is_refused() -> None:
    with pytest.raises(Fault) as refused:
        answer(y=HostTensor(DataType.DT_FLOAT, (1 << 40, 0), b""))
    assert refused.value.code == Code.RESOURCE_EXHAUSTED
    assert answer(y=HostTensor(DataType.DT_FLOAT, (0, 1 << 40), b"")) == '{"outputs":[]}'
