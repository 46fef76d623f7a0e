"""A journal: what is recorded is read, also after its writer was killed; what must go goes; what must not stand there
does not.
"""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from google.protobuf.message import Message
from stopgap.client.tensors import to_array, to_proto
from stopgap.errors import JournalError
from stopgap.journal.index import line_in
from stopgap.journal.logs import kind_of, new_log, one_answer, read_logs
from stopgap.journal.reading import Entry, Journal
from stopgap.journal.recorder import Bounds, Exchange, Recorder, Reply
from stopgap.journal.redaction import Redaction, Rule
from stopgap.journal.segments import Segment
from stopgap.journal.tfrecord import Damage, framed
from stopgap.journal.warm_up import WARM_UP_FILE, write_warm_up
from stopgap_protos.example_pb2 import Example, Feature, SequenceExample
from stopgap_protos.inference_pb2 import (
    ClassificationRequest,
    ClassificationResponse,
    MultiInferenceRequest,
    MultiInferenceResponse,
    RegressionRequest,
    RegressionResponse,
)
from stopgap_protos.prediction_log_pb2 import PredictionLog
from stopgap_protos.serving_pb2 import PredictRequest, PredictResponse
from stopgap_protos.session_run_pb2 import SessionRunRequest, SessionRunResponse

SECRET = b"4929-1234-5678-9012"
KEY = b"k" * 32


def predict(**inputs: np.ndarray) -> PredictRequest:
    request = PredictRequest()
    request.model_spec.name = "ranker"
    for name, array in inputs.items():
        request.inputs[name].CopyFrom(to_proto(np.asarray(array)))
    return request


def answer(value: float, model: str = "ranker") -> PredictResponse:
    response = PredictResponse()
    response.model_spec.name = model
    response.outputs["score"].CopyFrom(to_proto(np.array([value], np.float32)))
    return response


def exchange(number: int, size: int = 4, at: float = 1000.0) -> Exchange:
    request = predict(x=np.full(size, number, np.float32))
    legacy, candidate = Reply(answer(number), latency_s=0.001), Reply(answer(number, "new"), latency_s=0.002)
    return Exchange(f"id-{number}", request, at, legacy, candidate, key=f"user-{number % 3}")


def ids(folder: Path) -> list[str]:
    return [entry.line.id for entry in Journal(folder).entries()]


def example(**features: Sequence[bytes] | Sequence[float]) -> Example:
    built = Example()
    for name, values in features.items():
        built.features.feature[name].CopyFrom(feature(values))
    return built


def feature(values: Sequence[bytes] | Sequence[float]) -> Feature:
    built = Feature()
    if isinstance(values[0], bytes):
        built.bytes_list.value.extend(values)  # type: ignore[arg-type]
    elif isinstance(values[0], int):
        built.int64_list.value.extend(values)  # type: ignore[arg-type]
    else:
        built.float_list.value.extend(values)  # type: ignore[arg-type]
    return built


def redacted(log: PredictionLog, *rules: Rule) -> tuple[str, ...]:
    return Redaction(rules, KEY).apply(log)


# What is recorded is read


def test_what_is_recorded_is_read(tmp_path: Path) -> None:
    with Recorder(tmp_path / "j", sampling_rate=0.1) as recorder:
        for number in range(20):
            recorder.record(exchange(number, at=1000.5 + number))
    entries = list(Journal(tmp_path / "j").entries())
    assert [entry.line.id for entry in entries] == [f"id-{number}" for number in range(20)]
    for number, entry in enumerate(entries):
        within = one_answer(entry.log)
        assert within == one_answer(new_log(exchange(number).request, answer(number), timestamp_s=0))
        assert (entry.log.log_metadata.timestamp_secs, entry.line.arrived_s) == (1000 + number, 1000.5 + number)
        assert entry.log.log_metadata.sampling_config.sampling_rate == 0.1
        assert entry.log.log_metadata.model_spec.name == "ranker"
        assert (entry.line.kind, entry.line.key) == ("predict_log", f"user-{number % 3}")
        assert (entry.line.legacy.status, entry.line.legacy.latency_s) == ("OK", 0.001)
        assert entry.line.candidate is not None
        assert entry.line.candidate.digest == entry.line.legacy.digest  # the same answer, from a model of another name
    assert len({entry.line.digest for entry in entries}) == 20
    assert list(Journal(tmp_path / "j").lines()) == [entry.line for entry in entries]


def test_a_failure_is_recorded_without_an_answer(tmp_path: Path) -> None:
    with Recorder(tmp_path) as recorder:
        recorder.record(Exchange("a", predict(x=np.ones(2)), 1.0, Reply(None, "UNAVAILABLE", 0.5)))
    (entry,) = Journal(tmp_path).entries()
    within = one_answer(entry.log)
    assert within is not None
    assert not within.HasField("response")
    assert (entry.line.legacy.status, entry.line.legacy.digest, entry.line.candidate) == ("UNAVAILABLE", "", None)


@pytest.mark.parametrize(
    ("request_", "response", "kind"),
    [
        (PredictRequest(), PredictResponse(), "predict_log"),
        (ClassificationRequest(), ClassificationResponse(), "classify_log"),
        (RegressionRequest(), RegressionResponse(), "regress_log"),
        (MultiInferenceRequest(), MultiInferenceResponse(), "multi_inference_log"),
        (SessionRunRequest(), SessionRunResponse(), "session_run_log"),
    ],
)
def test_each_kind_of_request_has_its_log(tmp_path: Path, request_: Message, response: Message, kind: str) -> None:
    with Recorder(tmp_path) as recorder:
        assert recorder.record(Exchange("a", request_, 1.0, Reply(response))).kind == kind
    (entry,) = Journal(tmp_path).entries()
    assert kind_of(entry.log) == kind
    wrong = RegressionResponse() if kind != "regress_log" else PredictResponse()
    with pytest.raises(JournalError, match="is no answer to a"):
        new_log(request_, wrong, timestamp_s=0)


def test_what_is_no_request_is_refused() -> None:
    with pytest.raises(JournalError, match="holds no PredictResponse"):
        new_log(PredictResponse(), None, timestamp_s=0)


def test_files_are_their_owners_alone(tmp_path: Path) -> None:
    previous = os.umask(0)
    try:
        with Recorder(tmp_path / "j", Bounds(segment_bytes=500, most_bytes=2000)) as recorder:
            for number in range(20):
                recorder.record(exchange(number))
    finally:
        os.umask(previous)
    assert stat.S_IMODE((tmp_path / "j").stat().st_mode) == 0o700
    files = list((tmp_path / "j").iterdir())
    assert {file.name for file in files} >= {"key", "lock", "removed.jsonl"}
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


def test_two_do_not_write_the_same_journal(tmp_path: Path) -> None:
    with Recorder(tmp_path) as recorder:
        with pytest.raises(JournalError, match="Another process is recording"):
            Recorder(tmp_path)
        recorder.record(exchange(1))
    with pytest.raises(JournalError, match="is closed"):
        recorder.record(exchange(2))
    with Recorder(tmp_path):
        assert ids(tmp_path) == ["id-1"]


def test_a_journal_is_read_while_it_is_written(tmp_path: Path) -> None:
    with Recorder(tmp_path) as recorder:
        for number in range(5):
            recorder.record(exchange(number))
            assert len(ids(tmp_path)) == number + 1
    with pytest.raises(JournalError, match="There is no journal"):
        Journal(tmp_path / "nowhere")


# What must go goes


def test_segments_are_full_when_they_are_and_the_oldest_goes_first_and_is_counted(tmp_path: Path) -> None:
    bounds = Bounds(segment_bytes=4000, most_bytes=20_000)
    with Recorder(tmp_path, bounds) as recorder:
        for number in range(200):
            recorder.record(exchange(number, size=50))
            kept = list(tmp_path.glob("0*"))
            assert sum(file.stat().st_size for file in kept) <= 20_000
            assert max(file.stat().st_size for file in kept if file.suffix == ".tfrecord") <= 4000
        removed = recorder.removed()
    left = ids(tmp_path)
    assert left == [f"id-{number}" for number in range(200 - len(left), 200)]
    assert [each.segment for each in removed] == list(range(1, len(removed) + 1))
    assert sum(each.records for each in removed) + len(left) == 200
    assert {each.why for each in removed} == {"quota"}
    with Recorder(tmp_path, bounds) as recorder:
        recorder.record(exchange(200))
        assert recorder.removed()[: len(removed)] == removed
    assert ids(tmp_path)[-1] == "id-200"


def test_what_is_too_old_goes_also_when_nothing_comes(tmp_path: Path) -> None:
    now = [1000.0]
    with Recorder(tmp_path, Bounds(most_age_s=100), clock=lambda: now[0]) as recorder:
        for number in range(40):
            recorder.record(exchange(number, at=now[0]))
            now[0] += 5
            oldest = min(line.arrived_s for line in Journal(tmp_path).lines())
            assert now[0] - oldest <= 100 * 1.1 + 10
        assert {each.why for each in recorder.removed()} == {"age"}
        now[0] += 200
        recorder.tidy()
        assert ids(tmp_path) == []
        assert sum(each.records for each in recorder.removed()) == 40
    now[0] = 2000.0
    with Recorder(tmp_path, Bounds(most_age_s=100), clock=lambda: now[0]) as recorder:
        recorder.record(exchange(77, at=now[0]))
    now[0] += 111
    with Recorder(tmp_path, Bounds(most_age_s=100), clock=lambda: now[0]) as recorder:
        recorder.tidy()
        assert ids(tmp_path) == []


def test_a_segment_that_is_removed_while_it_is_read_is_read_to_its_end(tmp_path: Path) -> None:
    with Recorder(tmp_path, Bounds(segment_bytes=2000, most_bytes=8000)) as recorder:
        for number in range(10):
            recorder.record(exchange(number, size=50))
        in_first = [line.id for line in Segment(tmp_path, 1).lines()]
        reading = Journal(tmp_path).entries()
        found = [next(reading).line.id]
        for number in range(10, 60):
            recorder.record(exchange(number, size=50))
        assert not Segment(tmp_path, 1).records.exists()
        found += [entry.line.id for entry in reading]
    assert len(in_first) > 1
    assert found == in_first  # the others were gone before they were begun


@pytest.mark.parametrize("bounds", [{"segment_bytes": 0}, {"most_age_s": 0}, {"segment_bytes": 100, "most_bytes": 199}])
def test_bounds_that_cannot_be_kept_are_refused(bounds: dict[str, int]) -> None:
    with pytest.raises(JournalError):
        Bounds(**bounds)


# A writer that is killed

WRITES = """
import sys
from pathlib import Path
from tests.unit.test_journal import exchange
from stopgap.journal.recorder import Bounds, Recorder

recorder = Recorder(Path(sys.argv[1]), Bounds(segment_bytes=20_000, most_bytes=100_000))
number = int(sys.argv[2])
while True:
    recorder.record(exchange(number, size=300))
    print(number, flush=True)
    number += 1
"""


def test_a_writer_that_is_killed_loses_nothing_that_it_has_said_is_written(tmp_path: Path) -> None:
    folder, next_number = tmp_path / "j", 0
    drawn = np.random.default_rng(1)
    for _ in range(4):
        command = [sys.executable, "-c", WRITES, str(folder), str(next_number)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": path()}) as writer:
            assert writer.stdout is not None
            for _ in range(int(drawn.integers(20, 150))):
                said = int(writer.stdout.readline())
            writer.send_signal(signal.SIGKILL)
            said = max([said, *map(int, writer.stdout.read().split())])
        with Recorder(folder, Bounds(segment_bytes=20_000, most_bytes=100_000)) as recorder:
            gone = sum(each.records for each in recorder.removed())
        left = ids(folder)
        assert gone + len(left) in (said + 1, said + 2)  # one may be written and not yet said
        assert left == [f"id-{number}" for number in range(gone, gone + len(left))]
        next_number = gone + len(left)


def path() -> str:
    return os.pathsep.join(folder for folder in sys.path if folder) + os.pathsep + str(Path(__file__).parents[2])


def test_what_is_left_of_a_last_record_is_mended_wherever_it_was_cut(tmp_path: Path) -> None:
    folder = tmp_path / "j"
    with Recorder(folder) as recorder:
        ends = [(line.end, len(line.written())) for line in map(recorder.record, map(exchange, range(3)))]
    records, index = folder / "00000001.tfrecord", folder / "00000001.jsonl"
    content, lines = records.read_bytes(), index.read_bytes()
    for cut in range(ends[1][0], len(content) + 1, 7):
        for cut_line in (sum(length for _, length in ends[:2]), len(lines) - 1, len(lines)):
            records.write_bytes(content[:cut])
            index.write_bytes(lines[:cut_line])
            with Recorder(folder):
                pass
            whole = cut == len(content) and cut_line == len(lines)
            assert ids(folder) == ["id-0", "id-1", "id-2"][: 3 if whole else 2]
            for file in folder.glob("0000000[2-9]*"):
                file.unlink()


def test_damage_in_the_middle_is_not_mended_away(tmp_path: Path) -> None:
    with Recorder(tmp_path) as recorder:
        lines = [recorder.record(exchange(number)) for number in range(3)]
    records = tmp_path / "00000001.tfrecord"
    content = bytearray(records.read_bytes())
    content[lines[1].offset + 20] ^= 1
    records.write_bytes(content)
    with pytest.raises(Damage, match=f"is damaged at byte {lines[1].offset}"):
        Recorder(tmp_path)
    assert records.read_bytes() == content
    reading = Journal(tmp_path).entries()
    assert next(reading).line.id == "id-0"
    with pytest.raises(Damage):
        next(reading)


def test_a_removal_that_was_cut_short_is_finished_and_counted_once(tmp_path: Path) -> None:
    bounds = Bounds(segment_bytes=500, most_bytes=3000)
    with Recorder(tmp_path, bounds) as recorder:
        for number in range(30):
            recorder.record(exchange(number, size=50))
        before = recorder.removed()
    back = tmp_path / f"{before[-1].segment:08}.tfrecord"
    back.write_bytes(framed(b"x"))
    with (tmp_path / "removed.jsonl").open("a") as removals:
        removals.write('{"segment": 99, "rec')
    left = ids(tmp_path)
    with Recorder(tmp_path, bounds) as recorder:
        assert recorder.removed() == before
        assert not back.exists()
        assert ids(tmp_path) == left
        for number in range(30, 40):
            recorder.record(exchange(number, size=50))
        assert recorder.removed()[: len(before)] == before
        assert len(recorder.removed()) > len(before)


def test_a_line_that_is_none_of_ours_is_none() -> None:
    for text in (b"", b"{}\n", b"[]\n", b'{"legacy": 1}\n', b"\xff\n", b"[" * 100_000 + b"\n"):
        assert line_in(text) is None


# What must not stand there does not


def test_a_tensor_is_dropped_zeroed_or_hashed_before_anything_is_written(tmp_path: Path) -> None:
    rules = [Rule("drop", "card"), Rule("zero", "image"), Rule("hash", "user"), Rule("hash", "age")]
    image = np.arange(1, 7, dtype=np.float32).reshape(2, 3)
    users = np.array([[SECRET], [SECRET], [b"other"]], object)
    request = predict(card=np.array([SECRET], object), image=image, user=users, age=np.array([41], np.int64), x=image)
    before = request.SerializeToString(deterministic=True)
    with Recorder(tmp_path, rules=rules) as recorder:
        line = recorder.record(Exchange("a", request, 1.0, Reply(answer(1.0))))
    assert request.SerializeToString(deterministic=True) == before
    assert line.redacted == ("drop:card", "zero:image", "hash:user", "hash:age")
    for file in tmp_path.iterdir():
        assert SECRET not in file.read_bytes()
    (entry,) = Journal(tmp_path).entries()
    inputs = entry.log.predict_log.request.inputs
    assert set(inputs) == {"image", "user", "age", "x"}
    np.testing.assert_array_equal(to_array(inputs["image"]), np.zeros((2, 3), np.float32))
    np.testing.assert_array_equal(to_array(inputs["x"]), image)
    hashed = to_array(inputs["user"])
    assert hashed.shape == (3, 1)
    assert hashed[0] == hashed[1] != hashed[2]
    assert to_array(inputs["age"]).shape == ()


def test_digests_are_under_a_key_of_the_journals_own(tmp_path: Path) -> None:
    found = []
    for name in ("one", "two", "one"):
        with Recorder(tmp_path / name, rules=[Rule("hash", "x")]) as recorder:
            recorder.record(Exchange("a", predict(x=np.array([SECRET], object)), 1.0, Reply(None)))
        *_, entry = Journal(tmp_path / name).entries()
        found.append(to_array(entry.log.predict_log.request.inputs["x"])[0])
    assert found[0] == found[2] != found[1]


def test_an_output_is_redacted_too_and_so_is_the_digest_of_the_candidates(tmp_path: Path) -> None:
    with Recorder(tmp_path, rules=[Rule("drop", "score")]) as recorder:
        line = recorder.record(
            Exchange("a", predict(x=np.ones(1)), 1.0, Reply(answer(1.0)), candidate=Reply(answer(2.0)))
        )
    (entry,) = Journal(tmp_path).entries()
    assert not entry.log.predict_log.response.outputs
    assert line.candidate is not None
    assert line.candidate.digest == line.legacy.digest


@pytest.mark.parametrize("how", ["drop", "zero", "hash"])
@pytest.mark.parametrize("tensor", ["", "examples"])
def test_a_feature_is_taken_out_of_serialised_examples(how: str, tensor: str) -> None:
    built = example(card=[SECRET, b"x"], age=[41], weight=[70.5, 1.0])
    sequence = SequenceExample()
    sequence.context.feature["age"].CopyFrom(feature([41]))
    sequence.feature_lists.feature_list["card"].feature.append(feature([SECRET]))
    strings = np.array([built.SerializeToString(), sequence.SerializeToString()], object)
    log = new_log(predict(examples=strings, x=np.ones(3)), None, timestamp_s=0)
    rules = [Rule(how, tensor, "card"), Rule(how, tensor, "weight"), Rule(how, tensor, "nowhere")]
    assert redacted(log, *rules) == (str(rules[0]), str(rules[1]))
    assert SECRET not in log.SerializeToString()
    first, second = to_array(log.predict_log.request.inputs["examples"])
    features = Example.FromString(first).features.feature
    lists = SequenceExample.FromString(second).feature_lists.feature_list
    assert list(features["age"].int64_list.value) == [41]
    if how == "drop":
        assert set(features) == {"age"}
        assert not lists
    elif how == "zero":
        assert list(features["card"].bytes_list.value) == [b"", b""]
        assert list(features["weight"].float_list.value) == [0.0, 0.0]
        assert list(lists["card"].feature[0].bytes_list.value) == [b""]
    else:
        assert [len(text) for text in features["card"].bytes_list.value] == [32, 32]
        assert len(features["weight"].bytes_list.value) == 1
        assert lists["card"].feature[0].bytes_list.value[0] == features["card"].bytes_list.value[0]


def test_a_feature_is_taken_out_of_an_input_of_classify_regress_and_multi_inference() -> None:
    for request in (ClassificationRequest(), RegressionRequest(), MultiInferenceRequest()):
        with_context = request.input.example_list_with_context
        with_context.examples.append(example(card=[SECRET], age=[1]))
        with_context.context.CopyFrom(example(card=[SECRET]))
        log = new_log(request, None, timestamp_s=0)
        assert redacted(log, Rule("drop", feature="card")) == ("drop:/card",)
        assert SECRET not in log.SerializeToString()
        assert b"age" in log.SerializeToString()


def test_a_session_runs_tensors_are_redacted_by_their_names() -> None:
    request = SessionRunRequest()
    for name in ("x:0", "card:0"):
        request.feed.add(name=name).tensor.CopyFrom(to_proto(np.array([SECRET if name == "card:0" else b"x"], object)))
    log = new_log(request, None, timestamp_s=0)
    assert redacted(log, Rule("drop", "card:0")) == ("drop:card:0",)
    assert [each.name for each in log.session_run_log.request.feed] == ["x:0"]


@pytest.mark.parametrize(
    "text",
    [SECRET, b"\xff\xff" + SECRET, Example().SerializeToString() + b"\x7a\x13" + SECRET],
    ids=["text", "binary", "an unknown field"],
)
def test_what_is_no_example_loses_its_content_where_a_rule_names_its_tensor(text: bytes) -> None:
    log = new_log(predict(examples=np.array([text], object)), None, timestamp_s=0)
    assert redacted(log, Rule("drop", "examples", "card"))
    assert SECRET not in log.SerializeToString()


def test_what_is_not_known_is_not_written_where_there_are_rules() -> None:
    """A newer TF Serving's `client_id` is field 6 of a PredictRequest."""
    request = PredictRequest.FromString(predict(x=np.ones(1)).SerializeToString() + b"\x32\x13" + SECRET)
    assert SECRET in request.SerializeToString()
    log = new_log(request, None, timestamp_s=0)
    redacted(log, Rule("drop", "y"))
    assert SECRET not in log.SerializeToString()
    stream = PredictionLog()
    stream.predict_streamed_log.request.append(request)
    with pytest.raises(JournalError, match="stream cannot be redacted"):
        redacted(stream, Rule("drop", "y"))


@pytest.mark.parametrize("content", ["tensor_content", "float_val"])
def test_all_values_go_however_they_were_sent(content: str) -> None:
    request = predict(x=np.array([3.5], np.float32))
    if content == "float_val":
        request.inputs["x"].ClearField("tensor_content")
        request.inputs["x"].float_val.append(3.5)
    log = new_log(request, None, timestamp_s=0)
    redacted(log, Rule("zero", "x"))
    tensor = log.predict_log.request.inputs["x"]
    assert {field.name for field, _ in tensor.ListFields()} == {"dtype", "tensor_shape"}


def test_a_rule_that_says_nothing_is_refused() -> None:
    with pytest.raises(JournalError, match="is no redaction"):
        Rule("encrypt", "x")
    with pytest.raises(JournalError, match="has to name"):
        Rule("drop")


# A warm-up file


def recorded(folder: Path, numbers: Sequence[int], rules: Sequence[Rule] = ()) -> list[Entry]:
    with Recorder(folder, rules=rules) as recorder:
        for number in numbers:
            recorder.record(exchange(number))
    return list(Journal(folder).entries())


def test_a_sample_becomes_a_warm_up_file(tmp_path: Path) -> None:
    entries = recorded(tmp_path / "j", [*range(40), *range(40)])
    assert write_warm_up(entries, tmp_path, most=10) == 10
    logs = [logged.log for logged in read_logs(tmp_path / WARM_UP_FILE)]
    values = [float(to_array(log.predict_log.request.inputs["x"])[0]) for log in logs]
    assert len(set(values)) == 10
    assert not any(log.predict_log.HasField("response") for log in logs)
    before = (tmp_path / WARM_UP_FILE).read_bytes()
    assert write_warm_up(entries, tmp_path, most=10) == 10
    assert (tmp_path / WARM_UP_FILE).read_bytes() == before
    assert write_warm_up(entries, tmp_path) == 40


def test_each_request_has_the_same_chance_of_being_in_a_warm_up_file(tmp_path: Path) -> None:
    entries = recorded(tmp_path / "j", range(20))
    counts = np.zeros(20)
    for seed in range(300):
        write_warm_up(entries, tmp_path, most=5, seed=seed)
        for logged in read_logs(tmp_path / WARM_UP_FILE):
            counts[int(to_array(logged.log.predict_log.request.inputs["x"])[0])] += 1
    assert counts.sum() == 1500
    assert abs(counts - 75).max() < 4 * np.sqrt(300 * 0.25 * 0.75)


def test_what_would_fail_does_not_get_into_a_warm_up_file(tmp_path: Path) -> None:
    with Recorder(tmp_path / "f") as recorder:
        recorder.record(Exchange("a", predict(x=np.ones(1)), 1.0, Reply(None, "INVALID_ARGUMENT")))
    for entries in (list(Journal(tmp_path / "f").entries()), recorded(tmp_path / "d", [1], [Rule("drop", "x")])):
        with pytest.raises(JournalError, match="None of the recorded requests"):
            write_warm_up(entries, tmp_path)
    assert write_warm_up(recorded(tmp_path / "z", [1], [Rule("zero", "x")]), tmp_path) == 1
    with pytest.raises(JournalError, match="cannot hold 1001"):
        write_warm_up([], tmp_path, most=1001)


def test_a_record_that_is_no_prediction_log_is_damage(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(framed(PredictionLog().SerializeToString()) + framed(b"\xff\xff\xff"))
    with pytest.raises(Damage, match="at byte 16: it is no PredictionLog"):
        list(read_logs(tmp_path / "file"))


def test_lines_are_json(tmp_path: Path) -> None:
    with Recorder(tmp_path) as recorder:
        line = recorder.record(exchange(1))
    told = json.loads((tmp_path / "00000001.jsonl").read_text(encoding="utf-8"))
    assert told["legacy"] == {"status": "OK", "latency_s": 0.001, "digest": line.legacy.digest}
