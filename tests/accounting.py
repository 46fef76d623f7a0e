"""A last word on what a run needed of the machine and what was there, so that nothing is skipped in silence."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping

import pytest

__all__ = ["Accounting"]


class Accounting:
    """Skips tests that need what does not work, or makes that a failure, and says at the very end what happened.

    Args:
        title: What is needed, as the last lines name it, e.g. `engines`.
        troubles: By name, what asks why a thing does not work; an empty answer means that it does.
        needs: The names of what a test needs.
        insistence: The environment variable that lists the names which must work.
    """

    def __init__(
        self,
        title: str,
        troubles: Mapping[str, Callable[[], str]],
        needs: Callable[[pytest.Item], set[str]],
        insistence: str,
    ) -> None:
        self._title = title
        self._troubles = troubles
        self._needs = needs
        self._insistence = insistence
        self._required = frozenset(filter(None, os.environ.get(insistence, "").split(",")))
        self._trouble: dict[str, str] = {}
        self._needed: dict[str, set[str]] = {}
        self._ran: dict[str, set[str]] = {name: set() for name in troubles}

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """After the selection is known: nothing is tried that nobody needs."""
        for name, trouble in self._troubles.items():
            wanting = [item for item in items if name in self._needs(item)]
            self._needed[name] = {item.nodeid for item in wanting}
            self._trouble[name] = trouble() if wanting or name in self._required else ""
            if self._trouble[name]:
                for item in wanting:
                    item.add_marker(pytest.mark.skip(reason=f"no {name}: {self._trouble[name]}"))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Counts the tests that really ran."""
        if report.when == "call" and not report.skipped:
            for name, needed in self._needed.items():
                if report.nodeid in needed:
                    self._ran[name].add(report.nodeid)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """What is required and missing fails the run, whatever else passed."""
        if any(name not in self._troubles or self._trouble.get(name) for name in self._required):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_unconfigure(self) -> None:
        """The last lines of the output."""
        for line in self._summary():
            print(f"{self._title}: {line}")  # noqa: T201 - after pytest's own last line, its reporter is closed

    def _summary(self) -> Iterator[str]:
        for name in sorted(self._required.difference(self._troubles)):
            yield f"{self._insistence} names {name!r}, which no test knows: FAILED"
        for name, trouble in self._trouble.items():
            if trouble:
                verdict = f"FAILED, {self._insistence} asks for it" if name in self._required else "tests SKIPPED"
                yield f"{name} does not work, {len(self._needed[name])} {verdict}: {trouble}"
        ran = [f"{name} ran ({len(tests)} tests)" for name, tests in self._ran.items() if tests]
        yield ", ".join(ran) or "none ran (no test that was selected needs one)"
