"""After `pip install` and nothing else, outside the repository: the command, the client, and the one line."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import pytest

from tests import zoo
from tests.backstage import on_bubblewrap
from tests.packaging import environments
from tests.packaging.distributions import Distributions
from tests.packaging.environments import Environment
from tests.stopgap_program import free_port

pytestmark = pytest.mark.slow

MODEL: Final = "stn_affine_resampler"


@pytest.fixture(scope="module")
def installed(distributions: Distributions, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """As anybody would have it: a clean environment, with the newest of whatever the wheel needs."""
    environment = environments.clean(tmp_path_factory.mktemp("installed"))
    environment.install(distributions.wheel)
    return environment


@pytest.mark.usefixtures("state")
def test_one_line_serves_a_model(installed: Environment, engine: str, tmp_path: Path) -> None:
    installed.call("loading", engine, MODEL, cwd=tmp_path)


@pytest.mark.usefixtures("state")
def test_the_command_serves_a_model_and_the_client_calls_it(
    installed: Environment, engine: str, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    port = free_port()
    np.savez(tmp_path / "request.npz", image=zoo.load(MODEL).cases[0].inputs["image"])
    stopgap, where = installed.stopgap, ("--engine", engine, "--port", str(port))
    installed.run(stopgap, "serve", zoo.load(MODEL).folder, "--name", "ranker", *where, cwd=tmp_path / "empty")
    try:
        said = installed.run(stopgap, "predict", "ranker", "--inputs", "../request.npz", cwd=tmp_path / "empty")
        assert "probs" in said
    finally:
        installed.run(stopgap, "stop", "--all", cwd=tmp_path / "empty")
    assert list((tmp_path / "empty").iterdir()) == []


@on_bubblewrap
@pytest.mark.usefixtures("state")
def test_the_sdist_installs_the_same_and_serves(
    distributions: Distributions, installed: Environment, tmp_path: Path, engine: str
) -> None:
    from_source = environments.clean(tmp_path / "environment")
    from_source.install(distributions.sdist)
    assert files_in(from_source) == files_in(installed)
    from_source.call("loading", engine, MODEL, cwd=tmp_path)


def files_in(environment: Environment) -> dict[str, bytes]:
    """All of stopgap's own, by name."""
    (site,) = environment.site.glob("lib/python3.*/site-packages")
    return {
        path.relative_to(site).as_posix(): path.read_bytes()
        for tree in ("stopgap", "stopgap_protos", "stopgap_images")
        for path in (site / tree).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
