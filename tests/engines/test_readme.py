"""The README's commands and its Python, run as they stand there but for the port and the sunset."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest

from tests import zoo
from tests.stopgap_program import Program, program_in

pytestmark = [pytest.mark.docker, pytest.mark.slow]

README = (Path(__file__).parents[2] / "README.md").read_text()
MODEL = "stn_affine_resampler"


@pytest.fixture
def stopgap(tmp_path: Path) -> Iterator[Program]:
    with program_in(tmp_path) as program:
        yield program


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the reader stands: with a model and a request."""
    shutil.copytree(zoo.ZOO / MODEL, tmp_path / "model", ignore=shutil.ignore_patterns("*.npz", "model.json"))
    np.savez(tmp_path / "request.npz", **zoo.load(MODEL).cases[0].inputs)  # type: ignore[arg-type]
    return tmp_path


def blocks(language: str) -> list[str]:
    found: list[str] = re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
    return found


def test_the_quickstart_works_command_by_command(stopgap: Program, folder: Path) -> None:
    (quickstart,) = (block for block in blocks("") if "stopgap serve" in block)
    commands = quickstart.strip().splitlines()
    assert len(commands) <= 10
    sunset = date.today() + timedelta(days=30)
    for command in commands:
        typed = re.sub(r"--until \S+", f"--until {sunset}", command)
        typed = typed + f" --port {stopgap.port}" if " serve " in typed else typed
        done = run(typed, stopgap, folder)
        assert done.returncode == 0, f"{command}: {done.stderr}"
        if " predict " in command:
            assert "probs" in done.stdout
    assert stopgap.leftovers() == []


def test_the_readmes_client_gets_its_predictions(stopgap: Program, folder: Path) -> None:
    stopgap.serve(folder / "model", "ranker")
    (client,) = (block for block in blocks("python") if "grpc" in block)
    assert predicted(client.replace("127.0.0.1:8500", f"127.0.0.1:{stopgap.port}"), stopgap, folder).startswith("[[")


def test_the_readmes_program_loads_the_model_and_leaves_nothing(stopgap: Program, folder: Path) -> None:
    (program,) = (block for block in blocks("python") if "stopgap.load" in block)
    assert predicted(program, stopgap, folder).startswith("tf.Tensor(")
    assert stopgap.leftovers() == []


def predicted(block: str, stopgap: Program, folder: Path) -> str:
    """What a program prints that has a batch, runs the block, and prints its predictions."""
    program = folder / "program.py"
    batch = "import numpy\nbatch = numpy.load('request.npz')['image']\n"
    program.write_text(f"{batch}{block}print(probabilities)\n")
    done = run(f"{sys.executable} {program}", stopgap, folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


def run(command: str, stopgap: Program, folder: Path) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return subprocess.run(
        command.split(),
        cwd=folder,
        env=stopgap.environment(PATH=path),
        executable=shutil.which(command.split(maxsplit=1)[0], path=path),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
