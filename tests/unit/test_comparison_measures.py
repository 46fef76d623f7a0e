"""What each measure sees in two answers: by hand where it is short, against the definition where it is not."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stopgap.comparison.classes import first
from stopgap.comparison.closeness import Tolerance, errors_of, noise_floor
from stopgap.comparison.distributions import jensen_shannon
from stopgap.comparison.flips import Flips, one_sidedness
from stopgap.comparison.ranks import kendall, spearman
from stopgap.comparison.sequences import edit_distance
from stopgap.comparison.sets import overlaps
from stopgap.comparison.sketch import Sketch

from tests.pairs_at_hand import pair, seen

NAN, INF = math.nan, math.inf
TIGHT = Tolerance(atol=0.1, rtol=0.0, k=1.0)


# The same weights


@pytest.mark.parametrize(
    ("legacy", "candidate", "outside"),
    [
        ([1.0, 2.0], [1.05, 2.2], 1),
        ([NAN, 1.0], [NAN, NAN], 1),
        ([INF, -INF, INF], [INF, INF, 1.0], 2),
        ([0.0], [INF], 1),
        (np.array([2**60], np.int64), np.array([2**60 + 1], np.int64), 1),
        ([True, False], [True, True], 1),
        (np.array([b"a", b"b"], object), np.array(["a", "c"], object), 1),
        (np.array([1.0], np.float32), np.array([1.0], np.float64), 0),
        (np.array([1 + 1j]), np.array([1 + 2j]), 1),
        (np.zeros((0, 3)), np.zeros((0, 3)), 0),
    ],
)
def test_an_element_is_outside_beyond_its_tolerance(legacy: Any, candidate: Any, outside: int) -> None:
    assert errors_of(np.asarray(legacy), np.asarray(candidate), TIGHT).outside.sum() == outside


@pytest.mark.parametrize(
    ("legacy", "candidate", "reason"),
    [
        ([[1.0, 2.0]], [[1.0], [2.0]], "the shapes differ"),
        ([1.0], ["1.0"], "the kinds of values differ"),
        ([1.0], None, "the output is missing"),
        (np.zeros((0, 3)), np.zeros((0, 2)), "the shapes differ"),
    ],
)
def test_what_cannot_be_compared_is_outside_as_a_whole(legacy: Any, candidate: Any, reason: str) -> None:
    errors = errors_of(np.asarray(legacy), None if candidate is None else np.asarray(candidate), TIGHT)
    assert (errors.reason, int(errors.outside.sum())) == (reason, errors.elements)
    assert errors.elements >= 1


def test_the_noise_floor_widens_the_tolerance_and_comes_from_the_legacy_model_alone() -> None:
    one, other = np.array([1.0, 2.0]), np.array([1.0, 2.0 + 1e-4])
    floor = noise_floor([pair({"y": one}, {"y": other}), pair({"y": [1.0]}, {"y": [NAN]}), pair(None, {"y": one})])
    assert floor.largest["y"] == pytest.approx(1e-4)
    assert (floor.unstable, floor.pairs, floor.differing["y"]) == (("y",), 2, 2 / 3)
    exact = Tolerance(0.0, 0.0, 10.0)
    assert errors_of(one, one + 9e-4, exact).outside.sum() == 2
    assert errors_of(one, one + 9e-4, exact, floor.largest["y"]).outside.sum() == 0
    assert errors_of(one, one + 11e-4, exact, floor.largest["y"]).outside.sum() == 2


def test_a_relative_error_has_a_least_denominator() -> None:
    errors = errors_of(np.array([0.0, 2.0]), np.array([0.5, 3.0]), Tolerance(denominator=0.1))
    assert errors.relative.tolist() == [5.0, 0.5]


# Decisions


@pytest.mark.parametrize(
    ("measure", "legacy", "candidate", "values"),
    [
        ({"measure": "top_1"}, [[0.1, 0.9], [0.6, 0.4]], [[0.2, 0.8], [0.4, 0.6]], [1, 0]),
        ({"measure": "top_1"}, [[0.5, 0.5]], [[0.4, 0.3]], [1]),  # the first of equals
        ({"measure": "top_1"}, [[NAN, 1.0]], [[0.0, 1.0]], [0]),
        ({"measure": "top_1"}, [[NAN, 1.0]], [[0.0, NAN]], [1]),
        ({"measure": "top_1"}, [[INF, 1.0]], [[3.0, 1.0]], [1]),
        ({"measure": "top_k", "k": 2}, [[3.0, 2.0, 1.0]] * 2, [[2.0, 3.0, 1.0], [1.0, 2.0, 3.0]], [1, 0]),
        ({"measure": "overlap", "k": 2}, [[3.0, 2.0, 1.0]] * 2, [[2.0, 3.0, 1.0], [1.0, 2.0, 3.0]], [0, 0.5]),
        ({"measure": "threshold", "threshold": 0.5}, [0.4, 0.5, NAN], [0.6, 0.7, NAN], [0, 1, 1]),
        ({"measure": "equal"}, np.array([b"a", "b"], object), np.array(["a", "c"], object), [1, 0]),
        ({"measure": "equal"}, np.array([3, 4], np.int64), np.array([3.0, 5.0], np.float32), [1, 0]),
        ({"measure": "within", "tolerance": 0.5}, [[1.0], [2.0]], [[1.5], [3.0]], [1, 0]),
        ({"measure": "absolute_error", "most": 2.0}, [1.0, 1.0, 1.0], [2.0, 9.0, NAN], [1, 2, 2]),
        ({"measure": "bias", "most": 2.0, "upwards": True}, [1.0, 1.0], [2.0, -9.0], [1, -2]),
        ({"measure": "bias", "most": 2.0, "upwards": False}, [1.0, 1.0], [2.0, -9.0], [-1, 2]),
        ({"measure": "total_variation"}, [[0.5, 0.5]], [[0.75, 0.25]], [0.25]),
        ({"measure": "jensen_shannon"}, [[1.0, 0.0], [0.5, 0.5]], [[0.0, 1.0], [0.5, 0.5]], [1, 0]),
        ({"measure": "jensen_shannon", "logits": True}, [[0.0, 5.0]], [[10.0, 15.0]], [0]),
        ({"measure": "ranks"}, [[1.0, 2.0, 3.0]] * 2, [[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]], [0, 1]),
        ({"measure": "ranks", "method": "spearman"}, [[1.0, 2.0, 3.0]] * 2, [[5.0, 6.0, 9.0], [3.0, 2.0, 1.0]], [0, 1]),
        ({"measure": "ranks"}, [[1.0, 1.0], [1.0, 1.0], [NAN, 1.0]], [[2.0, 2.0], [1.0, 2.0], [1.0, 1.0]], [0, 0.5, 1]),
        (
            {"measure": "edit_distance"},
            np.array([b"kitten", b""], object),
            np.array([b"sitting", b""], object),
            [3 / 7, 0],
        ),
        ({"measure": "edit_distance", "padding": 0}, [[1, 2, 0, 0]], [[1, 3, 2, 0, 0]], [1 / 3]),
        (
            {"measure": "points", "radius": 1.0},
            [[[0.0, 0.0], [5.0, 5.0]]],
            [[[5.0, 5.5], [0.0, 0.5], [9.0, 9.0]]],
            [0.2],
        ),
    ],
)
def test_a_measure_sees(measure: dict[str, Any], legacy: Any, candidate: Any, values: list[float]) -> None:
    assert seen(measure, legacy, candidate).values == pytest.approx(values)


@pytest.mark.parametrize(
    ("measure", "legacy", "candidate", "kind"),
    [
        ({"measure": "top_1"}, [["a"]], [[1.0]], "unknown"),
        ({"measure": "top_1"}, [[1.0]], [["a"]], "worst"),
        ({"measure": "top_1"}, [[1.0, 2.0]], [[1.0]], "worst"),
        ({"measure": "top_1"}, np.zeros((0, 2)), np.zeros((0, 2)), "excluded"),
        ({"measure": "top_1"}, None, [[1.0]], "excluded"),
        ({"measure": "top_1"}, [[1.0]], None, "worst"),
        ({"measure": "top_1"}, {"z": [1.0]}, [[1.0]], "unknown"),
        ({"measure": "top_1"}, [[1.0]], {"z": [1.0]}, "worst"),
        ({"measure": "jensen_shannon"}, [[2.0, 3.0]], [[0.5, 0.5]], "unknown"),
        ({"measure": "jensen_shannon"}, [[0.5, 0.5]], [[2.0, 3.0]], "worst"),
        ({"measure": "jensen_shannon"}, [[0.5, 0.5]], [[NAN, 0.5]], "worst"),
        ({"measure": "ranks"}, [[1.0]], [[1.0]], "excluded"),
        ({"measure": "edit_distance", "longest": 3}, np.array([b"abcd"]), np.array([b"abcd"]), "unknown"),
        ({"measure": "boxes"}, [[["a"]]], [[[0.0] * 4]], "unknown"),
        ({"measure": "boxes"}, [[[0.0] * 4]], [[[NAN] * 4]], "worst"),
    ],
)
def test_what_cannot_be_measured_is_a_result_with_its_reason(
    measure: dict[str, Any], legacy: Any, candidate: Any, kind: str
) -> None:
    sight = seen(measure, legacy, candidate)
    assert sight.reason
    assert (sight.unknown, sight.excluded) == (kind == "unknown", kind == "excluded")
    if kind == "worst":
        assert sight.values.tolist() == [0.0 if measure["measure"] == "top_1" else 1.0]


def test_boxes_of_varying_count_are_matched_whatever_their_order() -> None:
    boxes = {
        "y": [[[0, 0, 2, 2], [10, 10, 12, 12], [0, 0, 0, 0]]],
        "n": [2.0],
        "class": [[1, 2, 0]],
        "score": [[0.9, 0.8, 0.0]],
    }
    turned = {
        "y": [[[10, 10, 12, 12.1], [0, 0, 2, 2.1]]],
        "n": [2],
        "class": [[2, 1]],
        "score": [[0.9, 0.9]],
    }
    measure = {"measure": "boxes", "count": "n", "classes": "class", "scores": "score"}
    assert seen(measure, boxes, turned).values.tolist() == [0.0]
    assert seen(measure, boxes, {**turned, "class": [[2, 2]]}).values.tolist() == [0.5]
    assert seen(measure, boxes, {**turned, "score": [[0.9, 0.1]]}).values == pytest.approx([1 / 3])
    assert seen(measure, boxes, {**turned, "n": [0]}).values.tolist() == [1.0]
    assert seen(measure, {**boxes, "n": [0]}, {**turned, "n": [0]}).values.tolist() == [0.0]


def test_overlaps_are_intersection_over_union() -> None:
    found = overlaps(np.array([[0.0, 0, 2, 2], [1, 1, 1, 1]]), np.array([[1.0, 1, 3, 3], [2, 2, 0, 0], [1, 1, 1, 1]]))
    assert found == pytest.approx(np.array([[1 / 7, 1, 0], [0, 0, 1]]))


def test_the_first_of_equals_are_the_same_every_time() -> None:
    assert first(np.array([[1.0, 2.0, 2.0, 0.0]]), 2).tolist() == [[1, 2]]


# Against definitions


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=2, max_size=30))
@settings(max_examples=200, derandomize=True, deadline=None)
def test_kendall_is_what_all_pairs_say(points: list[tuple[int, int]]) -> None:
    ours, theirs = (np.array(side, float) for side in zip(*points))
    signs = [(np.sign(a[0] - b[0]), np.sign(a[1] - b[1])) for a, b in itertools.combinations(zip(ours, theirs), 2)]
    total = sum(one * other for one, other in signs)
    room = math.sqrt(sum(one != 0 for one, _ in signs) * sum(other != 0 for _, other in signs))
    found = kendall(ours, theirs)
    assert math.isnan(found) if not room else found == pytest.approx(total / room)


def test_spearman_of_ties_is_the_textbook_s() -> None:
    # Ranks 1, 2.5, 2.5, 4 against 1, 3, 2, 4.
    assert spearman(np.array([1.0, 2, 2, 3]), np.array([1.0, 3, 2, 4])) == pytest.approx(4.5 / math.sqrt(4.5 * 5))


@given(st.text("abc", max_size=8), st.text("abc", max_size=8))
@settings(max_examples=200, derandomize=True, deadline=None)
def test_edit_distance_is_what_the_recursion_says(one: str, other: str) -> None:
    rows = [list(range(len(other) + 1))]
    for i, a in enumerate(one, 1):
        rows.append([i])
        for j, b in enumerate(other, 1):
            rows[i].append(min(rows[i - 1][j] + 1, rows[i][j - 1] + 1, rows[i - 1][j - 1] + (a != b)))
    assert edit_distance(one, other) == rows[-1][-1]


def test_jensen_shannon_is_the_mean_of_two_divergences_in_bits() -> None:
    ours, theirs = np.array([[0.7, 0.2, 0.1]]), np.array([[0.1, 0.3, 0.6]])
    middle = (ours + theirs) / 2
    wanted = sum((side * np.log2(side / middle)).sum() for side in (ours, theirs)) / 2
    assert jensen_shannon(ours, theirs) == pytest.approx([wanted])


def test_a_sketch_tells_quantiles_within_one_percent_in_a_fixed_memory() -> None:
    values = np.random.default_rng(3).lognormal(-8, 3, 100_000) * np.random.default_rng(4).choice([-1, 1], 100_000)
    sketch = Sketch()
    for piece in np.array_split(values, 37):
        sketch.add(piece)
    sketch.add([NAN, INF])
    for share in (0.01, 0.25, 0.5, 0.9, 0.999):
        exact = np.quantile(values, share, method="inverted_cdf")
        assert sketch.quantile(share) == pytest.approx(exact, rel=0.011)
    assert (sketch.quantile(1.0), sketch.least) == (values.max(), values.min())
    assert (sketch.count, sketch.not_a_number, sketch.infinite) == (100_000, 1, 1)


NEAR = 1e-12


def test_a_sketch_tells_its_numbers_in_a_few_bins_that_hold_all_of_them() -> None:
    drawn = np.random.default_rng(5).lognormal(-8, 3, 10_000)
    for values in (drawn, -drawn, np.concatenate([drawn, -drawn, np.zeros(700)]), np.zeros(3), drawn[:1]):
        sketch = Sketch()
        sketch.add(values)
        bins = sketch.bins(most=30)
        assert len(bins) <= 33
        assert (bins[0][0], bins[-1][1]) == (values.min(), values.max())
        assert all(before[1] <= after[0] for before, after in itertools.pairwise(bins))
        for lower, upper, count in bins:
            within = int(((values >= lower * (1 + NEAR)) & (values <= upper * (1 + NEAR))).sum())
            assert within == pytest.approx(count, abs=2), "but for what lies on an edge"
        assert sum(count for _, _, count in bins) == len(values)
    assert Sketch().bins() == []
    far = Sketch()
    far.add([-1e300, -1e-300, 0.0, 1e300])
    assert [count for *_, count in far.bins()] == [1, 2, 1]


def test_a_one_sided_shift_is_told_from_an_even_one() -> None:
    flips = Flips()
    flips.add(("a",) * 30 + ("b",) * 70, ("b",) * 20 + ("a",) * 10 + ("b",) * 68 + ("a",) * 2)
    (most, _) = flips.most()
    assert (most.legacy, most.candidate, most.count, most.reverse) == ("a", "b", 20, 2)
    assert most.one_sided == pytest.approx(2 * (1 + 22 + 231) / 2**22)
    assert one_sidedness(6000, 6000) == 1.0
    assert flips.kappa == pytest.approx((0.78 - (0.3 * 0.12 + 0.7 * 0.88)) / (1 - (0.3 * 0.12 + 0.7 * 0.88)))


def test_the_table_of_flips_is_bounded() -> None:
    flips = Flips()
    for number in range(5000):
        flips.add((str(number),), (str(number + 1),))
    names, counts = flips.table(20)
    assert (len(names), names[-1]) == (20, "(other)")
    assert sum(map(sum, counts)) == 5000
    assert len(flips.pairs) <= 2001


# Labels


@pytest.mark.parametrize(
    ("loss", "legacy", "candidate", "label", "values"),
    [
        ({}, [[0.1, 0.9], [0.9, 0.1]], [[0.9, 0.1], [0.9, 0.1]], [1, 0], [1, 0]),
        ({}, [[0.1, 0.9]], [[NAN, 0.9]], [1], [1]),
        ({}, [[NAN, 0.9]], [[0.1, 0.9]], [1], [-1]),
        ({}, [[0.1, 0.9], [0.1, 0.9]], None, [1, 0], [1, 0]),
        ({}, np.array([b"cat"], object), np.array([b"dog"], object), np.array(["cat"]), [1]),
        ({"threshold": 0.5}, [0.9, 0.2], [0.1, 0.1], [1, 0], [1, 0]),
        ({"loss": "log", "clip": 0.01}, [[0.0, 1.0]], [[1.0, 0.0]], [1], [-math.log(0.01)]),
        ({"loss": "log"}, [0.5], [0.25], [1], [math.log(2)]),
        ({"loss": "squared", "low": 0.0, "high": 10.0}, [1.0], [99.0], [4.0], [36 - 9]),
        ({"loss": "absolute", "low": 0.0, "high": 10.0}, [[1.0]], None, [4.0], [10 - 3]),
    ],
)
def test_a_loss_is_the_candidate_s_less_the_legacy_model_s(
    loss: dict[str, Any], legacy: Any, candidate: Any, label: Any, values: list[float]
) -> None:
    sight = seen({"measure": "loss", "label": "truth", **loss}, legacy, candidate, truth=label)
    assert sight.values == pytest.approx(values)


@pytest.mark.parametrize("label", [[7], [NAN], [0.5], [[0, 1]], [b"cat"], []])
def test_a_label_that_cannot_be_makes_the_unit_unknown(label: list[Any]) -> None:
    sight = seen({"measure": "loss", "label": "truth"}, [[0.1, 0.9]], [[0.1, 0.9]], truth=label)
    assert sight.unknown
    assert sight.reason
