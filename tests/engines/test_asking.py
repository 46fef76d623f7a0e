"""Two models of all kinds met and asked: folders that are served for it, a deployment by its name, an address."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stopgap import deployment
from stopgap.api.opening import Source
from stopgap.asking.data.reading import Reading
from stopgap.asking.meeting import Wanted, meeting
from stopgap.client.npz import write_npz
from stopgap.comparison.pairs import Answer, Pair
from stopgap.engines.choice import Engines
from stopgap.progress import silent
from stopgap.settings import Address, ServeSettings
from stopgap.store import Store

from tests import zoo
from tests.backstage import backstage
from tests.stopgap_program import program_in

pytestmark = pytest.mark.slow

CONTROL = zoo.load("layers_mlp_norms_control")
CONTRIB = zoo.load("stn_affine_resampler")


@pytest.fixture
def state(engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / "state"
    monkeypatch.setenv("STOPGAP_STATE", str(folder))
    behind = backstage(engine, folder)
    try:
        yield folder
        assert behind.containers() == [], "a sandbox outlived the comparison"
    finally:
        behind.clear()


def data_of(model: zoo.ZooModel, folder: Path) -> tuple[Path, str]:
    """The good case of the model's that has the most rows, and its signature."""
    good = [case for case in model.cases if case.error is None]
    case = max(good, key=lambda case: max(array.shape[0] for array in case.inputs.values() if array.ndim))
    file = folder / f"{model.name}.npz"
    file.write_bytes(write_npz({name: np.asarray(array) for name, array in case.inputs.items()}))
    return file, case.signature


def wanted(legacy: str, candidate: str, engine: str, data: tuple[Path, str], rows: int | None, **how: Any) -> Wanted:
    sides = [
        Source(named, bundle="", engine=engine) if "/1" in named else Source(named) for named in (legacy, candidate)
    ]
    return Wanted(sides[0], sides[1], data[0], reading=Reading(signature=data[1], rows=rows), **how)


def outputs(answer: Answer) -> dict[str, Any]:
    assert answer.outputs is not None, answer.failure
    return dict(answer.outputs)


def assert_alike(pairs: list[Pair], atol: float, rtol: float) -> None:
    assert pairs
    for pair in pairs:
        assert outputs(pair.legacy).keys() == outputs(pair.candidate).keys()
        for name, array in outputs(pair.legacy).items():
            np.testing.assert_allclose(outputs(pair.candidate)[name], array, atol=atol, rtol=rtol)


def test_a_folder_is_served_by_both_tensorflows_and_a_broken_comparison_goes_on(
    engine: str, state: Path, tmp_path: Path
) -> None:
    folder = str(CONTROL.folder)
    this = wanted(folder, folder, engine, data_of(CONTROL, tmp_path), rows=1)
    with meeting(this) as begun:
        assert "tf-1.15.5" in begun.legacy.told
        assert "tf-2." in begun.candidate.told
        assert begun.legacy.digest == begun.candidate.digest
        assert (begun.answered, begun.begun_anew, begun.candidates) == (0, (), 1)
        first = list(islice(begun.pairs(), 1))
    with meeting(this) as again:
        assert again.answered == 1
        pairs = list(again.pairs())
        noise = again.noise(most_rows=4)
        assert again.noise(most_rows=4) == noise  # read, not asked again
    assert [pair.legacy.latency_s for pair in pairs[:1]] == [pair.legacy.latency_s for pair in first]
    assert_alike(pairs, CONTROL.atol, CONTROL.rtol)
    assert noise.pairs == 1
    assert max(noise.largest.values()) < 1e-4
    assert (state / "comparisons").stat().st_mode & 0o077 == 0


def test_a_candidate_that_tensorflow_2_does_not_know_is_served_by_the_legacy_one(
    engine: str, state: Path, tmp_path: Path
) -> None:
    folder = str(CONTRIB.folder)
    with meeting(wanted(folder, folder, engine, data_of(CONTRIB, tmp_path), rows=None)) as met:
        assert "served with tf-1.15.5, since" in met.candidate.told
        assert "tf.contrib.resampler" in met.candidate.told
        assert_alike(list(met.pairs()), 0, 0)  # the same sandbox, asked with the same batch
    assert Store(state).deployments() == ()


def test_a_deployment_and_an_address_are_asked_where_they_are(engine: str, state: Path, tmp_path: Path) -> None:
    with program_in(tmp_path, engine) as program:
        address: Address = program.address
    engines, store = Engines(state), Store(state)
    settings = ServeSettings(name="ranker", model=CONTROL.folder, address=address)
    deployment.serve(settings, engines.named(engine), store, print, silent)
    try:
        remote = f"{address.grpc}/ranker"
        with meeting(wanted("ranker", remote, engine, data_of(CONTROL, tmp_path), rows=None)) as met:
            assert met.legacy.digest == store.deployment("ranker").sunset.digest
            assert (met.candidate.digest, met.candidate.pin) == (None, "unpinned")
            assert "version 1" in met.candidate.told
            assert_alike(list(met.pairs()), 0, 0)
    finally:
        deployment.stop("ranker", engines, store, print)
