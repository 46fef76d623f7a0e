"""Callers of one model, and what became of their requests."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

__all__ = ["Load", "Request", "Window", "described", "load", "rate_of"]

REPOSITORY: Final = Path(__file__).parents[2]
AFTER_THE_END_S: Final = 60.0


class Window(NamedTuple):
    """From when until when something may go wrong, and why; by the monotonic clock."""

    why: str
    begins: float
    ends: float


class Request(NamedTuple):
    """One innocent request: when it was due, when it was sent, when it ended, and how."""

    due: float
    sent: float
    ended: float
    code: int
    right: bool

    @property
    def is_wrong(self) -> bool:
        """An answer, and not the right one."""
        return self.code == 0 and not self.right

    def falls_into(self, windows: Sequence[Window]) -> bool:
        """Whether it was under way within one of them."""
        return any(self.ended >= window.begins and self.sent <= window.ends for window in windows)


class Load:
    """A process of callers; its requests are known once it has ended."""

    def __init__(self, folder: Path, plan: dict[str, object]) -> None:
        self._plan, self._results = folder / f"{plan['model']}.plan", folder / f"{plan['model']}.results"
        self._plan.write_text(json.dumps(plan))
        command = [sys.executable, "-m", "tests.chaos.caller", str(self._plan), str(self._results)]
        self.process = subprocess.Popen(command, cwd=REPOSITORY)

    def requests(self) -> list[Request]:
        """All of them, in order."""
        return sorted(Request(*each) for each in json.loads(self._results.read_text()))


@contextmanager
def load(
    folder: Path,
    address: str,
    model: str,
    due: Sequence[float],
    *,
    poison: Sequence[float] = (),
    first_poison: int = 0,
) -> Iterator[Load]:
    """Asks the model at these times; returns when all is answered."""
    plan = {
        "address": address,
        "model": model,
        "due": list(due),
        "poison": list(poison),
        "first_poison": first_poison,
    }
    running = Load(folder, plan)
    try:
        yield running
        assert running.process.wait(timeout=due[-1] - due[0] + AFTER_THE_END_S) == 0
    finally:
        running.process.kill()
        running.process.wait()


def rate_of(requests: Sequence[Request]) -> float:
    """How many were sent a second."""
    return (len(requests) - 1) / (requests[-1].sent - requests[0].sent)


def described(name: str, requests: Sequence[Request]) -> str:
    """How many there were, at which rate, how late, and what became of them."""
    late = sorted(request.sent - request.due for request in requests)
    took = sorted(request.ended - request.sent for request in requests if request.right)
    right = sum(request.right for request in requests)
    return (
        f"{name}: {len(requests)} requests, {rate_of(requests):.1f} a second; "
        f"sent late by {late[len(late) // 2] * 1000:.1f} ms (median), {late[len(late) * 99 // 100] * 1000:.1f} ms "
        f"(99 %), {late[-1] * 1000:.0f} ms (worst); {right} right, {100 * right / len(requests):.2f} %, "
        f"{sum(request.code != 0 for request in requests)} errors; answered in {took[len(took) // 2] * 1000:.1f} ms "
        f"(median), {took[len(took) * 99 // 100] * 1000:.1f} ms (99 %)"
    )
