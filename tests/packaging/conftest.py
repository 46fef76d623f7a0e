"""What is installed, built once; and the same state folder for each test as where models are loaded from a checkout."""

from __future__ import annotations

import pytest

from tests.api.conftest import engine, state
from tests.packaging.distributions import Distributions, built

__all__ = ["distributions", "engine", "state"]


@pytest.fixture(scope="session")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Distributions:
    """The sdist and the wheel of this tree."""
    return built(tmp_path_factory.mktemp("distributions"))
