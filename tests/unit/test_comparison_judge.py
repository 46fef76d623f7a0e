"""From pairs to a result: what counts, what passes, and that no answer makes the judge raise."""

from __future__ import annotations

import itertools
import json
import math
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stopgap.comparison.judge import Judge
from stopgap.comparison.pairs import Answer, Case, Failure, Pair
from stopgap.comparison.plan import Plan
from stopgap.comparison.units import Units, unit_of
from stopgap.errors import ComparisonError

from tests.pairs_at_hand import FAILED, judged, only, pair, plan

TOP = {"measure": "top_1", "output": "y", "margin": 0.98}
RIGHT, WRONG = {"y": [[0.1, 0.9]]}, {"y": [[0.9, 0.1]]}


def agreeing(units: int, wrong: int = 0, start: int = 0) -> list[Pair]:
    """The wrong ones spread evenly."""
    step = units // wrong if wrong else units + 1
    return [pair(RIGHT, WRONG if (n + 1) % step == 0 else RIGHT, start + n) for n in range(units)]


def test_a_stream_passes_fails_or_says_how_many_more() -> None:
    judge = judged(plan(TOP), agreeing(100))
    early = judge.result()
    assert early.outcome == "INCONCLUSIVE"
    assert early.conditions[0].more_units
    for each in agreeing(400, start=100):
        judge.add(each)
    assert judge.result().outcome == "PASS"
    assert judge.result().scope == "stream"
    assert only(judged(plan(TOP), agreeing(500, wrong=50))).outcome == "FAIL"


def test_without_a_margin_nothing_passes() -> None:
    result = judged(plan({"measure": "top_1", "output": "y"}), agreeing(2000)).result()
    assert (result.outcome, result.reason) == ("INCONCLUSIVE", "top_1 of y: no margin was stated")
    assert judged(Plan(mode="conversion"), agreeing(10)).result().outcome == "INCONCLUSIVE"


def test_what_has_no_bounds_is_shown_and_never_passes() -> None:
    finding = only(judged(plan({"measure": "difference", "output": "y"}), agreeing(200)))
    assert (finding.outcome, finding.limits) == ("SHOWN", (0.0, 0.0))
    assert judged(plan({"measure": "difference", "output": "y"}), agreeing(200)).result().outcome == "INCONCLUSIVE"
    with pytest.raises(ComparisonError, match="no bounds"):
        plan({"measure": "difference", "output": "y", "margin": 0.5})


def test_the_worst_condition_decides() -> None:
    both = plan(TOP, {"measure": "parity", "margin": 0.98})
    assert judged(both, agreeing(600)).result().outcome == "PASS"
    failing = [
        Pair(each.case, FAILED, each.candidate) if each.case.number % 10 == 0 else each for each in agreeing(900)
    ]
    result = judged(both, failing).result()
    assert [finding.outcome for finding in result.conditions] == ["PASS", "FAIL"]
    assert result.outcome == "FAIL"
    assert "parity" in result.reason
    assert result.parity == {"only the legacy model failed": 90, "both answered": 810}
    assert (result.codes, result.conditions[0].excluded) == ({"legacy INTERNAL": 90}, 90)


def test_a_repeated_unit_counts_once_and_as_it_was_first_seen() -> None:
    judge = judged(
        plan(TOP), [pair(RIGHT, RIGHT, 0, key="ann"), pair(RIGHT, WRONG, 1, key="ann"), *agreeing(5, start=2)]
    )
    for each in agreeing(5, start=2):
        assert not judge.add(each)
    result = judge.result()
    assert (result.requests, result.units, result.repeated) == (12, 6, 6)
    assert result.conditions[0].estimate == 1.0


def test_units_are_told_apart_by_all_that_is_in_them() -> None:
    def of(array: Any, **settings: Any) -> int:
        return unit_of(Case(0, {"x": np.asarray(array)}, **settings))

    different = [
        of([1, 2]),
        of([[1, 2]]),
        of(np.array([1, 2], np.int32)),
        of([1.0, 2.0]),
        of(np.array([b"ab", b"c"], object)),
        of(np.array([b"a", b"bc"], object)),
        of([1, 2], signature="other"),
        of([1, 2], key="ann"),
    ]
    assert len(set(different)) == len(different)
    assert of([1, 2]) == of([1, 2])
    assert of([1, 2], key="ann") == of([3], key="ann")


def test_no_more_units_are_remembered_than_may_be() -> None:
    units, drawn = Units(most=5000), np.random.default_rng(1)
    digests = [int(each) for each in drawn.integers(1, 1 << 63, 6000)]
    assert [units.add(each) for each in digests] == [True] * 5000 + [False] * 1000
    assert all(each in units for each in digests[:5000])
    assert not any(units.add(each) for each in digests[:5000])
    result = judged(plan(TOP), agreeing(20), most_remembered=15).result()
    assert (result.units, result.untold) == (15, 5)
    assert "do not count" in result.notices[0]


def test_dropped_units_are_put_at_their_worst_both_ways() -> None:
    judge = judged(plan(TOP), agreeing(600))
    assert judge.result().outcome == "PASS"
    lost = judged(plan(TOP), agreeing(600))
    fresh = Judge(plan(TOP))
    fresh.dropped(60, "queue full")
    for each in agreeing(600):
        fresh.add(each)
    result = fresh.result()
    assert (result.outcome, result.dropped) == ("INCONCLUSIVE", {"queue full": 60})
    assert result.conditions[0].units == 660
    lost.dropped(100_000)
    assert lost.result().outcome == "PASS"  # what was excluded once stays excluded
    wrong = Judge(plan(TOP))
    wrong.dropped(100_000)
    for each in agreeing(300, wrong=150):
        wrong.add(each)
    assert wrong.result().outcome == "INCONCLUSIVE"


def test_a_file_is_what_it_is_and_generalises_only_under_the_claim() -> None:
    alone = judged(plan(TOP), agreeing(100), whole_file=True).result()
    assert (alone.outcome, alone.scope) == ("PASS", "file")
    assert "not claimed" in alone.notices[0]
    finding = alone.conditions[0]
    assert (finding.lower, finding.estimate, finding.upper) == (1.0, 1.0, 1.0)
    claimed = plan(TOP, independent=True)
    assert judged(claimed, agreeing(148), whole_file=True).result().outcome == "INCONCLUSIVE"
    result = judged(claimed, agreeing(149), whole_file=True).result()  # 0.98 ** 149 < 0.05
    assert (result.outcome, result.scope) == ("PASS", "beyond the file")
    fifth = plan(TOP, independent=True, candidates=5)
    assert judged(fifth, agreeing(227), whole_file=True).result().outcome == "INCONCLUSIVE"
    assert judged(fifth, agreeing(228), whole_file=True).result().outcome == "PASS"


def test_a_file_is_looked_at_once() -> None:
    judge = judged(plan(TOP), agreeing(10), whole_file=True)
    judge.result()
    with pytest.raises(ComparisonError, match="already"):
        judge.add(pair(RIGHT, RIGHT, 99))


@pytest.mark.parametrize("independent", [False, True])
def test_dropped_units_of_a_file_keep_it_undecided(independent: bool) -> None:
    for wrong in (0, 200):
        judge = judged(plan(TOP, independent=independent), agreeing(400, wrong), whole_file=True)
        judge.dropped(40 if not wrong else 40_000)
        finding = only(judge)
        assert finding.outcome == "INCONCLUSIVE"
        assert finding.lower < 0.98 < finding.upper


def test_the_mean_of_a_file_is_exact() -> None:
    distance = {"measure": "total_variation", "output": "y", "margin": 0.1}
    pairs = [pair({"y": [[0.5, 0.5]]}, {"y": [[0.5 + n / 100, 0.5 - n / 100]]}, n) for n in range(11)]
    finding = only(judged(plan(distance), pairs, whole_file=True))
    assert finding.outcome == "PASS"
    assert finding.estimate == pytest.approx(0.05)
    assert finding.lower == finding.upper == pytest.approx(0.05)


def test_distances_and_losses_pass_and_fail() -> None:
    drawn = np.random.default_rng(0)
    loss = {"measure": "loss", "output": "y", "label": "truth", "margin": 0.05}
    shift = {"measure": "jensen_shannon", "output": "y", "margin": 0.05}

    def pairs(worse: float, units: int = 1500) -> list[Pair]:
        return [pair(RIGHT, WRONG if drawn.random() < worse else RIGHT, n, truth=[1]) for n in range(units)]

    assert [each.outcome for each in judged(plan(loss, shift), pairs(0.0)).result().conditions] == ["PASS", "PASS"]
    assert [each.outcome for each in judged(plan(loss, shift), pairs(0.2)).result().conditions] == ["FAIL", "FAIL"]
    bias = plan({"measure": "bias", "output": "y", "most": 1.0, "margin": 0.1})
    up = [pair({"y": [1.0]}, {"y": [1.4]}, n) for n in range(500)]
    assert [each.outcome for each in judged(bias, up).result().conditions] == ["FAIL", "PASS"]


def test_rows_of_a_request_agree_together_or_on_average() -> None:
    pairs = [pair({"y": [[0, 1.0]] * 10}, {"y": [[0, 1.0]] * 9 + [[1.0, 0]]}, n) for n in range(300)]
    assert only(judged(plan({**TOP, "margin": 0.8}), pairs)).estimate == 0.0
    mean = only(judged(plan({**TOP, "margin": 0.8}, rows="mean"), pairs))
    assert mean.outcome == "PASS"
    assert mean.estimate == pytest.approx(0.9)
    assert mean.lower <= 0.9 <= mean.upper
    whole = only(judged(plan({**TOP, "margin": 0.8}, batched=False), [pair({"y": [0, 1.0]}, {"y": [0.4, 0.6]})]))
    assert whole.estimate == 1.0


def test_slices_have_counts_and_intervals_of_their_own() -> None:
    pairs = [pair(RIGHT, WRONG if n % 4 == 0 else RIGHT, n, country=["de" if n % 4 == 0 else "fr"]) for n in range(400)]
    finding = only(judged(plan(TOP, slices=["country", "nowhere"]), pairs))
    found = {(each.slice, each.value): (each.units, each.estimate, each.outcome) for each in finding.slices}
    assert found[("country", "de")] == (100, 0.0, "FAIL")
    assert found[("country", "fr")][:2] == (300, 1.0)
    assert found[("nowhere", "(none)")][0] == 400
    many = [pair(RIGHT, RIGHT, n, country=[n]) for n in range(200)]
    assert len(only(judged(plan(TOP, slices=["country"]), many)).slices) == 33


def test_the_worst_cases_the_last_window_and_the_way_there_are_kept() -> None:
    pairs = [
        pair({"y": [[0.0, 1.0]]}, {"y": [[1.0, 0.0]]} if n >= 900 else {"y": [[0.0, 1.0]]}, n) for n in range(1000)
    ]
    pairs[500] = pair({"y": [[0.0, 9.0]]}, {"y": [[9.0, 0.0]]}, 500)
    finding = only(judged(plan(TOP, window=100), pairs))
    assert (finding.window, finding.window_units, finding.worst[0].number) == (0.0, 100, 500)
    assert len(finding.worst) == 20
    assert {case.number for case in finding.worst[1:]} <= set(range(900, 1000))
    assert [moment.units for moment in finding.history] == list(range(100, 1001, 100))
    assert finding.table is not None
    assert (finding.table.flips[0].legacy, finding.table.flips[0].count) == ("1", 101)


def test_the_way_there_is_kept_of_a_file_too_and_decides_nothing() -> None:
    pairs = [pair(RIGHT, WRONG if n % 5 == 4 else RIGHT, n) for n in range(600)]
    alone = only(judged(plan(TOP, window=50), pairs, whole_file=True))
    assert [moment.units for moment in alone.history] == list(range(4, 601, 4))
    fifth = alone.history[4]
    assert (fifth.units, fifth.estimate, fifth.lower, fifth.upper, fifth.window) == (20, 0.8, 0.8, 0.8, 0.8)
    assert [moment.units for moment in only(judged(plan(TOP), pairs[:3], whole_file=True)).history] == [1, 2, 3]
    claimed = only(judged(plan(TOP, independent=True), pairs, whole_file=True))
    stream = only(judged(plan(TOP), pairs))
    shared = {moment.units: moment for moment in claimed.history}
    for moment in stream.history:
        ours = shared[moment.units]
        assert moment.lower <= ours.lower <= 0.8 <= ours.upper <= moment.upper + 1e-9, "more looks, no wider"
    lost = Judge(plan(TOP, independent=True), whole_file=True)
    lost.dropped(50)
    for each in agreeing(50):
        lost.add(each)
    last = only(lost).history[-1]
    assert last.units == 100
    assert last.lower < 0.5
    assert last.upper == 1.0


def test_the_history_does_not_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stopgap.comparison.tally.MOST_MOMENTS", 10)
    moments = only(judged(plan(TOP), agreeing(4000))).history
    assert 4 <= len(moments) < 10
    steps = {later.units - earlier.units for earlier, later in itertools.pairwise(moments)}
    assert steps == {800}


def test_latency_is_a_share_within_a_budget() -> None:
    within = plan({"measure": "latency", "budget_s": 0.1, "margin": 0.9})

    def timed(n: int, latency_s: float | None) -> Pair:
        each = pair(RIGHT, RIGHT, n)
        return Pair(
            each.case, Answer(each.legacy.outputs, latency_s=0.01), Answer(each.legacy.outputs, latency_s=latency_s)
        )

    result = judged(within, [timed(n, 0.05) for n in range(300)]).result()
    assert result.outcome == "PASS"
    assert result.latency["candidate"].q99 == pytest.approx(0.05, rel=0.01)
    assert judged(within, [timed(n, 0.5) for n in range(300)]).result().outcome == "FAIL"
    nothing = only(judged(within, [timed(n, None) for n in range(300)]))
    assert (nothing.outcome, nothing.unknown, nothing.lower, nothing.upper) == ("INCONCLUSIVE", 300, 0.0, 1.0)


def test_a_conversion_tells_errors_by_output() -> None:
    close = plan({"measure": "close", "margin": 0.98}, mode="conversion", atol=0.0, rtol=0.0, k=2.0)
    pairs = [pair({"a": [1.0], "b": [b"s"]}, {"a": [1.0 + 1e-3], "b": [b"s"]}, n) for n in range(500)]
    assert judged(close, pairs).result().outcome == "FAIL"
    finding = only(judged(close, pairs, floor={"a": 1e-3}))
    assert finding.outcome == "PASS"
    a, b = finding.errors
    assert (a.output, a.elements, a.outside, a.floor) == ("a", 500, 0, 1e-3)
    assert a.absolute.q999 == pytest.approx(1e-3, rel=0.01)
    assert (b.elements, b.absolute.count) == (500, 0)


def agreement_of_rows(legacy: Any, candidate: Any) -> float:
    return float(legacy == candidate)


def raising(legacy: Any, candidate: Any) -> float:  # noqa: ARG001
    raise RuntimeError("no \x1b[31m idea")


def two(legacy: Any, candidate: Any) -> float:  # noqa: ARG001
    return 2.0


@pytest.mark.parametrize(("name", "complaint"), [("raising", "RuntimeError: no \\x1b"), ("two", "not from 0 to 1")])
def test_a_function_that_misbehaves_is_told_once_and_passes_nothing(name: str, complaint: str) -> None:
    sys.modules["functions_at_hand"] = sys.modules[__name__]
    own = {"measure": "function", "output": "y", "function": f"functions_at_hand:{name}", "margin": 0.9}
    result = judged(plan(own), [pair({"y": [n]}, {"y": [n]}, n) for n in range(300)]).result()
    assert (result.outcome, len(result.notices)) == ("INCONCLUSIVE", 1)
    assert complaint in result.notices[0]
    good = {**own, "function": "functions_at_hand:agreement_of_rows"}
    assert judged(plan(good), [pair({"y": [n]}, {"y": [n]}, n) for n in range(300)]).result().outcome == "PASS"


# Whatever is answered

WITH_A_MARGIN: list[dict[str, Any]] = [
    {"measure": "top_1"},
    {"measure": "top_k", "k": 2},
    {"measure": "overlap"},
    {"measure": "threshold"},
    {"measure": "equal"},
    {"measure": "jensen_shannon"},
    {"measure": "total_variation", "logits": True},
    {"measure": "ranks"},
    {"measure": "ranks", "method": "spearman"},
    {"measure": "within", "tolerance": 1.0},
    {"measure": "absolute_error", "most": 1.0},
    {"measure": "bias", "most": 1.0},
    {"measure": "edit_distance"},
    {"measure": "boxes", "classes": "z", "scores": "z", "count": "z"},
    {"measure": "boxes", "form": "centre"},
    {"measure": "points"},
    {"measure": "loss", "label": "truth"},
    {"measure": "loss", "label": "truth", "loss": "log"},
    {"measure": "loss", "label": "truth", "loss": "squared", "low": 0.0, "high": 1.0},
    {"measure": "function", "function": "operator:eq"},
]
CONDITIONS: list[dict[str, Any]] = [
    *({"output": "y", "margin": 0.5, **each} for each in WITH_A_MARGIN),
    {"measure": "difference", "output": "y"},
    {"measure": "function", "function": "operator:eq", "margin": 0.5},
    {"measure": "parity", "margin": 0.5},
    {"measure": "answered", "margin": 0.5},
    {"measure": "latency", "budget_s": 0.1, "margin": 0.5},
]
EVERYTHING = [
    plan(
        *CONDITIONS,
        slices=["truth", "x"],
        batched=batched,
        map={"outputs": {"y": {"name": "w", "classes": [1, 0], "dtype": "float32", "shape": "squeeze"}}},
    )
    for batched in (False, True)
]
CLOSE = Plan(mode="conversion", slices=("truth",))
DTYPES = ["?", "i1", "u1", "u2", "i8", "u8", "f2", "f4", "f8", "c8", "S3", "U3", "O", "M8[s]"]
ODD = [
    math.nan,
    math.inf,
    -math.inf,
    0,
    1,
    -1,
    2**63,
    10**400,
    1e300,
    "",
    "a\udcff",
    b"\xff",
    None,
    [1],
    [[1], 2],
    True,
]


@st.composite
def arrays(draw: st.DrawFn) -> Any:
    shape = tuple(draw(st.lists(st.integers(0, 4), max_size=3)))
    kind = np.dtype(draw(st.sampled_from(DTYPES)))
    if kind.kind == "O":
        made = np.empty(shape, object)
        for place in np.ndindex(shape):
            made[place] = draw(st.sampled_from(ODD))
        return made
    size = int(np.prod(shape, dtype=int)) * kind.itemsize
    if kind.kind in "?bU":
        return np.zeros(shape, kind)
    return np.frombuffer(draw(st.binary(min_size=size, max_size=size)), kind).reshape(shape)


scores = st.lists(st.lists(st.floats(0, 1), min_size=2, max_size=2), min_size=1, max_size=3).map(np.array)
values = st.one_of(arrays(), scores, st.sampled_from(ODD))
outputs = st.dictionaries(st.sampled_from(["y", "w", "z"]), values, max_size=3)
failures = st.builds(lambda code: Answer(failure=Failure(code, "\x00")), st.text(max_size=3))
answers = st.one_of(
    st.builds(lambda named, taken: Answer(named, latency_s=taken), outputs, st.none() | st.floats()),
    failures,
    st.just(Answer()),
)
cases = st.builds(
    lambda number, inputs, extras: Case(number, inputs, extras=extras),
    st.integers(0, 9),
    st.dictionaries(st.sampled_from(["x"]), values),
    st.dictionaries(st.sampled_from(["truth"]), values),
)


@given(st.lists(st.builds(Pair, cases, answers, answers), max_size=4), st.booleans(), st.booleans())
@settings(max_examples=150, derandomize=True, deadline=None)
def test_no_answer_makes_the_judge_raise(pairs: list[Pair], whole_file: bool, batched: bool) -> None:
    for each in (EVERYTHING[batched], CLOSE):
        judge = judged(each, pairs, whole_file=whole_file)
        written = json.dumps(judge.result().as_json(), allow_nan=False)
        assert json.loads(written)["schema"] == 1
        assert json.loads(written)["requests"] == len(pairs)


def test_what_is_written_down_has_no_nan() -> None:
    written = judged(plan(TOP), []).result().as_json()
    assert written["conditions"][0]["estimate"] is None
    infinite = judged(Plan(mode="conversion"), [pair({"y": [1.0]}, {"y": [math.nan]})]).result().as_json()
    assert infinite["conditions"][0]["worst"][0]["severity"] == "inf"
