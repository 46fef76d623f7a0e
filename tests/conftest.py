"""What all tests share: the TensorFlow bundles, the engines that a run needs, and a last word on which of them ran."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from stopgap import bundles
from stopgap.engines.docker import connect
from stopgap.errors import StopgapError
from stopgap_runtime.capi import TensorFlow

# TensorFlow reads it when it is loaded: only what goes wrong is to be printed.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

_DOCKER = "docker"
_REQUIRED = frozenset(filter(None, os.environ.get("REQUIRE_ENGINES", "").split(",")))


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


class _Engines:
    """Skips tests whose engine does not answer, or makes that a failure, and says at the very end what happened."""

    def __init__(self) -> None:
        self._trouble = ""
        self._need_docker: set[str] = set()
        self._ran: set[str] = set()

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """After the selection is known: the engine is asked only when somebody needs it."""
        wanting = [item for item in items if item.get_closest_marker(_DOCKER)]
        self._need_docker = {item.nodeid for item in wanting}
        if wanting or _DOCKER in _REQUIRED:
            self._trouble = _docker_trouble()
        if self._trouble:
            for item in wanting:
                item.add_marker(pytest.mark.skip(reason=f"no Docker engine: {self._trouble}"))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Counts the tests that really ran on an engine."""
        if report.when == "call" and not report.skipped and report.nodeid in self._need_docker:
            self._ran.add(report.nodeid)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """A required engine that is missing fails the run, whatever else passed."""
        unknown = _REQUIRED - {_DOCKER}
        if unknown or (_DOCKER in _REQUIRED and self._trouble):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_unconfigure(self) -> None:
        """The last lines of the output."""
        for line in self._summary():
            print(line)  # noqa: T201 - after pytest's own last line, its reporter is closed

    def _summary(self) -> Iterator[str]:
        for name in sorted(_REQUIRED - {_DOCKER}):
            yield f"engines: REQUIRE_ENGINES names {name!r}, which no test knows: FAILED"
        if self._trouble:
            verdict = "FAILED, REQUIRE_ENGINES asks for it" if _DOCKER in _REQUIRED else "tests SKIPPED"
            yield f"engines: docker does not answer, {len(self._need_docker)} {verdict}: {self._trouble}"
        elif self._ran:
            yield f"engines: docker ran ({len(self._ran)} tests)"
        else:
            yield "engines: none ran (no test that was selected needs one)"


def pytest_configure(config: pytest.Config) -> None:
    """Puts the engines' accounting in place."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Engines(), "stopgap-engines")


def _docker_trouble() -> str:
    """Why no Docker engine answers; empty when one does."""
    try:
        connect().limits()
    except StopgapError as error:
        return " ".join(str(error).split())
    return ""
