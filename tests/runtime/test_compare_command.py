"""`stopgap compare` as it is typed: two real models at addresses, and recordings; verdicts, exit codes, JSON."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from stopgap.cli.main import cli
from stopgap.client.channel import ServingChannel
from stopgap.client.model import RemoteModel
from stopgap.client.npz import write_npz
from stopgap.errors import ComparisonError, DataError, JournalError, PredictionError
from stopgap_runtime.capi import TensorFlow

from tests import zoo
from tests.runtime_server import model_server

MODEL = zoo.load("layers_mlp_norms_control")
ROWS = 40


@pytest.fixture(scope="module")
def legacy(legacy_tensorflow: TensorFlow) -> Iterator[str]:
    with model_server(legacy_tensorflow, MODEL.folder, MODEL.name) as address:
        yield f"{address}/{MODEL.name}"


@pytest.fixture(scope="module")
def candidate(modern_tensorflow: TensorFlow) -> Iterator[str]:
    with model_server(modern_tensorflow, MODEL.folder, MODEL.name) as address:
        yield f"{address}/{MODEL.name}"


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STOPGAP_STATE", str(tmp_path / "state"))
    image = np.random.default_rng(11).integers(0, 256, (ROWS, 10, 10, 3), np.uint8)
    file = tmp_path / "data.npz"
    file.write_bytes(write_npz({"image": image, "country": np.array(["de", "fr"] * (ROWS // 2))}))
    return file


@pytest.fixture
def recorded(legacy: str, data: Path, tmp_path: Path) -> Path:
    address, _, name = legacy.partition("/")
    with ServingChannel(address) as channel, np.load(data) as arrays:
        outputs = RemoteModel(channel, name).predict({"image": arrays["image"]})
    file = tmp_path / "recorded.npz"
    file.write_bytes(write_npz(outputs))
    return file


def compare(*typed: object) -> Result:
    return CliRunner().invoke(cli, ["compare", *map(str, typed)])


def told(result: Result) -> dict[str, Any]:
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def plan(folder: Path, text: str) -> Path:
    file = folder / "plan.toml"
    file.write_text(text)
    return file


CLOSE = """
mode = "conversion"
atol = 1e-4
slices = ["country"]
[[conditions]]
measure = "close"
margin = 0.9
[[conditions]]
measure = "parity"
margin = 0.9
"""


def test_the_same_weights_pass_as_a_conversion_and_are_asked_but_once(
    legacy: str, candidate: str, data: Path, tmp_path: Path
) -> None:
    typed = (legacy, candidate, "--data", data, "--plan", plan(tmp_path, CLOSE), "--json", "--out", tmp_path / "out")
    first = compare(*typed)
    found = told(first)
    assert first.exit_code == 0
    assert (found["outcome"], found["units"], found["scope"]) == ("PASS", ROWS, "file")
    assert found["legacy"]["digest"] == found["candidate"]["digest"] == "unpinned"
    assert len(found["data"]["sha256"]) == 64
    assert json.loads((tmp_path / "out").read_text()) == found
    again = compare(*typed)
    assert f"{ROWS} requests were answered before" in again.stderr
    assert told(again)["latency"] == found["latency"]  # so nobody was asked


def test_without_a_margin_nothing_passes(legacy: str, candidate: str, data: Path) -> None:
    result = compare(legacy, candidate, "--data", data, "--extra", "country", "--mode", "conversion", "--json")
    assert (result.exit_code, told(result)["outcome"]) == (4, "INCONCLUSIVE")


def test_a_recorded_candidate_that_decides_otherwise_fails(legacy: str, data: Path, recorded: Path) -> None:
    with np.load(recorded) as arrays:
        outputs = dict(arrays)
    name = next(name for name, array in outputs.items() if array.ndim == 2)
    wanted = ("--data", data, "--extra", "country", "--mode", "retrained", "--output", name, "--margin", "0.9")
    assert compare(legacy, recorded, *wanted, "--rows", 8).exit_code == 0
    outputs[name] = outputs[name][:, ::-1].copy()
    recorded.write_bytes(write_npz(outputs))
    result = compare(legacy, recorded, *wanted, "--rows", 8)
    assert result.exit_code == 3
    assert result.stdout.startswith("FAIL: ")
    assert "Begun anew, since this has changed: the candidate." in result.stderr
    assert "2 candidates were tried on these data" in result.stderr


def test_a_map_is_applied_to_what_the_candidate_is_asked(
    legacy: str, candidate: str, data: Path, tmp_path: Path
) -> None:
    renamed = plan(tmp_path, CLOSE + '[map.inputs]\nimage = "picture"\n')
    result = compare(legacy, candidate, "--data", data, "--plan", renamed, "--json")
    assert result.exit_code == 3
    assert told(result)["codes"] == {"candidate INVALID_ARGUMENT": ROWS}


@pytest.mark.parametrize(
    ("typed", "why"),
    [
        ((), "State what is compared"),
        (("--mode", "conversion", "--plan", "plan.toml"), "leave out --mode"),
        (("--mode", "retrained", "--in-flight", "0"), "--in-flight"),
        (("--mode", "retrained", "--timeout", "nan"), "cannot be"),
    ],
)
def test_wrong_usage_is_told_before_anything_is_opened(data: Path, typed: tuple[str, ...], why: str) -> None:
    result = compare("nobody:1/x", "nobody:1/x", "--data", data, *typed)
    assert result.exit_code == 2
    assert why in result.stderr


def test_data_that_are_not_the_models_and_a_signature_that_is_not_there_are_errors(
    legacy: str, candidate: str, data: Path
) -> None:
    wanted = (legacy, candidate, "--data", data, "--mode", "conversion")
    unknown = compare(*wanted)
    assert isinstance(unknown.exception, DataError)
    assert "--extra country" in unknown.exception.remedy
    assert isinstance(compare(*wanted, "--signature", "gone").exception, PredictionError)


REDACTED = """
[[redact]]
how = "hash"
tensor = "image"
"""


def test_a_report_is_written_and_again_from_the_result_that_was_kept(
    legacy: str, candidate: str, data: Path, tmp_path: Path
) -> None:
    page, result, again = (tmp_path / name for name in ("report.html", "result.json", "again.html"))
    typed = (legacy, candidate, "--data", data, "--plan", plan(tmp_path, CLOSE), "--report", page, "--out", result)
    assert compare(*typed).exit_code == 0
    assert "The candidate holds all 2 margins on this file" in page.read_text(encoding="utf-8")
    assert "By country" in page.read_text(encoding="utf-8")
    assert "data:image" not in page.read_text(encoding="utf-8")
    done = CliRunner().invoke(cli, ["report", str(result), str(again)])
    assert done.exit_code == 0, done.output
    assert again.read_bytes() == page.read_bytes()
    found = json.loads(result.read_text())
    assert found["kept"] == []
    assert found["noise"]["pairs"] == 2
    assert found["stated"]["slices"] == ["country"]


def test_inputs_are_kept_only_where_asked_for_and_redacted_as_the_plan_says(
    legacy: str, data: Path, recorded: Path, tmp_path: Path
) -> None:
    with np.load(recorded) as arrays:
        outputs = dict(arrays)
    name = next(name for name, array in outputs.items() if array.ndim == 2)
    outputs[name] = outputs[name][:, ::-1].copy()
    recorded.write_bytes(write_npz(outputs))
    condition = f'mode = "retrained"\n[[conditions]]\nmeasure = "top_1"\noutput = "{name}"\nmargin = 0.9\n'
    page, result = tmp_path / "report.html", tmp_path / "result.json"
    typed = (legacy, recorded, "--data", data, "--extra", "country", "--report", page, "--out", result)
    stated = plan(tmp_path, condition)
    assert compare(*typed, "--plan", stated, "--keep-inputs").exit_code == 3
    assert page.stat().st_mode & 0o777 == result.stat().st_mode & 0o777 == 0o600
    assert "data:image/png;base64," in page.read_text(encoding="utf-8")
    kept = json.loads(result.read_text())["kept"]
    asked = {case["number"]: case["inputs"][0]["content"] for case in kept}
    with np.load(data) as arrays:
        for number, content in asked.items():
            assert base64.b64decode(content) == arrays["image"][number].tobytes()
    assert all(case["legacy"][0]["name"] == case["candidate"][0]["name"] for case in kept)
    assert compare(*typed, "--plan", plan(tmp_path, condition + REDACTED), "--keep-inputs").exit_code == 3
    text = page.read_text(encoding="utf-8") + result.read_text()
    assert "data:image" not in text
    assert all(content not in text for content in asked.values())
    assert json.loads(result.read_text())["redacted"] == ["hash:image"]


def test_what_a_report_lacks_is_told_before_anybody_is_asked(data: Path, tmp_path: Path) -> None:
    wanted = ("nobody:1/x", "nobody:1/x", "--data", data, "--mode", "retrained", "--output", "y")
    nowhere = compare(*wanted, "--report", tmp_path / "nowhere" / "report.html")
    assert isinstance(nowhere.exception, ComparisonError)
    assert "cannot be written" in nowhere.exception.problem
    kept = compare(*wanted, "--keep-inputs")
    assert (kept.exit_code, "--report FILE" in kept.stderr) == (2, True)
    wrong = 'mode = "retrained"\nredact = [{how = "burn", tensor = "x"}]\n[[conditions]]\nmeasure = "parity"\n'
    refused = compare("nobody:1/x", "nobody:1/x", "--data", data, "--plan", plan(tmp_path, wrong))
    assert isinstance(refused.exception, JournalError)
    assert not list(tmp_path.glob("*.html"))
