"""The client beside whatever is there: other Pythons, with other versions of gRPC, NumPy and protobuf.

Python 3.9 has the oldest of everything that the wheel allows, 3.13 the newest of everything, those between what lies
between; `requirements/python3.*.txt` are their locks.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests import pythons, zoo
from tests.backstage import on_bubblewrap
from tests.packaging import environments
from tests.packaging.distributions import ROOT, Distributions
from tests.packaging.environments import Environment
from tests.stopgap_program import Program, program_in

pytestmark = [pytest.mark.slow, pytest.mark.thorough, pytest.mark.bubblewrap]

OWN: Final = "3.11"  # which the tests run on, and has TensorFlow: test_tensorflow.py
OLDEST, *_, NEWEST = pythons.SERIES
# Floats; and texts, whole numbers and floats in both directions.
MODELS: Final = ("stn_affine_resampler", "nmt_luong_beam_search")
CLIENTS_TESTS: Final = ("model", "stock", "tensors", "values")


def on_each(*all_series: str) -> pytest.MarkDecorator:
    marked = [pytest.param(series, marks=pytest.mark.python(series)) for series in all_series]
    return pytest.mark.parametrize("environment", marked, indirect=True)


@pytest.fixture(scope="module")
def environment(request: pytest.FixtureRequest, distributions: Distributions) -> Environment:
    """The wheel, on a Python of that series, with the packages of its lock."""
    series: str = request.param
    return environments.locked(series, distributions.wheel)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """The models, in sandboxes, for callers of all Pythons."""
    with program_in(tmp_path_factory.mktemp("served"), "bubblewrap") as program:
        for name in MODELS:
            program.serve(zoo.load(name).folder, name)
        yield program


@on_each(*(series for series in pythons.SERIES if series != OWN))
def test_every_module_imports_and_requests_are_answered_as_ever(
    environment: Environment, served: Program, tmp_path: Path
) -> None:
    environment.run(environment.python, "-m", "pip", "check", cwd=tmp_path)
    environment.call("asking", served.address.grpc, *MODELS, cwd=tmp_path)


@on_each(*(series for series in pythons.SERIES if series != OWN))
def test_the_clients_own_tests_pass(environment: Environment, tmp_path: Path) -> None:
    """Among them those of every data type, which each protobuf hands out in its own way."""
    alone = ("-q", "-W", "error", "-p", "no:cacheprovider", "--noconftest", "-c", "/dev/null", "--rootdir", str(ROOT))
    tests = [ROOT / "tests" / "unit" / f"test_client_{what}.py" for what in CLIENTS_TESTS]
    environment.run(environment.python, "-m", "pytest", *alone, *tests, cwd=tmp_path)


@on_bubblewrap
@pytest.mark.usefixtures("state")
@on_each(OLDEST, NEWEST)
def test_the_oldest_and_the_newest_serve_too(environment: Environment, engine: str, tmp_path: Path) -> None:
    environment.call("loading", engine, MODELS[0], cwd=tmp_path)
