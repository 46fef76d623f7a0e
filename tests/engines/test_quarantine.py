"""A request that ends a worker alone, as whoever runs the model sees it: listed, kept if allowed, let in again."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from stopgap_protos.serving_pb2 import PredictRequest

from tests.stopgap_program import Program
from tests.zoo import ZOO

pytestmark = pytest.mark.slow

MODEL = ZOO / "stn_affine_resampler"


def ask_poison(stopgap: Program, name: str, folder: Path) -> str:
    """An empty batch, which ends tf.contrib's Resampler; gives what the caller is told."""
    np.savez(folder / "poison.npz", image=np.zeros((0, 24, 24, 1), np.float32))
    return stopgap.refused("predict", name, "--inputs", str(folder / "poison.npz"))


def assert_poison_is_kept(stopgap: Program, name: str, folder: Path) -> None:
    """Asks it twice, and looks at what the sandbox has kept."""
    ask_poison(stopgap, name, folder)
    assert "is in quarantine" in ask_poison(stopgap, name, folder)
    told = stopgap.run("incidents", name, "--requests", str(folder / "kept"), "--json")
    assert told.returncode == 0, told.stderr
    said = json.loads(told.stdout)
    (convicted,) = (each for each in said["incidents"] if each["kind"] == "quarantined")
    file = folder / "kept" / f"{convicted['incident']}.pb"
    assert said["written"] == [str(file)]
    request = PredictRequest.FromString(file.read_bytes())
    assert request.model_spec.name == name
    assert [dim.size for dim in request.inputs["image"].tensor_shape.dim] == [0, 24, 24, 1]


def test_a_request_that_ends_a_worker_is_kept_where_that_was_allowed(stopgap: Program, tmp_path: Path) -> None:
    stopgap.serve(MODEL, "stn", "--keep-requests")
    assert_poison_is_kept(stopgap, "stn", tmp_path)
    again = stopgap.run("incidents", "stn", "--requests", str(tmp_path / "kept"), "--release")
    assert again.returncode == 0, again.stderr
    assert again.stdout.startswith("released 1 from quarantine\n")
    assert "wrote" not in again.stdout


def test_nothing_is_kept_where_nobody_allowed_it(stopgap: Program, tmp_path: Path) -> None:
    stopgap.serve(MODEL, "stn")
    ask_poison(stopgap, "stn", tmp_path)
    refused = stopgap.refused("incidents", "stn", "--requests", str(tmp_path / "kept"))
    assert "Serve it with --keep-requests" in refused
    assert not (tmp_path / "kept").exists()
