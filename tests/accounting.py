"""A last word on what a run needed of the machine and what was there, so that nothing is skipped in silence.

Where the tests are spread over several processes (pytest-xdist), each finds out what its tests need and whether it is
there, and tells the one that has the last word.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

__all__ = ["Accounting"]


class Accounting:
    """Skips tests that need what does not work, or makes that a failure, and says at the very end what happened.

    Args:
        title: What is needed, as the last lines name it, e.g. `engines`.
        troubles: By name, what asks why a thing does not work; an empty answer means that it does.
        needs: The names of what a test needs.
        insistence: The environment variable that lists the names which must work.
        reports_to: What this process hands to the one that has the last word; None for that one.
    """

    def __init__(
        self,
        title: str,
        troubles: Mapping[str, Callable[[], str]],
        needs: Callable[[pytest.Item], set[str]],
        insistence: str,
        reports_to: dict[str, Any] | None,
    ) -> None:
        self._title = title
        self._troubles = troubles
        self._needs = needs
        self._insistence = insistence
        self._required = frozenset(filter(None, os.environ.get(insistence, "").split(",")))
        self._trouble: dict[str, str] = {}
        self._needed: dict[str, set[str]] = {}
        self._ran: set[str] = set()
        self._reports_to = reports_to

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
        """Keeps which tests really ran."""
        if report.when == "call" and not report.skipped:
            self._ran.add(report.nodeid)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Another process is through: all of them have found the same tests."""
        told = getattr(node, "workeroutput", {}).get(self._title)
        if told:
            self._trouble = told["trouble"]
            self._needed = {name: set(tests) for name, tests in told["needed"].items()}

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """What is required and missing fails the run, whatever else passed."""
        if self._reports_to is not None:
            needed = {name: sorted(tests) for name, tests in self._needed.items()}
            self._reports_to[self._title] = {"trouble": self._trouble, "needed": needed}
        elif any(self._trouble.get(name, "nobody has looked") for name in self._required):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_unconfigure(self) -> None:
        """The last lines of the output."""
        if self._reports_to is not None:
            return
        for line in self._summary():
            print(f"{self._title}: {line}")  # noqa: T201 - after pytest's own last line, its reporter is closed

    def _summary(self) -> Iterator[str]:
        for name in sorted(self._required.difference(self._troubles)):
            yield f"{self._insistence} names {name!r}, which no test knows: FAILED"
        for name, trouble in self._trouble.items():
            if trouble:
                verdict = f"FAILED, {self._insistence} asks for it" if name in self._required else "tests SKIPPED"
                yield f"{name} does not work, {len(self._needed[name])} {verdict}: {trouble}"
        ran_by = {name: len(tests & self._ran) for name, tests in self._needed.items()}
        ran = [f"{name} ran ({tests} tests)" for name, tests in ran_by.items() if tests]
        yield ", ".join(ran) or "none ran (no test that was selected needs one)"
