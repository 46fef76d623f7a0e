"""TensorFlow and TF Serving's own messages read what a journal writes, and the journal what they write."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from stopgap.client.tensors import to_array, to_proto
from stopgap.journal.logs import new_log, read_logs
from stopgap.journal.reading import Journal
from stopgap.journal.recorder import Exchange, Recorder, Reply
from stopgap.journal.redaction import Rule
from stopgap.journal.tfrecord import Damage, TFRecordWriter, read_records
from stopgap.journal.warm_up import MOST_RECORDS, WARM_UP_FILE, write_warm_up
from stopgap_protos import inference_pb2, serving_pb2, session_run_pb2
from stopgap_protos.example_pb2 import Example
from stopgap_protos.prediction_log_pb2 import PredictionLog
from tensorflow_serving.apis import prediction_log_pb2 as stock

CONTENTS = [b"", b"short", *(np.random.default_rng(1).bytes(length) for length in (255, 256, 257, 70_000, 3_000_000))]


@pytest.mark.parametrize("compression", ["", "GZIP", "ZLIB"])
def test_what_tensorflow_writes_is_read(tmp_path: Path, compression: str) -> None:
    path = tmp_path / "file"
    with tf.io.TFRecordWriter(str(path), compression) as writer:
        for content in CONTENTS:
            writer.write(content)
    assert [record.content for record in read_records(path)] == CONTENTS


def test_tensorflow_reads_what_is_written(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with TFRecordWriter(path) as writer:
        for content in CONTENTS:
            writer.append(content)
    assert list(tf.data.TFRecordDataset(str(path)).as_numpy_iterator()) == CONTENTS
    with tf.io.TFRecordWriter(str(tmp_path / "stock")) as stock_writer:
        for content in CONTENTS:
            stock_writer.write(content)
    assert path.read_bytes() == (tmp_path / "stock").read_bytes()


def test_where_tensorflow_finds_a_file_torn_or_damaged_it_is(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with TFRecordWriter(path) as writer:
        for content in CONTENTS[:4]:
            writer.append(content)
    whole = path.read_bytes()
    for length in (3, 16, 30, 40, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert before_what_is_wrong(path) == before_what_is_wrong_to_tensorflow(path)
    path.write_bytes(whole[:100] + bytes([whole[100] ^ 1]) + whole[101:])
    assert before_what_is_wrong(path) == before_what_is_wrong_to_tensorflow(path) == CONTENTS[:2]


def before_what_is_wrong(path: Path) -> list[bytes]:
    found: list[bytes] = []
    with contextlib.suppress(Damage):
        found.extend(record.content for record in read_records(path))
    return found


def before_what_is_wrong_to_tensorflow(path: Path) -> list[bytes]:
    found: list[bytes] = []
    with contextlib.suppress(tf.errors.DataLossError):
        found.extend(tf.data.TFRecordDataset(str(path)).as_numpy_iterator())
    return found


def test_tf_servings_messages_read_a_journal(tmp_path: Path) -> None:
    image = np.random.default_rng(2).random((2, 3)).astype(np.float32)
    with Recorder(tmp_path / "j", rules=[Rule("zero", "card"), Rule("zero", "text"), Rule("drop", "user")]) as recorder:
        request = serving_pb2.PredictRequest()
        request.model_spec.name = "ranker"
        request.model_spec.version.value = 7
        for name, array in (("image", image), ("card", image), ("user", image), ("text", np.array([b"a", b"b"]))):
            request.inputs[name].CopyFrom(to_proto(array))
        response = serving_pb2.PredictResponse()
        response.outputs["probs"].CopyFrom(to_proto(image * 2))
        recorder.record(Exchange("a", request, 1234.5, Reply(response)))
    (record,) = tf.data.TFRecordDataset(str(tmp_path / "j" / "00000001.tfrecord")).as_numpy_iterator()
    log = stock.PredictionLog.FromString(record)
    assert log.log_metadata.timestamp_secs == 1234
    assert (log.log_metadata.model_spec.name, log.log_metadata.sampling_config.sampling_rate) == ("ranker", 1.0)
    inputs = log.predict_log.request.inputs
    assert set(inputs) == {"image", "card", "text"}
    np.testing.assert_array_equal(tf.make_ndarray(inputs["image"]), image)
    np.testing.assert_array_equal(tf.make_ndarray(inputs["card"]), np.zeros_like(image))
    np.testing.assert_array_equal(tf.make_ndarray(inputs["text"]).astype("S1"), np.array([b"", b""]))
    np.testing.assert_array_equal(tf.make_ndarray(log.predict_log.response.outputs["probs"]), image * 2)


def filled_with_examples(request: object) -> None:
    example = Example()
    example.features.feature["age"].int64_list.value.append(41)
    request.input.example_list_with_context.examples.append(example)  # type: ignore[attr-defined]
    request.input.example_list_with_context.context.CopyFrom(example)  # type: ignore[attr-defined]


def classify() -> PredictionLog:
    request, response = inference_pb2.ClassificationRequest(), inference_pb2.ClassificationResponse()
    filled_with_examples(request)
    response.result.classifications.add().classes.add(label="cat", score=0.5)
    return new_log(request, response, timestamp_s=5, origin="stopgap")


def regress() -> PredictionLog:
    request, response = inference_pb2.RegressionRequest(), inference_pb2.RegressionResponse()
    filled_with_examples(request)
    response.result.regressions.add(value=1.5)
    return new_log(request, response, timestamp_s=5)


def multi_inference() -> PredictionLog:
    request, response = inference_pb2.MultiInferenceRequest(), inference_pb2.MultiInferenceResponse()
    filled_with_examples(request)
    request.tasks.add(method_name="tensorflow/serving/classify").model_spec.name = "ranker"
    result = response.results.add()
    result.regression_result.regressions.add(value=2.5)
    response.results.add().classification_result.classifications.add().classes.add(label="dog", score=0.25)
    return new_log(request, response, timestamp_s=5)


def session_run() -> PredictionLog:
    request, response = session_run_pb2.SessionRunRequest(), session_run_pb2.SessionRunResponse()
    request.feed.add(name="x:0").tensor.CopyFrom(to_proto(np.ones(2, np.float32)))
    request.fetch.append("y:0")
    request.target.append("init")
    request.options.timeout_in_ms = 70
    request.tensor_name_is_alias = True
    response.tensor.add(name="y:0").tensor.CopyFrom(to_proto(np.ones(2, np.float32)))
    return new_log(request, response, timestamp_s=5)


@pytest.mark.parametrize("made", [classify, regress, multi_inference, session_run])
def test_every_kind_of_log_means_the_same_to_tf_serving(made: Callable[[], PredictionLog]) -> None:
    """As text the two agree field by field, whichever reads the other's bytes."""
    ours = made()
    theirs = stock.PredictionLog.FromString(ours.SerializeToString())
    assert str(theirs) == str(ours)
    assert str(PredictionLog.FromString(theirs.SerializeToString())) == str(ours)


def test_a_log_that_tf_serving_wrote_is_read(tmp_path: Path) -> None:
    log = stock.PredictionLog()
    log.predict_log.request.model_spec.name = "ranker"
    log.predict_log.request.inputs["x"].CopyFrom(tf.make_tensor_proto(np.arange(6, dtype=np.int64).reshape(2, 3)))
    log.predict_log.request.inputs["s"].CopyFrom(tf.make_tensor_proto([b"a", b"bc"]))
    log.log_metadata.safe_aggregation_privacy_key = 3
    with tf.io.TFRecordWriter(str(tmp_path / "file"), "GZIP") as writer:
        writer.write(log.SerializeToString())
    (logged,) = read_logs(tmp_path / "file")
    inputs = logged.log.predict_log.request.inputs
    np.testing.assert_array_equal(to_array(inputs["x"]), np.arange(6).reshape(2, 3))
    assert to_array(inputs["s"]).tolist() == [b"a", b"bc"]
    assert logged.log.SerializeToString(deterministic=True) == log.SerializeToString(deterministic=True)


def test_a_warm_up_file_asks_a_saved_model_what_was_asked_of_it(tmp_path: Path) -> None:
    """As TF Serving does before it serves: each request to the signature that it names, by its inputs' names."""
    double = tf.Module()
    double.f = tf.function(lambda x: {"y": x * 2}, input_signature=[tf.TensorSpec([None], tf.float32, "x")])
    tf.saved_model.save(double, str(tmp_path / "model"), {"serving_default": double.f})
    with Recorder(tmp_path / "j") as recorder:
        for number in range(MOST_RECORDS + 5):
            request = serving_pb2.PredictRequest()
            request.model_spec.signature_name = "serving_default"
            request.inputs["x"].CopyFrom(to_proto(np.full(2, number, np.float32)))
            recorder.record(Exchange(str(number), request, 1.0, Reply()))
    assert write_warm_up(Journal(tmp_path / "j").entries(), tmp_path / "model") == MOST_RECORDS
    signatures = tf.saved_model.load(str(tmp_path / "model")).signatures
    asked = set()
    for record in tf.data.TFRecordDataset(str(tmp_path / "model" / WARM_UP_FILE)).as_numpy_iterator():
        log = stock.PredictionLog.FromString(record)
        assert not log.predict_log.HasField("response")
        inputs = {name: tf.constant(tf.make_ndarray(each)) for name, each in log.predict_log.request.inputs.items()}
        answer = signatures[log.predict_log.request.model_spec.signature_name](**inputs)
        asked.add(float(answer["y"][0]) / 2)
    assert len(asked) == MOST_RECORDS
