"""A comparison of two folders that is finished starts no sandbox when it is typed again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
from click.testing import CliRunner
from stopgap.asking import choosing
from stopgap.cli.main import cli
from stopgap.client.npz import write_npz

from tests import zoo

MODEL = zoo.load("rff_kernel_svm_control")
ROWS = 40


@pytest.mark.bubblewrap
def test_a_finished_comparison_starts_no_sandbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STOPGAP_STATE", str(tmp_path / "state"))
    data = tmp_path / "data.npz"
    data.write_bytes(write_npz({"x": np.random.default_rng(3).standard_normal((ROWS, 5)).astype(np.float32)}))
    folder = str(MODEL.folder)
    typed = ["compare", folder, folder, "--data", str(data), "--mode", "conversion", "--engine", "bubblewrap", "--json"]
    first = CliRunner().invoke(cli, [*typed, "--margin", "0.9"])
    assert json.loads(first.stdout)["requests"] == ROWS, first.exception

    def refused(*_: object) -> NoReturn:
        raise AssertionError("a sandbox is started")

    monkeypatch.setattr(choosing, "opened", refused)
    again = CliRunner().invoke(cli, [*typed, "--margin", "0.9"])
    assert json.loads(again.stdout) == json.loads(first.stdout), again.exception
    assert f"{ROWS} requests were answered before" in again.stderr
    other_margin = CliRunner().invoke(cli, [*typed, "--margin", "0.5", "--most", "20"])
    assert json.loads(other_margin.stdout)["requests"] == 20, other_margin.exception
    assert str(CliRunner().invoke(cli, [*typed, "--restart"]).exception) == "a sandbox is started"
