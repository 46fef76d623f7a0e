"""docs/guide.md, read by somebody who types all of it, in order, but for the port, the engine and the sunset."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import stopgap
import tensorflow as tf
from stopgap_protos.saved_model_pb2 import SavedModel

from tests import zoo
from tests.stopgap_program import free_port

GUIDE = Path(__file__).parents[2] / "docs" / "guide.md"
BLOCK = re.compile(r"^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE)

STN = zoo.load("stn_affine_resampler")
IMAGE = STN.cases[0].inputs["image"]
PROBS = STN.cases[0].outputs["probs"]
CENSUS = zoo.load("estimator_dnn_forward_key_control")


@dataclass(frozen=True)
class Block:
    """What the guide shows between fences, and the line before it."""

    language: str
    text: str
    line: int


def blocks() -> Iterator[Block]:
    text = GUIDE.read_text(encoding="utf-8")
    for found in BLOCK.finditer(text):
        yield Block(found["language"], found["text"], text.count("\n", 0, found.start("text")))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the reader stands: with three models and a request."""
    shutil.copytree(STN.folder, tmp_path / "model")
    shutil.copytree(CENSUS.folder, tmp_path / "census")
    shutil.copytree(STN.folder, tmp_path / "bare")
    bare = tmp_path / "bare" / "saved_model.pb"
    model = SavedModel.FromString(bare.read_bytes())
    model.meta_graphs[0].ClearField("signature_def")
    bare.write_bytes(model.SerializeToString())
    np.savez(tmp_path / "request.npz", image=IMAGE)
    (tmp_path / "request.json").write_text(json.dumps({"instances": IMAGE.tolist()}))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of Keras's own, on NumPy 2.4
def test_all_that_the_guide_shows_works_as_it_stands_there(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://192.0.2.1:2375")  # elsewhere, so that `auto` is bubblewrap
    port = free_port()
    names: dict[str, Any] = {}
    try:
        for block in blocks():
            if block.language == "python":
                run_python(block, port, names)
            elif block.language == "toml":
                (folder / block.text.splitlines()[0].lstrip("# ")).write_text(block.text)
            else:
                assert block.language == ""
                run_commands(block, port)
        check(names)
    finally:
        run("stopgap stop --all")
        for thing in names.values():
            if isinstance(thing, (stopgap.LoadedModel, stopgap.Predictor)):
                thing.close()


def run_python(block: Block, port: int, names: dict[str, Any]) -> None:
    """With the guide's own line numbers, so that a traceback, and TensorFlow's autograph, find the lines."""
    code = "\n" * block.line + block.text.replace("127.0.0.1:8500", f"127.0.0.1:{port}")
    exec(compile(code, str(GUIDE), "exec"), names)  # noqa: S102 - it is what the test is for


def run_commands(block: Block, port: int) -> None:
    sunset = date.today() + timedelta(days=30)
    for command in block.text.strip().splitlines():
        typed = re.sub(r"--until \S+", f"--until {sunset}", command).replace("127.0.0.1:8501", f"127.0.0.1:{port + 1}")
        typed += f" --port {port} --engine bubblewrap" if " serve " in typed else ""
        done = run(typed)
        # What doctor finds of this machine is none of the guide's business.
        assert done.returncode == 0 or " doctor " in command, f"{command}: {done.stdout}{done.stderr}"


def run(command: str) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    words = shlex.split(command)
    return subprocess.run(
        words,
        env={**os.environ, "PATH": path},
        executable=shutil.which(words[0], path=path),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def check(names: Mapping[str, Any]) -> None:
    """What the reader has in hand at the end is right, and not only there."""
    np.testing.assert_allclose(names["probs"], PROBS, atol=1e-4)
    np.testing.assert_allclose(names["angles"], STN.cases[0].outputs["theta"], atol=1e-4)
    assert [len(each) for each in names["classes"]] == [3, 3, 1]
    assert names["rows"] == 7
    assert names["answer"]["probabilities"].shape == (2, 2)
    assert names["inputs"] == ["image"]
    assert "Softmax" in names["ends"]
    images = np.repeat(IMAGE, 3, 0)
    np.testing.assert_allclose(
        names["again"].predict(images, verbose=0), names["whole"].predict(images, verbose=0), atol=1e-5
    )


def told(error: BaseException) -> str:
    """As a traceback's last line has it, without Markdown's own sign for code."""
    return f"{type(error).__name__}: {error}".replace("`", "")


@pytest.mark.usefixtures("folder")
def test_the_errors_that_the_guide_begins_with_are_what_is_said() -> None:
    quoted = [text.rstrip(" …") for text in re.findall(r"`(\w+Error: [^`]+)`", GUIDE.read_text(encoding="utf-8"))]
    said = []
    for fails in (
        lambda: tf.saved_model.load("model"),
        lambda: keras.models.load_model("model"),
        lambda: __import__("tensorflow.contrib"),
        lambda: tf.contrib,
    ):
        with pytest.raises(Exception, match=r"\w") as raised:
            fails()
        said.append(told(raised.value))
    assert len(quoted) == len(said)
    for shown, whole in zip(quoted, said):
        assert whole.startswith(shown)
