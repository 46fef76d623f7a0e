"""Every engine in turn, for tests of what is promised on all of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.backstage import ENGINES
from tests.stopgap_program import Program, program_in


@pytest.fixture(scope="session", params=[pytest.param(name, marks=getattr(pytest.mark, name)) for name in ENGINES])
def engine(request: pytest.FixtureRequest) -> str:
    """The engine that a test is to use; `backstage.on_docker` keeps a test to one."""
    name: str = request.param
    return name


@pytest.fixture
def stopgap(engine: str, tmp_path: Path) -> Iterator[Program]:
    """The program, on that engine."""
    with program_in(tmp_path, engine) as program:
        yield program
