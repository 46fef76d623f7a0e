"""What is kept of the worst cases: redacted as a journal's, bounded, and as near as can be to what a person sees."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pytest
from stopgap.asking.keeping import kept_cases, redaction_of, tensor_as_seen
from stopgap.comparison.document import KeptCase, KeptTensor
from stopgap.comparison.pairs import Answer, Case, Failure, Pair
from stopgap.comparison.plan import Plan
from stopgap.errors import ComparisonError, JournalError
from stopgap_protos.example_pb2 import Example

CONDITION = {"measure": "equal", "output": "y"}


def plan(*redact: dict[str, str], **settings: Any) -> Plan:
    return Plan.of(mode="retrained", conditions=[CONDITION], redact=list(redact), **settings)


def kept(plan: Plan, inputs: dict[str, Any], outputs: dict[str, Any] | None = None, **extras: Any) -> KeptCase:
    answer = Answer(outputs) if outputs is not None else Answer(failure=Failure("INTERNAL", "you sent: secret"))
    case = Case(7, {name: np.asarray(value) for name, value in inputs.items()}, extras=extras)
    (found,) = kept_cases([Pair(case, answer, answer)], plan, redaction_of(plan))
    return found


def named(tensors: tuple[KeptTensor, ...]) -> dict[str, KeptTensor]:
    return {tensor.name: tensor for tensor in tensors}


def strings(*texts: bytes) -> Any:
    return np.array([*texts, None], object)[:-1]


def test_images_are_kept_as_pixels_of_the_first_row_thinned_out_where_they_are_large() -> None:
    picture = np.zeros((2, 400, 300, 3), np.uint8)
    picture[0, :, :, 1] = 200
    seen = tensor_as_seen("image", picture)
    assert (seen.shown, seen.size, seen.shape) == ("pixels", (134, 150, 3), (2, 400, 300, 3))
    assert base64.b64decode(seen.content)[:3] == bytes([0, 200, 0])
    grey = tensor_as_seen("x", np.linspace(-1, 1, 28 * 28, dtype=np.float32).reshape(1, 28, 28))
    assert (grey.shown, grey.size, grey.text) == ("pixels", (28, 28, 1), "black -1, white 1")
    assert base64.b64decode(grey.content)[0] == 0
    assert base64.b64decode(grey.content)[-1] == 255
    odd = np.full((1, 9, 9, 1), np.nan)
    assert tensor_as_seen("x", odd).shown == "numbers"
    odd[0, 0, 0, 0] = np.inf
    assert tensor_as_seen("x", odd).shown == "numbers"
    odd[0, 1, 0, 0] = 3.0
    assert tensor_as_seen("x", odd).shown == "pixels"


def test_rows_of_numbers_are_no_picture() -> None:
    assert tensor_as_seen("probs", np.zeros((32, 10))).shown == "numbers"
    assert tensor_as_seen("grid", np.zeros((32, 10)), batched=False).shown == "pixels"
    assert tensor_as_seen("none", np.zeros((0, 28, 28))).shown == "numbers"
    long = tensor_as_seen("x", np.arange(1000.0))
    assert long.text.startswith("0, 1, 2, ")
    assert long.text.endswith(", 31, …")
    assert tensor_as_seen("x", np.array(0.25, np.float32)).text == "0.25"


def test_texts_are_bounded_and_tell_what_they_hide() -> None:
    seen = tensor_as_seen("text", strings(b"first\nsecond \x1b[31m \xff", "žluť".encode()))
    assert seen.text == "first\nsecond \\x1b[31m \\xff\nžluť"
    assert len(tensor_as_seen("text", strings(*([b"x" * 10**6] * 100))).text) <= 16_000
    assert tensor_as_seen("text", strings(*([b"x"] * 100))).text.endswith("… and 92 more")
    png = b"\x89PNG\r\n\x1a\n" + b"0" * 100
    assert tensor_as_seen("file", strings(png)).shown == "image/png"
    assert tensor_as_seen("file", strings(b"<svg onload='x()'/>")).shown == "text"
    assert tensor_as_seen("file", strings(png + bytes(10**6))).shown == "text"


def test_an_example_is_told_feature_by_feature() -> None:
    example = Example()
    example.features.feature["age"].int64_list.value[:] = [41]
    example.features.feature["words"].bytes_list.value[:] = [b"good", b"bad"]
    assert tensor_as_seen("examples", strings(example.SerializeToString())).text == "age: 41\nwords: good, bad"


def test_the_plans_rules_take_out_what_they_name_on_both_sides() -> None:
    example = Example()
    example.features.feature["card"].bytes_list.value[:] = [b"4111-secret"]
    example.features.feature["age"].int64_list.value[:] = [41]
    inputs = {
        "user": strings(b"ann-secret", b"ann-secret"),
        "image": np.full((1, 8, 8, 1), 77, np.uint8),
        "name": strings(b"name-secret"),
        "examples": strings(example.SerializeToString()),
    }
    outputs = {"y": strings(b"y-secret"), "z": np.array([1.5])}
    found = kept(
        plan(
            {"how": "hash", "tensor": "user"},
            {"how": "zero", "tensor": "image"},
            {"how": "drop", "tensor": "name"},
            {"how": "drop", "feature": "card"},
            {"how": "drop", "tensor": "y"},
            {"how": "drop", "tensor": "label"},
            label="label",
        ),
        inputs,
        outputs,
        label=strings(b"label-secret"),
    )
    assert "secret" not in repr(found)
    seen = named(found.inputs)
    one, other = seen["user"].text.split("\n")
    assert one == other, "that two are equal is what a hash tells"
    assert set(base64.b64decode(seen["image"].content)) == {0}
    assert seen["examples"].text == "age: 41"
    assert "name" not in seen
    assert [tensor.name for tensor in found.legacy + found.candidate] == ["z", "z"]


def test_a_failure_is_told_by_its_code_since_its_text_may_repeat_what_was_asked() -> None:
    found = kept(plan(), {"x": np.zeros(1)})
    assert [tensor.text for tensor in found.legacy] == ["failed: INTERNAL"]
    assert "secret" not in repr(found)


def test_the_label_is_kept_beside_the_inputs() -> None:
    assert named(kept(plan(label="truth"), {"x": np.zeros(1)}, {}, truth=np.array([3])).inputs)["truth"].text == "3"


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        ({"how": "drop", "tensor": "country"}, "sliced by: country"),
        ({"tensor": "x"}, "is no redaction"),
        ({"how": "drop", "column": "x"}, "is no redaction"),
        ({"how": 3}, "is no redaction"),
    ],
)
def test_a_rule_that_would_not_hold_is_refused(rule: Any, why: str) -> None:
    with pytest.raises(ComparisonError, match=why):
        plan(rule, slices=["country"])


@pytest.mark.parametrize("rule", [{"how": "burn", "tensor": "x"}, {"how": "drop"}])
def test_a_rule_that_says_nothing_is_refused_before_anybody_is_asked(rule: dict[str, str]) -> None:
    with pytest.raises(JournalError):
        redaction_of(plan(rule))
