"""What all tests share: the TensorFlow bundles, and the engines and Pythons that a run needs."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Final

import pytest
from stopgap import bundles
from stopgap.engines import bubblewrap, docker
from stopgap.engines.protocol import Engine
from stopgap.errors import StopgapError
from stopgap.isolations import GVISOR
from stopgap.settings import state_folder
from stopgap_runtime.capi import TensorFlow

from tests import pythons
from tests.accounting import Accounting

# TensorFlow reads it when it is loaded: only what goes wrong is to be printed.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

# What a shell starts in the background ignores Ctrl-C, and so would all that is started here: tests are about it.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def legacy_bundle() -> Path:
    """The folder of TensorFlow 1.15.5 with all of contrib, fetched where it is not there yet."""
    return bundles.ensure("tf-1.15.5").path


@pytest.fixture(scope="session")
def modern_bundle() -> Path:
    """The folder of a TensorFlow 2, fetched where it is not there yet."""
    return bundles.ensure("tf-2.21.0").path


@pytest.fixture(scope="session")
def legacy_tensorflow(legacy_bundle: Path) -> TensorFlow:
    """TensorFlow 1.15.5, loaded into the tests' own process."""
    return TensorFlow.load(legacy_bundle)


@pytest.fixture(scope="session")
def modern_tensorflow(modern_bundle: Path) -> TensorFlow:
    """A TensorFlow 2, loaded into the tests' own process; both get along there."""
    return TensorFlow.load(modern_bundle)


def _docker_trouble() -> str:
    return _trouble_of(docker.connect)


def _bubblewrap_trouble() -> str:
    return _trouble_of(lambda: bubblewrap.connect(state_folder()))


def _gvisor_trouble() -> str:
    return _trouble_of(docker.connect, isolation=GVISOR)


def _podman_trouble() -> str:
    if os.geteuid() != 0:
        return "these tests need root"
    return "" if shutil.which("podman") else "it is not installed: sudo apt-get install podman"


def _trouble_of(connect: Callable[[], Engine], isolation: str = "") -> str:
    """Why an engine does not work, or does not isolate so; empty when it does."""
    try:
        engine = connect()
        engine.limits()
        engine.isolated(isolation)
    except StopgapError as error:
        return " ".join(str(error).split())
    return ""


_TROUBLE: Final[Mapping[str, Callable[[], str]]] = {
    "docker": _docker_trouble,
    "bubblewrap": _bubblewrap_trouble,
    "podman": _podman_trouble,
    "gvisor": _gvisor_trouble,
}


def pytest_configure(config: pytest.Config) -> None:
    """Puts the accounts in place: of engines, and of other Pythons than the tests' own."""
    config.addinivalue_line("markers", "podman: needs Podman, and root")
    config.addinivalue_line("markers", "gvisor: needs a Docker engine with gVisor's runsc")
    config.addinivalue_line("markers", "python(series): needs a Python of that series, 3.9 say")
    engines = Accounting("engines", _TROUBLE, _engines_of, "REQUIRE_ENGINES")
    interpreters = Accounting("pythons", _PYTHON_TROUBLE, _pythons_of, "REQUIRE_PYTHONS")
    config.pluginmanager.register(engines, "stopgap-engines")
    config.pluginmanager.register(interpreters, "stopgap-pythons")


def _engines_of(item: pytest.Item) -> set[str]:
    return {name for name in _TROUBLE if item.get_closest_marker(name)}


def _pythons_of(item: pytest.Item) -> set[str]:
    return {series for marker in item.iter_markers("python") for series in marker.args}


def _python_trouble(series: str) -> str:
    return "" if pythons.found(series) else f"no python{series} that runs is on the path or among pyenv's"


_PYTHON_TROUBLE: Final[Mapping[str, Callable[[], str]]] = {
    series: partial(_python_trouble, series) for series in pythons.SERIES
}
