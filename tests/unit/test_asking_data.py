"""What two models are asked with, out of files of every format: the same rows in, the same cases out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stopgap.asking.data.opening import EXAMPLES, JSON, LOGS, NPZ, format_of, open_data
from stopgap.asking.data.prediction_logs import logged_answers
from stopgap.asking.data.reading import Reading, rows_of
from stopgap.client.dtypes import dtype_of
from stopgap.client.npz import write_npz
from stopgap.client.signatures import Signature, TensorSpec
from stopgap.client.tensors import to_proto
from stopgap.comparison.pairs import Case
from stopgap.errors import DataError
from stopgap.journal.tfrecord import TFRecordWriter
from stopgap_protos import tensor_pb2
from stopgap_protos.example_pb2 import BytesList, Example, FloatList, Int64List
from stopgap_protos.example_pb2 import Feature as FeatureProto
from stopgap_protos.prediction_log_pb2 import PredictionLog


def signature(
    inputs: Mapping[str, tuple[int, tuple[int | None, ...] | None]], name: str = "serving_default"
) -> Signature:
    specs = {alias: TensorSpec(alias, dtype_of(dtype), shape) for alias, (dtype, shape) in inputs.items()}
    return Signature(name, "tensorflow/serving/predict", specs, {})


FLOAT, STRING, INT64 = tensor_pb2.DT_FLOAT, tensor_pb2.DT_STRING, tensor_pb2.DT_INT64
PIXELS = signature({"image": (FLOAT, (None, 2)), "name": (STRING, (None,))})
PARSER = signature({"examples": (STRING, (None,))})
IMAGE = np.arange(10, dtype=np.float32).reshape(5, 2)
NAMES = np.array([b"a", b"b\0", b"", b"\xff", b"e"], object)


def reading(of: Signature = PIXELS, **how: Any) -> Reading:
    return Reading({of.name: of}, **how)


def cases(file: Path, how: Reading, format_: str = "") -> list[Case]:
    data = open_data(file, how, format_)
    found = list(data.cases())
    assert data.count in {None, len(found)}
    assert [case.number for case in found] == list(range(len(found)))
    return found


def refused(file: Path, how: Reading) -> str:
    with pytest.raises(DataError) as error:
        cases(file, how)
    return str(error.value)


def written(folder: Path, *contents: bytes) -> Path:
    with TFRecordWriter(folder / "data.tfrecord") as writer:
        for content in contents:
            writer.append(content)
    return writer.path


def npz(folder: Path, **arrays: Any) -> Path:
    file = folder / "data.npz"
    file.write_bytes(write_npz({name: np.asarray(array) for name, array in arrays.items()}))
    return file


def example(**features: Any) -> bytes:
    made = Example()
    for name, values in features.items():
        first = values[0]
        if isinstance(first, bytes):
            proto = FeatureProto(bytes_list=BytesList(value=values))
        elif isinstance(first, float):
            proto = FeatureProto(float_list=FloatList(value=values))
        else:
            proto = FeatureProto(int64_list=Int64List(value=values))
        made.features.feature[name].CopyFrom(proto)
    return made.SerializeToString()


@pytest.mark.parametrize(("rows", "sizes"), [(1, [1] * 5), (2, [2, 2, 1]), (5, [5]), (9, [5]), (None, [5])])
def test_an_npz_is_asked_row_by_row_in_batches_or_whole(tmp_path: Path, rows: int | None, sizes: list[int]) -> None:
    file = npz(tmp_path, image=IMAGE, name=NAMES)
    found = cases(file, reading(rows=rows))
    assert format_of(file) == NPZ
    assert [len(case.inputs["image"]) for case in found] == sizes
    np.testing.assert_array_equal(np.concatenate([case.inputs["image"] for case in found]), IMAGE)
    assert np.concatenate([case.inputs["name"] for case in found]).tolist() == NAMES.tolist()


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_an_npz_of_numpys_own_is_read_whatever_its_order_in_memory(tmp_path: Path, save: Any) -> None:
    file = tmp_path / "data.npz"
    save(file, image=np.asfortranarray(IMAGE), name=np.array(["a", "ü", "", "d", "e"]), label=np.arange(5))
    found = cases(file, reading(rows=2, extras=frozenset({"label"})))
    np.testing.assert_array_equal(np.concatenate([case.inputs["image"] for case in found]), IMAGE)
    assert found[0].inputs["name"].tolist() == [b"a", "ü".encode()]
    assert [case.extras["label"].tolist() for case in found] == [[0, 1], [2, 3], [4]]


def test_an_npz_without_a_row_is_no_case_and_a_number_alone_belongs_to_every_row(tmp_path: Path) -> None:
    assert cases(npz(tmp_path, image=IMAGE[:0], name=NAMES[:0]), reading()) == []
    scaled = signature({"image": (FLOAT, (None, 2)), "scale": (FLOAT, ())})
    found = cases(npz(tmp_path, image=IMAGE, scale=np.float32(3)), reading(scaled, rows=2))
    assert [case.inputs["scale"].tolist() for case in found] == [3.0] * 3


def test_values_are_fitted_to_the_models_data_types_and_only_where_they_keep_their_meaning(tmp_path: Path) -> None:
    assert (
        cases(npz(tmp_path, image=IMAGE.astype(np.int64), name=NAMES), reading())[0].inputs["image"].dtype == np.float32
    )
    told = refused(npz(tmp_path, image=IMAGE.astype(str), name=NAMES), reading())
    assert "data.npz, row 0" in told
    assert "'image'" in told


def test_what_is_no_input_must_be_named_and_what_is_one_must_be_there(tmp_path: Path) -> None:
    labelled = npz(tmp_path, image=IMAGE, name=NAMES, label=np.arange(5))
    assert "unknown: 'label'" in (told := refused(labelled, reading(extras_are_named=True)))
    assert "--extra label" in told
    assert "--extra" not in refused(labelled, reading())
    assert "missing: 'name'" in refused(npz(tmp_path, image=IMAGE), reading())
    told = refused(npz(tmp_path, image=IMAGE, name=NAMES), reading(extras=frozenset({"label"})))
    assert "there is no 'label'" in told


def test_arrays_of_different_numbers_of_rows_python_objects_and_damage_are_told_of(tmp_path: Path) -> None:
    assert "different numbers of rows" in refused(npz(tmp_path, image=IMAGE, name=NAMES[:3]), reading())
    np.savez(tmp_path / "data.npz", image=np.array([{}], object), allow_pickle=True)
    assert "Python objects" in refused(tmp_path / "data.npz", reading())
    whole = npz(tmp_path, image=IMAGE, name=NAMES).read_bytes()
    for size in range(8, len(whole), 41):
        (tmp_path / "data.npz").write_bytes(whole[:size])
        assert "data.npz" in refused(tmp_path / "data.npz", reading())


def test_a_unit_is_what_a_field_says_and_one_for_all_rows_of_a_request(tmp_path: Path) -> None:
    file = npz(tmp_path, image=IMAGE, name=NAMES, user=np.array([7, 7, 8, 8, 9]))
    assert [case.key for case in cases(file, reading(rows=1, key="user"))] == ["7", "7", "8", "8", "9"]
    assert [case.key for case in cases(file, reading(rows=2, key="user"))] == ["7", "8", "9"]
    assert "several values of 'user'" in refused(file, reading(rows=3, key="user"))


def test_json_lines_are_rows_columns_or_an_object_of_inputs(tmp_path: Path) -> None:
    file = tmp_path / "data.jsonl"
    rows = [{"image": [0, 1], "name": "a"}, {"image": [2, 3], "name": {"b64": "Yg=="}}]
    lines: list[object] = [
        {"instances": rows},
        {"inputs": {"image": [[0, 1], [2, 3]], "name": ["a", "b"]}},
        {"image": [[0, 1], [2, 3]], "name": ["a", "b"]},
        {"image": [0, 1], "name": "a"},  # a row: each value lacks just the dimension of the batch
    ]
    file.write_text("\n\n".join(json.dumps(line) for line in lines) + "\n")
    found = cases(file, reading())
    assert format_of(file) == JSON
    for case in found[:3]:
        assert case.inputs["image"].tolist() == [[0, 1], [2, 3]]
        assert case.inputs["name"].tolist() == [b"a", b"b"]
    assert found[3].inputs["image"].shape == (1, 2)
    assert found[3].inputs["image"].dtype == np.float32


def test_json_lines_carry_labels_and_keys_beside_the_inputs_or_among_the_rows(tmp_path: Path) -> None:
    file = tmp_path / "data.jsonl"
    lines: list[object] = [
        {
            "instances": [{"image": [0, 1], "name": "a", "label": 1}, {"image": [0, 1], "name": "b", "label": 2}],
            "user": "u",
        },
        {"inputs": {"image": [[0, 1]], "name": ["a"]}, "label": 3, "user": 4},
    ]
    file.write_text("\n".join(json.dumps(line) for line in lines))
    found = cases(file, reading(extras=frozenset({"label"}), key="user"))
    assert [case.key for case in found] == ["u", "4"]
    assert [case.extras["label"].tolist() for case in found] == [[1, 2], 3]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("{", "no JSON"),
        ("[1]", "no object"),
        ('{"instances": []}', "no list of rows"),
        ('{"instances": [{"image": [1, 2], "name": "a"}, {"image": [1, 2]}]}', "instance 1"),
        ('{"instances": [1]}', "which input"),
        ('{"inputs": {"image": [[1, 2], [3]], "name": ["a"]}}', "different lengths"),
        ('{"inputs": {"image": [["x"]], "name": ["a"]}}', "cannot be float32"),
        ('{"image": {"b64": "?"}}', "not base64"),
        ('{"inputs": {"image": [[1, 2]], "name": ["a"]}, "signature_name": 3}', "signature_name"),
    ],
)
def test_a_line_that_is_no_request_is_named(tmp_path: Path, line: str, told: str) -> None:
    file = tmp_path / "data.jsonl"
    file.write_text('{"inputs": {"image": [[1, 2]], "name": ["a"]}}\n' + line + "\n")
    text = refused(file, reading())
    assert "data.jsonl, line 2" in text
    assert told in text


def test_a_line_may_name_its_signature(tmp_path: Path) -> None:
    other = signature({"x": (INT64, (None,))}, "other")
    file = tmp_path / "data.jsonl"
    file.write_text(
        '{"signature_name": "other", "instances": [1, 2]}\n{"signature_name": "gone", "inputs": {"y": 1}}\n'
    )
    found = cases(file, Reading({"serving_default": PIXELS, "other": other}))
    assert [case.signature for case in found] == ["other", "gone"]
    assert found[0].inputs["x"].tolist() == [1, 2]


def test_tf_examples_are_parsed_by_the_inputs_names(tmp_path: Path) -> None:
    contents = [
        example(image=[float(row), 1.0], name=[b"n"], label=[row], user=[f"u{row // 2}".encode()]) for row in range(5)
    ]
    file = written(tmp_path, *contents)
    found = cases(file, reading(rows=2, extras=frozenset({"label"}), key="user"))
    assert format_of(file) == EXAMPLES
    assert [case.inputs["image"].shape for case in found] == [(2, 2), (2, 2), (1, 2)]
    assert found[1].inputs["image"].tolist() == [[2, 1], [3, 1]]
    assert [case.extras["label"].tolist() for case in found] == [[0, 1], [2, 3], [4]]
    assert [case.key for case in found] == ["u0", "u1", "u2"]


def test_tf_examples_go_serialised_to_a_model_that_parses_them(tmp_path: Path) -> None:
    contents = [example(x=[float(row)], label=[row]) for row in range(3)]
    found = cases(written(tmp_path, *contents), reading(PARSER, rows=2, extras=frozenset({"label"})))
    assert [case.inputs["examples"].tolist() for case in found] == [contents[:2], contents[2:]]
    assert found[0].extras["label"].tolist() == [0, 1]


def test_tf_examples_that_do_not_fit_are_named(tmp_path: Path) -> None:
    good = example(image=[1.0, 2.0], name=[b"n"])
    told = refused(written(tmp_path, good, example(image=[1.0], name=[b"n"])), reading())
    assert "record at byte" in told
    assert "do not make up image: float32 [?, 2]" in told
    (tmp_path / "data.tfrecord").unlink()
    assert "no feature 'name'" in refused(written(tmp_path, good, example(image=[1.0, 2.0])), reading())
    (tmp_path / "data.tfrecord").unlink()
    assert "is no tf.Example" in refused(written(tmp_path, good, b"\x0a\xff"), reading())
    whole = (tmp_path / "data.tfrecord").read_bytes()
    (tmp_path / "data.tfrecord").write_bytes(whole[:-3])
    assert "torn" in refused(tmp_path / "data.tfrecord", reading())


def predict_log(inputs: Mapping[str, Any], outputs: Mapping[str, Any] | None, name: str = "") -> bytes:
    log = PredictionLog()
    log.predict_log.request.model_spec.signature_name = name
    for alias, array in inputs.items():
        log.predict_log.request.inputs[alias].CopyFrom(to_proto(array))
    for alias, array in (outputs or {}).items():
        log.predict_log.response.outputs[alias].CopyFrom(to_proto(array))
    return log.SerializeToString()


def test_a_log_is_asked_as_it_was_recorded_and_its_answers_can_be_read(tmp_path: Path) -> None:
    first = predict_log({"image": IMAGE, "name": NAMES}, {"y": IMAGE})
    strange = predict_log({"what": np.array([1])}, None, "other")
    file = written(tmp_path, first, strange)
    found = cases(file, reading())
    assert format_of(file) == LOGS
    assert [case.signature for case in found] == ["serving_default", "other"]
    np.testing.assert_array_equal(found[0].inputs["image"], IMAGE)
    assert found[0].inputs["name"].tolist() == NAMES.tolist()
    assert found[1].inputs["what"].tolist() == [1]
    answers = list(logged_answers(file))
    assert answers[0].outputs is not None
    np.testing.assert_array_equal(answers[0].outputs["y"], IMAGE)
    assert answers[1].failure is not None


def test_classify_and_regress_logs_are_asked_as_tf_examples_with_their_context_before_each(tmp_path: Path) -> None:
    classify = PredictionLog()
    classify.classify_log.request.model_spec.signature_name = "serving_default"
    within = classify.classify_log.request.input.example_list_with_context
    within.context.ParseFromString(example(country=[b"de"], x=[1.0]))
    within.examples.add().ParseFromString(example(x=[2.0]))
    row = classify.classify_log.response.result.classifications.add()
    row.classes.add(label="cat", score=0.75)
    row.classes.add(label="dog", score=0.25)
    regress = PredictionLog()
    regress.regress_log.request.input.example_list.examples.add().ParseFromString(example(x=[3.0]))
    regress.regress_log.response.result.regressions.add(value=2.5)
    file = written(tmp_path, classify.SerializeToString(), regress.SerializeToString())
    found = cases(file, reading(PARSER))
    features = Example.FromString(found[0].inputs["examples"][0]).features.feature
    assert list(features["x"].float_list.value) == [2.0]
    assert list(features["country"].bytes_list.value) == [b"de"]
    assert found[1].inputs["examples"].tolist() == [example(x=[3.0])]
    outputs = [answer.outputs or {} for answer in logged_answers(file)]
    assert outputs[0]["classes"].tolist() == [[b"cat", b"dog"]]
    assert outputs[0]["scores"].tolist() == [[0.75, 0.25]]
    assert outputs[1]["outputs"].tolist() == [2.5]


def test_a_log_of_what_nobody_asks_is_named(tmp_path: Path) -> None:
    log = PredictionLog()
    log.session_run_log.SetInParent()
    assert "record 1 (at byte" in refused(
        written(tmp_path, predict_log({"image": IMAGE, "name": NAMES}, None), log.SerializeToString()), reading()
    )


def test_what_is_nothing_of_all_that_is_told_of(tmp_path: Path) -> None:
    file = tmp_path / "data"
    assert "No such file" in refused(file, reading())
    file.write_bytes(b"")
    assert "is empty" in refused(file, reading())
    file.write_bytes(b"a,b\n1,2\n")
    assert "neither an .npz" in refused(file, reading())
    with pytest.raises(DataError, match="formats are: npz"):
        open_data(file, reading(), "csv")


def test_the_digest_is_of_the_files_bytes_and_how_they_are_read_is_told_apart(tmp_path: Path) -> None:
    file = npz(tmp_path, image=IMAGE, name=NAMES)
    data = open_data(file, reading())
    assert len(data.digest) == 64
    assert open_data(file, reading(rows=2)).digest == data.digest
    assert reading(rows=2).told != data.reading.told
    assert open_data(npz(tmp_path, image=IMAGE + 1, name=NAMES), reading()).digest != data.digest


def test_the_rows_of_a_sparse_input_are_not_those_of_its_parts() -> None:
    sparse = {"x/indices": np.zeros((7, 2)), "x/values": np.zeros(7), "x/dense_shape": np.array([3, 9])}
    assert rows_of(sparse) == 3
    assert rows_of({**sparse, "y": np.zeros((3, 1))}) == 3
    assert rows_of({**sparse, "y": np.zeros((4, 1))}) is None
    assert rows_of({"scale": np.array(1.0)}) is None
