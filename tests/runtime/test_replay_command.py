"""`stopgap replay` as it is typed: a journal asked again of two real models, and a warm-up file out of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from stopgap.cli.main import cli
from stopgap.client.tensors import to_proto
from stopgap.errors import DataError, JournalError
from stopgap.journal.logs import read_logs
from stopgap.journal.recorder import Exchange, Recorder, Reply
from stopgap.journal.warm_up import WARM_UP_FILE
from stopgap_protos.serving_pb2 import PredictRequest, PredictResponse
from stopgap_runtime.capi import TensorFlow

from tests import zoo
from tests.runtime_server import model_server

MODEL = zoo.load("layers_mlp_norms_control")
REQUESTS = 30
REFUSED = 7  # its image has another shape


@pytest.fixture(scope="module")
def legacy(legacy_tensorflow: TensorFlow) -> Iterator[str]:
    with model_server(legacy_tensorflow, MODEL.folder, MODEL.name) as address:
        yield f"{address}/{MODEL.name}"


@pytest.fixture(scope="module")
def candidate(modern_tensorflow: TensorFlow) -> Iterator[str]:
    with model_server(modern_tensorflow, MODEL.folder, MODEL.name) as address:
        yield f"{address}/{MODEL.name}"


def request(number: int) -> PredictRequest:
    """Two rows, of which the first says which request it is."""
    shape = (2, 9, 9, 3) if number == REFUSED else (2, 10, 10, 3)
    image = np.random.default_rng(number).integers(0, 256, shape, np.uint8)
    image[0, 0, 0, 0] = number
    asked = PredictRequest()
    asked.model_spec.name = "ranker"
    asked.inputs["image"].CopyFrom(to_proto(image))
    return asked


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STOPGAP_STATE", str(tmp_path / "state"))
    with Recorder(tmp_path / "journal") as recorder:
        for number in range(REQUESTS):
            reply = Reply(None, "INVALID_ARGUMENT") if number == REFUSED else Reply(PredictResponse(), "OK")
            recorder.record(Exchange(str(number), request(number), 1000 + number / 100, reply))
    return tmp_path / "journal"


def replay(*typed: object) -> Result:
    return CliRunner().invoke(cli, ["replay", *map(str, typed)])


def told(result: Result) -> dict[str, Any]:
    assert result.exception is None, result.exception
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_a_journal_is_asked_again_and_its_answers_can_be_compared(
    journal: Path, legacy: str, candidate: str, tmp_path: Path
) -> None:
    sides = [option for target in (legacy, candidate) for option in ("--to", target)]
    outs = ["--out", tmp_path / "a", "--out", tmp_path / "b"]
    found = told(replay(journal, *sides, *outs, "--rate", 300, "--json"))
    assert (found["requests"], found["answered"], found["dropped"]) == (REQUESTS, REQUESTS, 0)
    assert found["duration_s"] >= (REQUESTS - 1) / 300
    for target, address in zip(found["targets"], (legacy, candidate)):
        assert target["target"] == address
        assert (target["answered"], target["failures"]) == (REQUESTS - 1, {"INVALID_ARGUMENT": 1})
        assert 0 < target["latency_s"]["q50"] <= target["latency_s"]["most"]
    for file in (tmp_path / "a", tmp_path / "b"):
        logs = [each.log.predict_log for each in read_logs(file)]
        images = [each.request.inputs["image"] for each in logs]
        assert images == [request(number).inputs["image"] for number in range(REQUESTS)]
        assert [each.HasField("response") for each in logs] == [number != REFUSED for number in range(REQUESTS)]
    typed = [str(tmp_path / "a"), str(tmp_path / "b"), "--data", str(tmp_path / "a"), "--json"]
    compared = CliRunner().invoke(cli, ["compare", *typed, "--mode", "conversion", "--margin", "0.5"])
    result = json.loads(compared.stdout)
    assert (result["requests"], result["units"]) == (REQUESTS, REQUESTS)
    assert result["parity"] == {"both answered": REQUESTS - 1, "both failed, with the same code": 1}


def test_rows_go_into_an_npz_with_failures_beside_them(journal: Path, legacy: str, tmp_path: Path) -> None:
    file = tmp_path / "rows.npz"
    shown = replay(journal, "--to", legacy, "--rate", 500, "--out", file)
    assert shown.exit_code == 0, shown.exception
    assert "1 INVALID_ARGUMENT" in shown.stdout
    with np.load(file) as arrays:
        assert arrays["logits"].shape == (2 * REQUESTS, 3)
        failed = np.flatnonzero(arrays["@failures"] != b"")
        assert failed.tolist() == [2 * REFUSED, 2 * REFUSED + 1]
        assert np.isfinite(arrays["@latencies_s"]).all()
    again = replay(journal, "--to", legacy, "--rate", 500, "--out", file)
    assert isinstance(again.exception, DataError)
    assert "is there already" in again.exception.problem


def test_what_is_too_fast_is_dropped_and_stands_in_its_place(journal: Path, legacy: str, tmp_path: Path) -> None:
    found = told(
        replay(journal, "--to", legacy, "--rate", 1e6, "--in-flight", 1, "--out", tmp_path / "a", "--json"),
    )
    assert found["dropped"] > 0
    assert found["targets"][0]["failures"]["RESOURCE_EXHAUSTED"] == found["dropped"]
    logs = [each.log.predict_log for each in read_logs(tmp_path / "a")]
    assert [each.request.inputs["image"] for each in logs] == [request(n).inputs["image"] for n in range(REQUESTS)]
    assert sum(each.HasField("response") for each in logs) == found["targets"][0]["answered"]


def test_it_is_asked_as_it_arrived(journal: Path, legacy: str) -> None:
    found = told(replay(journal, "--to", legacy, "--speed", 0.5, "--json"))
    assert 0.58 <= found["duration_s"] < 5


def test_a_sample_becomes_a_warm_up_file_also_without_anybody_to_ask(journal: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    found = told(replay(journal, "--warm-up", model, "--sample", 10, "--json"))
    assert found == {"warm_up": {"file": str(model / WARM_UP_FILE), "requests": 10}}
    logs = [each.log.predict_log for each in read_logs(model / WARM_UP_FILE)]
    assert len(logs) == 10
    assert all(tuple(dim.size for dim in each.request.inputs["image"].tensor_shape.dim)[1] == 10 for each in logs)
    shown = replay(journal, "--warm-up", tmp_path / "file")
    assert f"{REQUESTS - 1} requests are in {tmp_path / 'file'}" in shown.stdout


def test_a_file_of_logs_is_a_recording_too(journal: Path, legacy: str, tmp_path: Path) -> None:
    told(replay(journal, "--to", legacy, "--rate", 500, "--out", tmp_path / "a", "--json"))
    found = told(replay(tmp_path / "a", "--to", legacy, "--rate", 500, "--warm-up", tmp_path / "w", "--json"))
    assert found["answered"] == REQUESTS
    assert found["warm_up"]["requests"] == REQUESTS - 1


@pytest.mark.parametrize(
    ("typed", "why"),
    [
        ((), "Say what it is for"),
        (("--to", "m"), "Say how fast"),
        (("--to", "m", "--rate", "1", "--speed", "1"), "Say how fast"),
        (("--to", "m", "--to", "n", "--rate", "1", "--out", "x"), "give one to each"),
        (("--to", "m", "--to", "n", "--rate", "1", "--out", "x", "--out", "./x"), "cannot have the same"),
        (("--to", __file__, "--rate", "1"), "nothing that can be asked"),
    ],
)
def test_wrong_usage_is_told_before_anything_is_opened(journal: Path, typed: tuple[str, ...], why: str) -> None:
    result = replay(journal, *typed)
    assert result.exit_code == 2
    assert why in result.stderr


def test_what_is_no_recording_is_an_error(journal: Path, legacy: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert isinstance(replay(tmp_path / "empty", "--to", legacy, "--rate", 1).exception, DataError)
    assert isinstance(replay(tmp_path / "gone", "--to", legacy, "--rate", 1).exception, JournalError)
    assert isinstance(replay(journal, "--to", legacy, "--rate", -1).exception, JournalError)
