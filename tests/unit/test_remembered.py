"""A finished comparison knows both sides without starting them, and believes nothing that may have changed."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from stopgap.api.opening import Source
from stopgap.asking.choosing import CANDIDATE, identities
from stopgap.asking.remembered import (
    Known,
    Remembered,
    RememberedSide,
    read_remembered,
    remembered_side,
    write_remembered,
)
from stopgap.asking.sides import Identity, Question, Side
from stopgap.client.dtypes import BFLOAT16, STRING, dtype_of
from stopgap.client.signatures import Signature, TensorSpec
from stopgap.comparison.pairs import Answer, Case
from stopgap.store import Store

from tests import zoo

SIGNATURE = Signature(
    "serving_default",
    "tensorflow/serving/predict",
    {"x": TensorSpec("x", dtype_of(STRING), (None, 3)), "n": TensorSpec("n", None, None)},
    {"y": TensorSpec("y", dtype_of(BFLOAT16), ())},
    frozenset({"n"}),
)
KNOWN = Known(Identity("a model", None, "state"), {"serving_default": SIGNATURE})


class Started:
    """A side that counts how often it is opened."""

    def __init__(self) -> None:
        self.opened = self.closed = 0

    def __call__(self) -> Side:
        self.opened += 1
        return self

    def identity(self) -> Identity:
        return Identity("a model", None, "now")

    def signatures(self) -> Mapping[str, Signature]:
        return {}

    def changes_state(self, signature: str) -> bool:  # noqa: ARG002 - a side's
        return False

    def question(self, case: Case) -> Question:
        return lambda _timeout_s: Answer({"y": np.array([case.number])})

    def is_there(self) -> bool:
        return True

    def close(self) -> None:
        self.closed += 1


def test_what_is_written_is_what_was_known(tmp_path: Path) -> None:
    remembered = Remembered(KNOWN, Known(Identity("a recording", "12ab", "12ab"), {}), 7, is_all=True)
    file = tmp_path / "sides"
    write_remembered(file, remembered)
    assert read_remembered(file) == remembered
    assert file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[" * 100_000, b'{"format": 1, "asked": 3}', b'{"format": 3}', b"\xff"]
)
def test_what_is_no_such_file_is_forgotten(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "sides"
    assert read_remembered(file) is None
    file.write_bytes(content)
    assert read_remembered(file) is None


@pytest.mark.parametrize(
    ("is_all", "answered", "most", "nothing"),
    [
        *((True, 7, None, True), (True, 6, None, False), (True, 7, 100, True), (True, 3, 3, True)),
        *((False, 7, None, False), (False, 7, 7, True), (False, 7, 5, True), (False, 7, 8, False)),
    ],
)
def test_nothing_is_left_where_all_that_is_wanted_was_answered(
    is_all: bool, answered: int, most: int | None, nothing: bool
) -> None:
    assert Remembered(KNOWN, KNOWN, 7, is_all).leaves_nothing(answered, most) is nothing


def test_a_side_is_opened_when_it_is_asked_and_not_before() -> None:
    started = Started()
    side = RememberedSide(KNOWN, started)
    questions = [side.question(Case(number, {})) for number in range(3)]
    assert (side.identity(), side.signatures(), started.opened) == (KNOWN.identity, KNOWN.signatures, 0)
    side.close()
    assert started.closed == 0
    assert [question(1.0) for question in questions][2] == Answer({"y": np.array([2])})
    assert (started.opened, side.identity().state) == (1, "now")
    side.close()
    assert started.closed == 1


def test_a_folder_is_believed_as_long_as_its_files_are_what_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STOPGAP_STATE", str(tmp_path / "state"))
    folder = tmp_path / "model"
    shutil.copytree(zoo.load("layers_mlp_norms_control").folder, folder)
    store, source = Store.default(), Source(str(folder), bundle="")
    modern, legacy = identities(source, store, CANDIDATE)
    for identity in (modern, legacy):  # whichever of the two TensorFlows it was that served it
        assert isinstance(remembered_side(Known(identity, {}), source, store, CANDIDATE), RememberedSide)
    with (folder / "variables" / "variables.index").open("ab") as file:
        file.write(b"1")
    assert remembered_side(Known(modern, {}), source, store, CANDIDATE) is None
