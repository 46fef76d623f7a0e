"""What is to become of each case on each wall, as `expected.toml` has it."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final

import tomllib

__all__ = ["EXCEPTIONS", "Expectation", "Outcome", "expected", "read"]

EXPECTED: Final = Path(__file__).parent / "expected.toml"
# Where a table of a case may say otherwise: a wall, or what Docker's images stand on.
EXCEPTIONS: Final = ("docker", "bubblewrap", "gvisor", "official")


class Outcome(enum.Enum):
    """What a caller, or who serves the model, is told."""

    ANSWER = "answer"
    REFUSED = "refused at load"
    STATUS = "status code"
    DEATH = "contained death"
    DEADLINE = "deadline"


@dataclass(frozen=True)
class Expectation:
    """One case on one wall; `expected.toml` says at its head what each value means."""

    outcome: Outcome
    why: str
    code: str = ""
    says: str = ""
    cause: str = ""
    at: str = "request"
    worker: str = ""
    sometimes: Outcome | None = None
    gives: Mapping[str, Any] = field(default_factory=dict)
    good: Mapping[str, Any] = field(default_factory=dict)
    good_gives: Mapping[str, Any] = field(default_factory=dict)
    hopeless: str = ""
    load_timeout_s: int = 60
    run_timeout_s: int = 60

    @property
    def at_load(self) -> bool:
        """Whether no request can be sent at all."""
        return self.outcome is Outcome.REFUSED or self.at == "load"

    @property
    def costs_a_worker(self) -> bool:
        """Whether one that has served is replaced."""
        return not self.at_load and (Outcome.DEATH in (self.outcome, self.sometimes) or self.worker == "replaced")


# What an exception takes over from its case: how the model is served and what an honest request is stay the same.
_KEPT: Final = ("good", "good_gives", "hopeless", "load_timeout_s", "run_timeout_s")


def read() -> Mapping[str, Mapping[str, Any]]:
    """The whole table."""
    with EXPECTED.open("rb") as file:
        return tomllib.load(file)


def expected(name: str, *circumstances: str) -> Expectation:
    """What holds for a case where these circumstances hold; among several exceptions, the first one's."""
    table = read()[name]
    for circumstance in circumstances:
        if circumstance in table:
            kept = {key: table[key] for key in _KEPT if key in table}
            return _expectation({**kept, **table[circumstance]})
    return _expectation({key: value for key, value in table.items() if key not in EXCEPTIONS})


def _expectation(values: Mapping[str, Any]) -> Expectation:
    unknown = values.keys() - {each.name for each in fields(Expectation)}
    if unknown:
        raise ValueError(f"expected.toml says {sorted(unknown)}, which nobody reads")
    outcomes = {key: Outcome(values[key]) for key in ("outcome", "sometimes") if key in values}
    return Expectation(**{**values, **outcomes})
