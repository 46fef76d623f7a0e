"""The plan, the map between two models, and what proposes it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stopgap.comparison.finder import ClassOrder, Match, Spec, class_order, matches
from stopgap.comparison.mapping import Map, Tensor, read_map
from stopgap.comparison.pairs import Answer, Case, Tensors
from stopgap.comparison.plan import read_plan
from stopgap.comparison.proposal import Proposal
from stopgap.errors import ComparisonError

from tests.pairs_at_hand import FAILED, answer

FULL = """
mode = "retrained"
alpha = 0.01
label = "truth"
slices = ["country"]
most_units = 20000
independent = true
candidates = 2

[map]
signature = "serve"
inputs = { image = "x" }

[map.outputs.probs]
name = "probabilities"
classes = [2, 0, 1]
shape = [3]

[[conditions]]
measure = "top_1"
output = "probs"
margin = 0.98

[[conditions]]
measure = "bias"
output = "score"
most = 5
margin = 0.1

[[conditions]]
measure = "loss"
output = "probs"
margin = 0.01
"""


def written(folder: Path, text: str) -> Path:
    file = folder / "plan.toml"
    file.write_text(text)
    return file


def test_a_plan_is_read_from_a_file(tmp_path: Path) -> None:
    plan = read_plan(written(tmp_path, FULL))
    assert [condition.name for condition in plan.conditions] == [
        "top_1 of probs",
        "bias of score (most 5, upwards True)",
        "bias of score (most 5, upwards False)",
        "loss of probs",
    ]
    assert plan.mapping.outputs["probs"] == Tensor("probabilities", (2, 0, 1), "", (3,))
    assert plan.terms(whole_file=True).alpha == 0.005


def test_the_digest_is_of_all_that_is_stated(tmp_path: Path) -> None:
    digest = read_plan(written(tmp_path, FULL)).digest
    assert read_plan(written(tmp_path, "# a comment\n" + FULL)).digest == digest
    for old, new in [
        ("0.98", "0.97"),
        ("[2, 0, 1]", "[2, 1, 0]"),
        ("alpha = 0.01", "alpha = 0.02"),
        ("most = 5", "most = 6"),
    ]:
        assert read_plan(written(tmp_path, FULL.replace(old, new))).digest != digest


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("mode = ", "no TOML"),
        ("alpha = 0.05", "states no mode"),
        ('mode = "sideways"', "no mode 'sideways'"),
        ('mode = "retrained"', "no condition"),
        ('mode = "conversion"\nalpha = 0.7', "no probability"),
        ('mode = "conversion"\nalpha = "low"', "alpha = 'low' cannot be"),
        ('mode = "conversion"\nindependent = 1', "independent = 1 cannot be"),
        ('mode = "conversion"\ncolour = 1', "no 'colour'"),
        ('mode = "conversion"\natol = -1.0', "no tolerance"),
        ('mode = "conversion"\nslices = "country"', "cannot be"),
        ('mode = "conversion"\nconditions = [1]', "names no measure"),
        ('mode = "conversion"\n[[conditions]]\nmeasure = "top_1"\noutput = "y"', "every element is compared"),
        ('mode = "retrained"\n[[conditions]]\nmeasure = "close"', "not held against"),
        ('mode = "retrained"\n[[conditions]]\nmeasure = "auc"\noutput = "y"', "no measure 'auc'"),
        ('mode = "retrained"\n[[conditions]]\nmeasure = "top_1"', "needs an output"),
        ('mode = "retrained"\n[[conditions]]\nmeasure = "top_1"\noutput = "y"\nmargin = "high"', "no number"),
        ('mode = "retrained"\n[[conditions]]\nmeasure = "top_1"\noutput = "y"\nmargin = 1.0', "not between"),
        ('mode = "retrained"\n[[conditions]]\nmeasure = "top_k"\noutput = "y"\nk = 0', "k = 0"),
        ('mode = "retrained"\n[[conditions]]\nmeasure = "top_k"\noutput = "y"\nk = true', "cannot have k"),
        ('mode = "retrained"\n[[conditions]]\nmeasure = "top_k"\noutput = "y"\nn = 1', "no option 'n'"),
        ('mode = "retrained"\n[[conditions]]\nmeasure = "within"\noutput = "y"', "lacks something"),
        ('mode = "retrained"\n[[conditions]]\nmeasure = "loss"\noutput = "y"', "needs a label"),
        (
            'mode = "retrained"\nlabel = "t"\n[[conditions]]\nmeasure = "loss"\noutput = "y"\nloss = "squared"',
            "without a range",
        ),
        ('mode = "retrained"\n[[conditions]]\nmeasure = "parity"\noutput = "y"', "of no output"),
        ('mode = "retrained"\n[[conditions]]\nmeasure = "latency"\nbudget_s = 0.0', "budget of 0.0"),
        ('mode = "retrained"\n[[conditions]]\nmeasure = "function"\nfunction = "nowhere:f"', "cannot be imported"),
        ('mode = "retrained"\n[[conditions]]\nmeasure = "function"\nfunction = "math:f"', "no 'f'"),
        ('mode = "retrained"\n[[conditions]]\nmeasure = "function"\nfunction = "math"', "names no function"),
        ('mode = "retrained"\n[[conditions]]\nmeasure = "parity"\n[[conditions]]\nmeasure = "parity"', "twice"),
        ('mode = "conversion"\n[map.outputs.y]\nclasses = [1, 1]', "no order of classes"),
        ('mode = "conversion"\n[map.outputs.y]\ndtype = "float99"', "no dtype"),
        ('mode = "conversion"\n[map.outputs.y]\nshape = "round"', "shape 'round'"),
        ('mode = "conversion"\n[map.outputs.y]\ncolour = 1', "must be a name"),
        ('mode = "conversion"\n[map]\noutputs = { a = "c", b = "c" }', "become the same"),
        ('mode = "conversion"\n[map]\nafter = "math:f"', "no 'f'"),
        ('mode = "conversion"\n[map]\ninputs = 3', "must be a table"),
    ],
)
def test_a_plan_that_cannot_be_is_refused_with_what_to_do(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(ComparisonError) as refused:
        read_plan(written(tmp_path, text))
    assert why in refused.value.problem


def test_a_plan_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ComparisonError, match="nowhere"):
        read_plan(tmp_path / "nowhere")


# The map


def doubled(tensors: dict[str, Any]) -> dict[str, Any]:
    return {name: value * 2 for name, value in tensors.items()}


def torn(tensors: dict[str, Any]) -> list[Any]:
    return list(tensors)


@pytest.fixture
def adapters() -> str:
    sys.modules["adapters_at_hand"] = sys.modules[__name__]
    return "adapters_at_hand"


def test_inputs_go_out_under_the_candidate_s_names(adapters: str) -> None:
    mapping = read_map(
        {"signature": "serve", "inputs": {"image": {"name": "x", "dtype": "float64"}}, "before": f"{adapters}:doubled"}
    )
    signature, inputs = mapping.asked(
        Case(0, {"image": np.array([1, 2], np.float32), "scale": np.array([3], np.int64)})
    )
    assert signature == "serve"
    assert {name: (value.dtype.name, value.tolist()) for name, value in inputs.items()} == {
        "x": ("float64", [2.0, 4.0]),
        "scale": ("int64", [6]),
    }
    with pytest.raises(ComparisonError, match="case 7"):
        Map(before=f"{adapters}:torn").asked(Case(7, {}))


def test_outputs_come_back_under_the_legacy_model_s_names_and_in_its_order(adapters: str) -> None:
    mapping = read_map(
        {
            "after": f"{adapters}:doubled",
            "outputs": {"probs": {"name": "p", "classes": [2, 0, 1]}, "score": {"name": "s", "shape": "squeeze"}},
        }
    )
    told = mapping.told(answer({"p": [[1, 2, 3]], "s": [[4]], "more": [5], "probs": [0]}))
    assert named(told.outputs) == {"probs": [[6, 2, 4]], "score": [8], "more": [10]}
    assert mapping.told(FAILED) is FAILED
    broken = Map(after=f"{adapters}:torn").told(answer({"p": [1]}))
    assert broken.outputs is None
    assert broken.failure is not None
    assert broken.failure.code == "ADAPTER"


def named(outputs: Tensors | None) -> dict[str, Any]:
    return {name: value.tolist() for name, value in (outputs or {}).items()}


@pytest.mark.parametrize(
    ("tensor", "given", "wanted"),
    [
        (Tensor(shape="expand"), [[1, 2]], [[[1], [2]]]),
        (Tensor(shape=(2, 2)), [[1, 2, 3, 4]], [[[1, 2], [3, 4]]]),
        (Tensor(shape=(5,)), [[1, 2]], [[1, 2]]),
        (Tensor(classes=(1, 0)), [[1, 2, 3]], [[1, 2, 3]]),
        (Tensor(dtype="int32"), ["no"], ["no"]),
        (Tensor(dtype="bfloat16"), np.array([0x3F80, 0xC000], np.uint16), [1.0, -2.0]),
    ],
)
def test_a_tensor_is_made_to_fit_or_stays_as_it_came(tensor: Tensor, given: Any, wanted: Any) -> None:
    assert tensor.fitted(given).tolist() == wanted


# The finder


def test_names_are_matched_by_what_is_alike() -> None:
    legacy = [
        Spec("scores:0", "float32", (None, 10)),
        Spec("classes", "int64", (None,)),
        Spec("odd", "string", (3, 3, 3)),
    ]
    candidate = [
        Spec("class_ids", "int32", (None, 1)),
        Spec("Scores", "float32", (None, 10)),
        Spec("zz", "float64", (7,)),
    ]
    found = {each.legacy: (each.candidate, each.change) for each in matches(legacy, candidate)}
    assert found == {"scores:0": ("Scores", ""), "classes": ("class_ids", "dtype int64, squeeze"), "odd": ("", "")}
    (alone,) = matches([Spec("a", "float32", None)], [Spec("z", "string", (1,))])
    assert (alone.candidate, alone.sure < 0.5) == ("z", True)


@pytest.mark.parametrize("noise", [0.0, 0.02])
def test_an_order_of_classes_is_found_on_one_half_and_measured_on_the_other(noise: float) -> None:
    drawn = np.random.default_rng(5)
    scores = drawn.dirichlet(np.ones(10) * 0.3, 400)
    order = drawn.permutation(10)
    turned = np.empty_like(scores)
    turned[:, order] = scores + drawn.normal(0, noise, scores.shape)
    legacy, candidate = ([Answer({"y": side[n : n + 4]}) for n in range(0, 400, 4)] for side in (scores, turned))
    found = class_order(legacy, candidate, "y")
    assert found is not None
    assert (found.classes, found.rows, found.differs) == (tuple(order), 200, True)
    assert found.after > 0.9
    assert found.before < 0.3
    assert "class order differs" in str(found)
    same = class_order(legacy, legacy, "y")
    assert same is not None
    assert (same.differs, same.before) == (False, 1.0)


def test_no_order_is_made_up_where_there_are_no_scores() -> None:
    few = [answer({"y": [[0.1, 0.9]]})] * 5
    text = [answer({"y": [["a", "b"]]})] * 50
    assert class_order(few, few, "y") is None
    assert class_order(text, text, "y") is None
    assert class_order([FAILED], [FAILED], "y") is None


HOSTILE = 'a "b"\n\x7f\u202e'


def test_a_proposal_is_toml_that_gives_the_map_it_tells_of(tmp_path: Path) -> None:
    order = ClassOrder(tuple(reversed(range(90))), 0.1, 0.9, 50)
    proposal = Proposal(
        HOSTILE,
        (Match("image", HOSTILE, 0.9, "uint8", "expand"), Match("same", "same", 1.0), Match("lost", "", 0.0)),
        (Match("probs", "p", 0.8, "float32", "squeeze"), Match(HOSTILE, "q", 0.5)),
        {"probs": order, HOSTILE: ClassOrder((0, 1), 1.0, 1.0, 50)},
        refusal=HOSTILE,
    )
    plan = read_plan(written(tmp_path, 'mode = "conversion"\n' + proposal.toml()))
    assert plan.mapping == proposal.map
    assert plan.mapping.inputs == {"image": Tensor(HOSTILE, (), "uint8", "expand")}
    assert plan.mapping.outputs == {
        "probs": Tensor("p", order.classes, "float32", "squeeze"),
        HOSTILE: Tensor("q"),
    }
    renamed = Proposal("", (Match("a", "b", 0.9),), (Match("y", "y", 1.0),))
    assert 'inputs = { "a" = "b" }' in renamed.toml()
    assert read_plan(written(tmp_path, 'mode = "conversion"\n' + renamed.toml())).mapping == renamed.map
    assert Proposal("", (), (Match("y", "y", 1.0),)).map == Map()


def test_what_an_input_needs_is_the_reverse_of_what_an_output_needs() -> None:
    legacy, candidate = [Spec("x", "float32", (None, 8))], [Spec("x", "float64", (None, 8, 1))]
    (given,), (told,) = matches(legacy, candidate, inputs=True), matches(legacy, candidate)
    assert (given.change, told.change) == ("dtype float64, expand", "dtype float32, squeeze")
    (text,) = matches([Spec("x", "string", None)], [Spec("x", "float32", None)], inputs=True)
    assert text.change == ""
