"""The small file that gives a model signatures: what it may hold, and what is said of one that holds something else."""

from __future__ import annotations

from pathlib import Path

import pytest
from stopgap.errors import ModelError
from stopgap.overlay import EXAMPLE, read_overlay


def written(folder: Path, text: str) -> Path:
    file = folder / "signatures.toml"
    file.write_text(text)
    return file


def test_each_table_is_a_signature(tmp_path: Path) -> None:
    signatures = read_overlay(written(tmp_path, EXAMPLE + '\n["a/b:c"]\ninputs = {}\noutputs = { y = "y" }\n'))
    assert signatures == {
        "serving_default": {"inputs": {"image": "image:0"}, "outputs": {"probs": "Softmax:0"}},
        "a/b:c": {"inputs": {}, "outputs": {"y": "y"}},
    }


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no table"),
        ("[a", "no TOML"),
        ("a = 1", "must have inputs and outputs"),
        ('[a]\ninputs = { x = "x" }', "must have inputs and outputs"),
        ('[a]\ninputs = {}\noutputs = { y = "y" }\nmethod = "m"', "nothing else"),
        ("[a]\ninputs = {}\noutputs = {}", "no outputs"),
        ("[a]\ninputs = { x = 1 }\noutputs = { y = 'y' }", "the inputs of [a]"),
        ("[a]\ninputs = {}\noutputs = { y = '' }", "the outputs of [a]"),
        ("#" * (1 << 17), "more than 65536 bytes"),
    ],
)
def test_what_cannot_be_used_is_told_with_an_example(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(ModelError) as refused:
        read_overlay(written(tmp_path, text))
    assert why in refused.value.problem
    assert EXAMPLE in refused.value.remedy


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="nowhere"):
        read_overlay(tmp_path / "nowhere")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(ModelError, match="no TOML"):
        read_overlay(tmp_path / "binary")
