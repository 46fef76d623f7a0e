"""Several models behind one front, coming and going at the same time: nobody's callers pay for another's change."""

from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.load import Load, image_request, until
from tests.stopgap_program import Program
from tests.zoo import ZOO

pytestmark = pytest.mark.slow

RESAMPLER = ZOO / "stn_affine_resampler"
HYPERPLANES = ZOO / "lsh_retrieval"


def test_one_folder_serves_under_several_names(stopgap: Program) -> None:
    first, second = stopgap.serve(RESAMPLER, "one"), stopgap.serve(RESAMPLER, "two")
    assert first["model"] == second["model"]
    assert stopgap.answers("one")
    assert stopgap.answers("two")
    assert stopgap.run("stop", "one").returncode == 0
    assert not stopgap.answers("one")
    assert stopgap.answers("two")


def test_no_request_of_a_model_fails_while_others_come_and_go(stopgap: Program) -> None:
    served = stopgap.serve(RESAMPLER, "keeper")
    with Load(served["grpc"], image_request("keeper")) as load:
        until(lambda: load.answers > 100, 20)
        with ThreadPoolExecutor() as threads:
            both = [threads.submit(stopgap.serve, HYPERPLANES, name) for name in ("a", "b")]
            assert [each.result()["name"] for each in both] == ["a", "b"]
            stopping = threads.submit(stopgap.run, "stop", "a")
            starting = threads.submit(stopgap.serve, RESAMPLER, "c")
            assert stopping.result().returncode == 0
            assert starting.result()["name"] == "c"
        assert stopgap.run("stop", "b", "c").returncode == 0
    assert [str(error) for error in load.errors] == []


def test_of_two_serves_of_one_name_one_wins_and_the_other_is_told(stopgap: Program) -> None:
    arguments = ("serve", str(RESAMPLER), *stopgap.at("same"), "--json")
    with ThreadPoolExecutor() as threads:
        done = [each.result() for each in [threads.submit(stopgap.run, *arguments) for _ in range(2)]]
    winner, loser = sorted(done, key=lambda one: one.returncode)
    assert (winner.returncode, loser.returncode) == (0, 1)
    assert "Another stopgap is starting or stopping 'same'" in loser.stderr or "The name same is taken" in loser.stderr
    assert stopgap.answers("same")


def test_a_model_that_is_being_stopped_cannot_be_served_until_it_is_gone(stopgap: Program) -> None:
    stopgap.serve(RESAMPLER, "same")
    stopping = stopgap.start("stop", "same")
    until(lambda: not stopgap.answers("same"), 20)
    served = stopgap.run("serve", str(RESAMPLER), *stopgap.at("same"))
    stopping.communicate(timeout=60)
    assert stopping.returncode == 0
    if served.returncode == 1:
        assert "Another stopgap is starting or stopping 'same'" in served.stderr
        assert stopgap.leftovers() == []
        stopgap.serve(RESAMPLER, "same")
    assert stopgap.answers("same")


def test_a_model_is_replaced_by_its_newer_version(stopgap: Program, tmp_path: Path) -> None:
    """The name is free between the two; another model's callers notice nothing."""
    versions = tmp_path / "versions"
    shutil.copytree(RESAMPLER / "1", versions / "1")
    keeper = stopgap.serve(RESAMPLER, "keeper")
    assert stopgap.serve(versions, "changing")["version"] == 1
    shutil.copytree(RESAMPLER / "1", versions / "2")
    with Load(keeper["grpc"], image_request("keeper")) as load:
        until(lambda: load.answers > 100, 20)
        assert stopgap.run("stop", "changing").returncode == 0
        assert stopgap.serve(versions, "changing")["version"] == 2
        assert json.loads(stopgap.run("status", "changing", "--json").stdout)["version"] == 2
    assert [str(error) for error in load.errors] == []
