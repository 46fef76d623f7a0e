"""`stopgap compare` as it is typed: two real models at addresses, and recordings; verdicts, exit codes, JSON."""

from __future__ import annotations

import base64
import json
import shutil
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
from stopgap_protos.saved_model_pb2 import SavedModel
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


TOP_1 = """
mode = "retrained"
[[conditions]]
measure = "top_1"
output = "logits"
margin = 0.99
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


def test_an_output_that_the_legacy_model_does_not_have_is_told_before_anything_is_asked(
    legacy: str, candidate: str, data: Path
) -> None:
    wanted = ("--data", data, "--extra", "country", "--mode", "retrained", "--output", "logitz", "--margin", "0.9")
    result = compare(legacy, candidate, *wanted)
    assert isinstance(result.exception, ComparisonError)
    assert "The legacy model has no output logitz." in result.exception.problem
    assert "logits" in result.exception.remedy
    assert "asking" not in result.stderr


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


def test_a_map_is_found_and_a_plan_can_take_it_over(legacy: str, data: Path, recorded: Path, tmp_path: Path) -> None:
    with np.load(recorded) as arrays:
        outputs = dict(arrays)
    outputs["scores"] = outputs.pop("logits")[:, [1, 2, 0]]
    recorded.write_bytes(write_npz(outputs))
    typed = (legacy, recorded, "--data", data, "--extra", "country")
    before = compare(*typed, "--mode", "retrained", "--output", "logits", "--margin", "0.99")
    assert before.exit_code == 3
    assert "perhaps the candidate's output is called differently. --find-map proposes a map." in before.stderr
    found = compare(*typed, "--find-map", "--out", tmp_path / "map.toml")
    assert found.exit_code == 0, found.exception
    assert found.stdout == (tmp_path / "map.toml").read_text()
    assert "output logits: probably the candidate's scores" in found.stdout
    assert "# logits: the class order differs: this permutation gives 100.0% instead of" in found.stdout
    mapped = plan(tmp_path, TOP_1 + found.stdout)
    assert compare(*typed, "--plan", mapped).exit_code == 0
    as_json = told(compare(*typed, "--find-map", "--json"))
    assert as_json["orders"]["logits"]["classes"] == [2, 0, 1]
    assert as_json["toml"] == found.stdout
    assert (as_json["requests"], as_json["answered"]) == (ROWS, ROWS)


@pytest.fixture
def renamed(modern_tensorflow: TensorFlow, tmp_path: Path) -> Iterator[str]:
    """The same model under a signature and names of its own."""
    folder = tmp_path / "renamed"
    shutil.copytree(MODEL.folder, folder)
    saved = SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    signatures = saved.meta_graphs[0].signature_def
    signature = signatures["serve"]
    signature.method_name = "tensorflow/serving/predict"
    signature.inputs["image_batch"].CopyFrom(signatures["serving_default"].inputs["image"])
    for ours, theirs in {"logits": "class_logits", "keypoints": "points"}.items():
        signature.outputs[theirs].CopyFrom(signatures["serving_default"].outputs[ours])
    del signatures["serving_default"]
    (folder / "saved_model.pb").write_bytes(saved.SerializeToString())
    with model_server(modern_tensorflow, folder, MODEL.name) as address:
        yield f"{address}/{MODEL.name}"


def test_signature_and_names_of_a_live_candidate_are_found(
    legacy: str, renamed: str, data: Path, tmp_path: Path
) -> None:
    typed = (legacy, renamed, "--data", data, "--extra", "country")
    refused = compare(*typed, "--mode", "conversion", "--margin", "0.9")
    assert refused.exit_code == 3
    assert "The candidate refuses what it is asked" in refused.stderr
    found = compare(*typed, "--find-map")
    assert found.exit_code == 0, found.exception
    assert 'signature = "serve"\ninputs = { "image" = "image_batch" }\n' in found.stdout
    mapped = compare(*typed[:4], "--plan", plan(tmp_path, CLOSE + found.stdout), "--json")
    assert (mapped.exit_code, told(mapped)["outcome"]) == (0, "PASS")


def test_classes_in_another_order_are_hinted_at(legacy: str, data: Path, recorded: Path) -> None:
    with np.load(recorded) as arrays:
        outputs = dict(arrays)
    outputs["logits"] = outputs["logits"][:, [1, 2, 0]]
    recorded.write_bytes(write_npz(outputs))
    wanted = ("--data", data, "--extra", "country", "--mode", "retrained", "--output", "logits", "--margin", "0.9")
    assert "perhaps their order differs. --find-map proposes a map." in compare(legacy, recorded, *wanted).stderr


def test_the_same_model_needs_no_map(legacy: str, candidate: str, data: Path) -> None:
    found = compare(legacy, candidate, "--data", data, "--extra", "country", "--find-map")
    assert found.exit_code == 0, found.exception
    assert "# No map is needed" in found.stdout
    assert "# logits: the class order is the same: 100.0% agree (20 rows that it was not found on)." in found.stdout


def test_what_the_margins_notice_is_told_and_what_they_cannot_see(legacy: str, candidate: str, data: Path) -> None:
    typed = (legacy, candidate, "--data", data, "--extra", "country", "--self-test", "--draws", "10")
    margins = ("--mode", "retrained", "--output", "logits", "--margin", "0.9")
    shown = compare(*typed, *margins)
    assert shown.exit_code == 0, shown.exception
    assert "scores shifted in logits" in shown.stdout
    assert "Not covered, since the stated margins cannot see it: scores shifted in logits" in shown.stderr
    found = told(compare(*typed, *margins, "--json"))
    assert (found["units"], found["draws"], found["intact"]["passed"]) == (ROWS, 10, 1.0)
    assert "scores scaled in logits" in found["not_covered"]
    assert found["smallest"]["no answer"] in {2.0, 4.0}  # a fifth or two fifths, where a tenth may be wrong
    assert len(found["data"]["sha256"]) == 64


@pytest.mark.parametrize(
    ("typed", "why"),
    [
        (("--find-map", "--self-test"), "Leave one of"),
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
