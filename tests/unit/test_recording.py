"""A recording's parts, each by itself: what is wanted, what is taken out, what is counted, and the folder as data."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stopgap.asking.data.opening import open_data
from stopgap.asking.data.reading import Reading
from stopgap.cli.status import Remains, observers_of
from stopgap.client.signatures import Signature, TensorSpec
from stopgap.client.tensors import to_proto
from stopgap.conditions import Condition
from stopgap.errors import DataError, JournalError, RecordingError
from stopgap.front.mirrored import Mirrored
from stopgap.journal.reading import Journal
from stopgap.journal.recorder import Bounds, Exchange, Recorder, Reply
from stopgap.journal.redaction import Rule, rule_in
from stopgap.journal.segments import Folder, Held
from stopgap.metrics.observers import observers
from stopgap.observer.counting import JOINED, RECORDED, advanced, totals_in, warnings
from stopgap.observer.recorded import recorded
from stopgap.observer.recording import bounds_of, check_rules
from stopgap.observer.report import report
from stopgap.observer.results import Batch, Results
from stopgap.observer.room import has_room
from stopgap.observer.written import totals_of
from stopgap.observers import RESULTS, Kind
from stopgap.observing import KINDS
from stopgap.recording import check_place, differs_in_sample_alone
from stopgap.recordings import RECORDINGS, Recording, default_folder
from stopgap.shadows import SHADOWS, Shadow
from stopgap.store import Store
from stopgap_protos.serving_pb2 import PredictRequest, PredictResponse

WANTED = Recording("ranker", 100_000, "word", out="/somewhere", redact=("hash:user",), keep_days=2)
SPECS = {name: TensorSpec(name, None, None) for name in ("image", "user", "probs")}
SIGNATURE = Signature("serve", "", {name: SPECS[name] for name in ("image", "user")}, {"probs": SPECS["probs"]})


def exchange(number: int, **inputs: Any) -> Exchange:
    request, response = PredictRequest(), PredictResponse()
    request.model_spec.name = "ranker"
    for name, value in {"x": np.full(3, number, np.float32), **inputs}.items():
        request.inputs[name].CopyFrom(to_proto(value))
    response.outputs["y"].CopyFrom(to_proto(np.array(number, np.float32)))
    return Exchange(str(number), request, 1000.0 + number, Reply(response, latency_s=0.001))


def test_what_is_wanted_is_remembered_beside_a_shadow_of_the_same_model(tmp_path: Path) -> None:
    store = Store(tmp_path / "state")
    RECORDINGS.put(WANTED, store)
    SHADOWS.put(Shadow("ranker", 1, "other", candidate="it"), store)
    assert RECORDINGS.all(store) == (WANTED,)
    assert RECORDINGS.folder_of("ranker", store) != SHADOWS.folder_of("ranker", store)
    assert not default_folder("ranker", store).is_relative_to(RECORDINGS.folder_of("ranker", store))
    RECORDINGS.remove("ranker", store)
    assert (RECORDINGS.names(store), SHADOWS.names(store)) == ((), ("ranker",))


def test_a_damaged_one_is_told_with_the_way_out(tmp_path: Path) -> None:
    store = Store(tmp_path / "state")
    RECORDINGS.put(WANTED, store)
    (RECORDINGS.folder_of("ranker", store) / "recording.json").write_text('{"name": "ranker"}')
    with pytest.raises(RecordingError, match="damaged") as raised:
        RECORDINGS.find("ranker", store)
    assert raised.value.remedy == "End the recording: stopgap record ranker --stop"
    assert RECORDINGS.all(store) == ()


def test_its_bounds_are_the_journals() -> None:
    assert bounds_of(WANTED) == Bounds(64 << 20, 1024 << 20, 2 * 86400.0)
    with pytest.raises(JournalError, match="holds no two segments"):
        bounds_of(replace(WANTED, quota_mib=100))


def test_only_another_sample_goes_on_without_a_new_recorder() -> None:
    assert differs_in_sample_alone(WANTED, replace(WANTED, per_million=5, token="", ready=True, begun_s=7))
    assert not differs_in_sample_alone(WANTED, replace(WANTED, redact=()))
    assert not differs_in_sample_alone(WANTED, replace(WANTED, out="/elsewhere"))


@pytest.mark.parametrize("text", ["hash:user", "drop:examples/user", "zero:/user"])
def test_a_rule_is_read_as_it_is_written(text: str) -> None:
    assert str(rule_in(text)) == text


@pytest.mark.parametrize("text", ["", "user", "hash", "hash:", "keep:user", ":user", "hash:/"])
def test_what_is_no_rule_is_refused(text: str) -> None:
    with pytest.raises(JournalError):
        rule_in(text)


def test_a_rule_that_names_nothing_of_the_model_is_refused_and_says_what_there_is() -> None:
    check_rules([Rule("hash", "user"), Rule("zero", "probs"), Rule("drop", "", "card")], [SIGNATURE])
    with pytest.raises(RecordingError, match="hash:usr names neither") as raised:
        check_rules([Rule("hash", "usr")], [SIGNATURE])
    assert raised.value.remedy == "It has: image, probs, user"


def test_only_an_empty_folder_or_a_journal_is_recorded_into(tmp_path: Path) -> None:
    home, empty, journal = tmp_path / "home", tmp_path / "empty", tmp_path / "journal"
    empty.mkdir()
    home.mkdir(mode=0o755)
    (home / "letter.txt").touch()
    Recorder(journal).close()
    for folder in (empty, journal, tmp_path / "missing"):
        check_place(folder)
    for place in (home, home / "letter.txt"):
        with pytest.raises(RecordingError, match="something else"):
            check_place(place)
    assert home.stat().st_mode & 0o777 == 0o755


def test_a_folder_says_how_much_it_has_and_has_had(tmp_path: Path) -> None:
    with Recorder(tmp_path, Bounds(segment_bytes=2000, most_bytes=8000)) as recorder:
        for number in range(100):
            recorder.record(exchange(number))
        held = recorder.held()
    assert held.ever == 100
    assert 0 < held.records < 100
    assert held.bytes <= 8000
    assert Folder(tmp_path / "none").held() == Held(0, 0, 0)


def test_a_folder_that_cannot_be_read_is_told_and_its_counts_need_no_look_into_it(tmp_path: Path) -> None:
    store, folder = Store(tmp_path / "state"), tmp_path / "journal"
    RECORDINGS.put(replace(WANTED, out=str(folder)), store)
    with Recorder(folder) as recorder:
        recorder.record(exchange(1))
    with Results(RECORDINGS.folder_of("ranker", store) / RESULTS) as results:
        results.write(results.begin("it", {}).id, Batch(counts={JOINED: 1}))
    assert recorded("ranker", store).held.records == 1
    (folder / "00000001.jsonl").unlink()
    (folder / "00000001.jsonl").mkdir()  # whoever reads this, root too, is refused
    with pytest.raises(RecordingError, match="What the recorder of ranker has written cannot be read"):
        recorded("ranker", store)
    assert totals_of(RECORDINGS, "ranker", store).joined == 1


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.word)
def test_results_that_cannot_be_read_are_an_error_of_their_kind_and_keep_nobody_elses(
    kind: Kind[Any], tmp_path: Path
) -> None:
    store = Store(tmp_path / "state")
    RECORDINGS.put(replace(WANTED, out=str(tmp_path)), store)
    SHADOWS.put(Shadow("ranker", 1, "other", candidate="it"), store)
    base = sqlite3.connect(kind.folder_of("ranker", store) / RESULTS)
    base.execute("PRAGMA user_version = 2")  # and no tables
    base.close()
    for read in (recorded if kind is RECORDINGS else report, partial(totals_of, kind)):
        with pytest.raises(kind.error, match="cannot be read: no such table"):
            read("ranker", store)
    told = {family.name: family.samples for family in observers(store)}
    assert {each.labels["observer"] for each in told["stopgap_observer_up"]} == {"shadow", "recording"}
    assert [each.labels["observer"] for each in told["stopgap_observer_mirrored"]] == [
        other.word for other in KINDS if other is not kind
    ]
    seen = observers_of(Remains("ranker", Condition.RETIRED, ""), store)
    assert "cannot be read" in seen[kind.word]["warnings"][0]
    assert len(seen) == 2


def test_a_journal_that_is_taken_away_under_its_recorder_is_noticed(tmp_path: Path) -> None:
    with Recorder(tmp_path / "j") as recorder:
        recorder.record(exchange(0))
        assert recorder.is_there()
        for file in (tmp_path / "j").iterdir():
            file.unlink()
        assert not recorder.is_there()
    assert not recorder.is_there()


def test_what_a_person_has_to_know_of_a_recording_is_told_in_its_words() -> None:
    counts = {"seen": 400, "joined": 390, "dropped: too large": 10}
    counts.update(advanced({}, Mirrored(4000, 400, 400), 100_000))
    assert warnings(totals_in(counts), RECORDED) == ["10 of 400 sampled requests were DROPPED: 10 too large."]
    assert "nothing was recorded" in warnings(totals_in({}), RECORDED)[0]


def test_there_is_room_here_and_a_folder_that_is_gone_is_no_room(tmp_path: Path) -> None:
    assert has_room(tmp_path)
    with pytest.raises(FileNotFoundError):
        has_room(tmp_path / "gone")


def test_a_folder_is_data_and_what_is_recorded_meanwhile_is_left_out(tmp_path: Path) -> None:
    with Recorder(tmp_path) as recorder:
        for number in range(5):
            recorder.record(exchange(number))
        data = open_data(tmp_path, Reading())
        recorder.record(exchange(5))
        assert (data.format, data.count, data.redacted) == ("logs", 5, "")
        assert [float(case.inputs["x"][0]) for case in data.cases()] == [0, 1, 2, 3, 4]
        assert [case.number for case in data.cases()] == [0, 1, 2, 3, 4]
        more = open_data(tmp_path, Reading())
    assert (more.count, more.digest == data.digest) == (6, False)
    assert open_data(tmp_path, Reading(), "logs").digest == more.digest


def test_a_folder_whose_oldest_requests_go_while_it_is_read_is_told_so(tmp_path: Path) -> None:
    bounds = Bounds(segment_bytes=2000, most_bytes=8000)
    with Recorder(tmp_path, bounds) as recorder:
        for number in range(20):
            recorder.record(exchange(number))
        data = open_data(tmp_path, Reading())
        for number in range(20, 60):
            recorder.record(exchange(number))
    with pytest.raises(DataError, match="has changed while it was read"):
        list(data.cases())


def test_an_empty_folder_and_one_in_another_format_are_no_data(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no recorded request"):
        open_data(tmp_path, Reading())
    with pytest.raises(DataError, match="Is a directory"):
        open_data(tmp_path, Reading(), "npz")


def test_what_was_redacted_is_said(tmp_path: Path) -> None:
    secret = b"a-users-own-word"
    with Recorder(tmp_path, rules=[Rule("hash", "user")]) as recorder:
        recorder.record(exchange(1, user=np.array([secret], object)))
        recorder.record(exchange(2))
    assert secret not in b"".join(file.read_bytes() for file in tmp_path.iterdir())
    said = Journal(tmp_path).redacted()
    assert said.startswith("Of 2 recorded requests 1 are not what users sent, or were answered: redacted by hash:user.")
    assert open_data(tmp_path, Reading()).redacted == said
