"""What a hand-over rests on: evidence that is of these models, a ratio that may be peeked at, a guard, signatures."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stopgap.client.dtypes import dtype_of
from stopgap.client.signatures import Signature, TensorSpec
from stopgap.errors import DataError, DeploymentError
from stopgap.front.traffic import Answered, Durations, Traffic
from stopgap.handover.agreeing import Agreeing
from stopgap.handover.alarm import Alarm
from stopgap.handover.evidence import check_evidence, read_evidence
from stopgap.handover.fitness import check_pair, differing
from stopgap.handover.guard import Guard, baseline_of
from stopgap.handover.units import check_ratio
from stopgap.ledger.ratio import SampleRatio
from stopgap.served_as import deployed_as
from stopgap.stages import HandOver, Key, Model, Stage

from tests.unit.test_store import RANKER

LEGACY, CANDIDATE = Model("ranker", "a" * 64, 1), Model("ranker2", "b" * 64, 2)
DEPLOYED = replace(RANKER, op_libraries=(), sunset=replace(RANKER.sunset, digest=LEGACY.digest))
SUCCESSOR = replace(
    DEPLOYED, name="ranker2", bundle="tf-2.21.0", sunset=replace(RANKER.sunset, digest=CANDIDATE.digest)
)
RESULT: dict[str, Any] = {
    "schema": 1,
    "outcome": "PASS",
    "reason": "",
    "scope": "beyond the file",
    "units": 150,
    "legacy": {"told": "x", "digest": LEGACY.digest, "served": deployed_as(DEPLOYED)},
    "candidate": {"told": "y", "digest": CANDIDATE.digest, "served": deployed_as(SUCCESSOR)},
}


def shown(tmp_path: Path, **changes: Any) -> Path:
    file = tmp_path / "result.json"
    file.write_text(json.dumps({**RESULT, **changes}))
    return file


def test_a_pass_of_these_two_models_is_evidence(tmp_path: Path) -> None:
    evidence = read_evidence(shown(tmp_path))
    assert (evidence.outcome, evidence.units, evidence.scope) == ("PASS", 150, "beyond the file")
    check_evidence(evidence, DEPLOYED, SUCCESSOR)


@pytest.mark.parametrize(
    "otherwise",
    [
        {"bundle": "tf-1.15.5"},
        {"tags": ("serve", "gpu")},
        {"op_libraries": (Path(__file__),)},
        {"op_libraries": (Path("/that/is/gone.so"),)},
        {"signatures": {"other": {"inputs": {"x": "x:0"}, "outputs": {"y": "y:0"}}}},
    ],
    ids=["another TensorFlow", "other tags", "another library", "one that is gone", "other signatures"],
)
def test_the_same_model_served_otherwise_is_another_candidate(tmp_path: Path, otherwise: dict[str, Any]) -> None:
    evidence = read_evidence(shown(tmp_path))
    with pytest.raises(DeploymentError, match=r"the same candidate model, but served otherwise \(y\)"):
        check_evidence(evidence, DEPLOYED, replace(SUCCESSOR, **otherwise))


def test_evidence_that_does_not_say_with_what_a_model_was_served_is_none(tmp_path: Path) -> None:
    evidence = read_evidence(shown(tmp_path, candidate={"told": "y", "digest": CANDIDATE.digest}))
    with pytest.raises(DeploymentError, match="served otherwise"):
        check_evidence(evidence, DEPLOYED, SUCCESSOR)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"outcome": "FAIL", "reason": "close"}, "says FAIL: close"),
        ({"outcome": "INCONCLUSIVE"}, "says INCONCLUSIVE"),
        ({"outcome": "\x1b[2J"}, r"says .x1b"),
        ({"legacy": {"digest": "unpinned"}}, "which legacy model"),
        ({"candidate": {"digest": "unpinned"}}, "which candidate model"),
        ({"candidate": {"digest": LEGACY.digest}}, "another candidate model"),
        ({"legacy": {"digest": "c" * 64}}, "another legacy model"),
    ],
)
def test_what_is_no_pass_of_these_two_is_refused(tmp_path: Path, changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(DeploymentError, match=problem) as refusal:
        check_evidence(read_evidence(shown(tmp_path, **changes)), DEPLOYED, SUCCESSOR)
    assert "stopgap compare ranker ranker2" in refusal.value.remedy


@pytest.mark.parametrize(
    "changes",
    [
        {"schema": 2},
        {"schema": None},
        {"outcome": 1},
        {"units": "150"},
        {"units": True},
        {"legacy": None},
        {"legacy": {}},
    ],
)
def test_what_is_no_result_is_told(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(DeploymentError, match="is no result of a comparison"):
        read_evidence(shown(tmp_path, **changes))


@pytest.mark.parametrize("content", ["", "[]", "{", "[" * 100_000])
def test_nor_is_what_is_no_json_object(tmp_path: Path, content: str) -> None:
    file = tmp_path / "result.json"
    file.write_text(content)
    with pytest.raises(DeploymentError, match="is no result of a comparison"):
        read_evidence(file)


def ever_seen(share: float, truth: float, runs: int, units: int, step: int) -> float:
    """In which part of the runs a mismatch is seen, looking every so many callers."""
    drawn = np.random.default_rng(11).random((runs, units)) < truth
    seen = 0
    for run in drawn:
        ratio = SampleRatio(alpha=0.05)
        counts = run.reshape(-1, step).sum(axis=1)
        seen += any(ratio.update(share, int(mine), step - int(mine)).mismatch for mine in counts)
    return seen / runs


def test_a_right_share_is_seldom_called_wrong_however_often_it_is_looked_at() -> None:
    assert ever_seen(0.1, 0.1, runs=2000, units=2000, step=10) <= 0.05
    assert ever_seen(0.5, 0.5, runs=1000, units=2000, step=10) <= 0.05


def test_a_wrong_share_is_found() -> None:
    assert ever_seen(0.1, 0.15, runs=200, units=2000, step=50) > 0.95
    assert ever_seen(0.5, 0.45, runs=200, units=5000, step=50) > 0.95


SPLIT = HandOver("ranker", Stage.SPLIT, LEGACY, 8500, CANDIDATE, 1000, Key("header", "x-user-id"), "0123456789abcdef")


def written(tmp_path: Path, *answers: tuple[object, str]) -> Path:
    file = tmp_path / "answers.jsonl"
    file.write_text("".join(json.dumps({"key": key, "model": model}) + "\n" for key, model in answers))
    return file


def test_a_caller_counts_once_however_often_it_asks(tmp_path: Path) -> None:
    answers = [("a", "ranker2"), *[("a", "ranker2")] * 1000, ("b", "ranker"), ("a", "ranker"), (7, "ranker")]
    ratio = check_ratio(SPLIT, written(tmp_path, *answers))
    assert (ratio.units, ratio.candidates, ratio.mismatch) == (3, 1, False)
    assert check_ratio(SPLIT, written(tmp_path)).units == 0


def test_who_is_lost_on_the_way_is_noticed(tmp_path: Path) -> None:
    right = [(number, "ranker2" if number % 10 == 0 else "ranker") for number in range(2000)]
    assert not check_ratio(SPLIT, written(tmp_path, *right)).mismatch
    half_lost = [each for each in right if each[1] == "ranker" or int(each[0]) % 20 == 0]
    assert check_ratio(SPLIT, written(tmp_path, *half_lost)).mismatch


@pytest.mark.parametrize(
    "line", ["", "7", "{", '{"key": "a"}', '{"key": "a", "model": "other"}', '{"key": "a", "model": []}']
)
def test_a_line_that_says_something_else_is_told(tmp_path: Path, line: str) -> None:
    file = written(tmp_path, ("a", "ranker"))
    file.write_text(file.read_text() + line + "\n")
    with pytest.raises(DataError, match="line 2"):
        check_ratio(SPLIT, file)
    with pytest.raises(DataError, match="cannot be read"):
        check_ratio(SPLIT, tmp_path)


def counted(answered: int, failed: int = 0, slow: int = 0, bound: float = 0.001) -> Traffic:
    """Of gRPC; the slow ones take a second, the others less than `bound`."""
    bounds = (0.001, 0.01, 0.025, 1.0)
    kept = {each: answered if each >= 1.0 else answered - slow if each >= bound else 0 for each in bounds}
    codes = (Answered("grpc", "Predict", "0", answered - failed), Answered("grpc", "Predict", "3", failed))
    return Traffic((*codes, Answered("grpc", "GetModelStatus", "0", 5)), Durations(kept, answered, 0.0))


def test_a_guard_lets_a_candidate_be_that_is_as_good() -> None:
    guard = Guard(baseline_of(counted(1000, failed=10, slow=5)), counted(50, failed=50), Agreeing(dict))
    for number in range(1, 40):
        seen = guard.look(counted(50 + 100 * number, failed=50 + number, slow=number // 2))
        assert seen.trouble == ""
    assert (seen.answered, seen.failed, seen.slow) == (3900, 39, 19)


def test_a_guard_tells_of_errors_within_a_few_requests_and_of_slowness() -> None:
    baseline = baseline_of(counted(1000))
    assert (
        "5 of 5 requests failed, 100.0%; of the legacy model's 1000 it was 0.0%"
        in Guard(baseline, Traffic(), Agreeing(dict)).look(counted(5, failed=5)).trouble
    )
    assert "took longer than 0.01 s" in Guard(baseline, Traffic(), Agreeing(dict)).look(counted(300, slow=60)).trouble
    assert Guard(baseline, Traffic(), Agreeing(dict)).look(counted(300, slow=3)).trouble == ""


def test_a_guard_goes_on_where_a_front_has_started_anew_and_counts_from_nothing() -> None:
    guard = Guard(baseline_of(counted(1000)), counted(5000), Agreeing(dict))
    guard.look(counted(5300, slow=3))
    seen = guard.look(counted(200, slow=2))
    assert (seen.answered, seen.failed, seen.slow, seen.trouble) == (500, 0, 5, "")
    assert "10 of 510 requests failed, 2.0%" in guard.look(counted(10, failed=10)).trouble


def test_without_anything_to_compare_with_a_guard_still_knows_what_failing_is() -> None:
    guard = Guard(baseline_of(Traffic()), Traffic(), Agreeing(dict))
    assert guard.look(counted(20)).trouble == ""
    assert "requests failed" in guard.look(counted(80, failed=60)).trouble


def test_what_goes_wrong_late_is_seen_as_soon_as_what_does_at_once() -> None:
    guard = Guard(baseline_of(counted(1000)), Traffic(), Agreeing(dict))
    for number in range(1, 101):
        assert guard.look(counted(500 * number)).trouble == ""
    assert "requests failed" in guard.look(counted(50_000 + 20, failed=20)).trouble


def test_an_alarm_seldom_goes_off_for_nothing_however_often_it_begins_anew() -> None:
    drawn = np.random.default_rng(5)
    wrong = 0
    for _ in range(50):
        alarm = Alarm(0.95)
        wrong += any([alarm.goes_off(100, bad) for bad in drawn.binomial(100, 0.049, 20)])  # noqa: C419 - all of them
    assert wrong <= 3  # of 50 half a one is to be expected at most; above 3 with a probability of 0.2 %


@dataclass
class Shown:
    """A shadow's result as it changes."""

    units: int = 0
    holds: int = 0
    margin: float | None = 0.9
    there: bool = True

    def __call__(self) -> dict[str, Any]:
        if not self.there:
            return {}
        values = {"count": self.units, "mean": self.holds / self.units if self.units else float("nan")}
        return {"conditions": [{"name": "top_1", "margin": self.margin, "evidence": "share", "values": values}]}

    def more(self, units: int, holds: int) -> None:
        self.units, self.holds = self.units + units, self.holds + holds


def test_a_guard_looks_at_what_a_shadow_finds_since_and_at_nothing_before() -> None:
    shown = Shown(1000, 100)
    agreeing = Agreeing(shown)
    assert agreeing.trouble() == ""
    shown.more(100, 97)
    assert (agreeing.trouble(), agreeing.units) == ("", 100)
    shown.there = False
    assert agreeing.trouble() == ""
    shown.there = True
    shown.more(100, 60)
    assert "of 200 units that both were asked since, top_1 holds for 78.5%" in agreeing.trouble()


def test_a_shadow_without_a_margin_or_begun_anew_rolls_nothing_back() -> None:
    unsaid = Shown(margin=None)
    agreeing = Agreeing(unsaid)
    unsaid.more(1000, 0)
    assert agreeing.trouble() == ""
    shown = Shown(1000, 1000)
    agreeing = Agreeing(shown)
    shown.units, shown.holds = 10, 10
    assert (agreeing.trouble(), agreeing.units) == ("", 10)


def signature(
    inputs: dict[str, tuple[int | None, ...]], dtype: int = 1, optional: frozenset[str] = frozenset()
) -> Signature:
    specs = {name: TensorSpec(name, dtype_of(dtype), shape) for name, shape in inputs.items()}
    return Signature("serving_default", "", specs, {"y": TensorSpec("y", dtype_of(1), (None,))}, optional)


def test_callers_must_be_understood() -> None:
    legacy = {"serving_default": signature({"x": (None, 4)})}
    assert differing(legacy, {"serving_default": signature({"x": (None, None)})}) == []
    assert differing(legacy, {"serving_default": signature({"x": (None, 4), "z": ()}, optional=frozenset({"z"}))}) == []
    assert differing(legacy, {}) == ["it has no signature serving_default"]
    found = differing(legacy, {"serving_default": signature({"a": (None, 4)})})
    assert found == ["serving_default: it has no input x", "serving_default: it wants an input a"]
    (told,) = differing(legacy, {"serving_default": signature({"x": (None, 5)})})
    assert "its input is x: float" in told
    assert differing(legacy, {"serving_default": signature({"x": (None, 4)}, dtype=2)})


def test_what_no_force_helps_over() -> None:
    candidate = replace(RANKER, name="ranker2", also_called=("ranker",))
    check_pair(RANKER, candidate)
    for wrong, problem in (
        (RANKER, "its own place"),
        (replace(candidate, also_called=()), "does not answer to the name ranker"),
        (replace(candidate, front=replace(RANKER.front, grpc_port=9000)), "two fronts"),
        (replace(candidate, shared=True), "the last program"),
    ):
        with pytest.raises(DeploymentError, match=problem):
            check_pair(RANKER, wrong)
