"""A state folder for each test, in this process's environment, which must be empty again at the end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.backstage import ENGINES, backstage


@pytest.fixture(scope="session", params=[pytest.param(name, marks=getattr(pytest.mark, name)) for name in ENGINES])
def engine(request: pytest.FixtureRequest) -> str:
    """The engine that a test is to use; `backstage.on_bubblewrap` keeps a test to one."""
    name: str = request.param
    return name


@pytest.fixture
def state(engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / "state"
    monkeypatch.setenv("STOPGAP_STATE", str(folder))
    behind = backstage(engine, folder)
    try:
        yield folder
        left = behind.containers() + [str(path) for path in folder.glob("deployments/*")]
        assert left == [], "a sandbox outlived its last user"
    finally:
        behind.clear()
