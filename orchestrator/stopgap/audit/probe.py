"""Asking a sandbox's parent for a probe. What comes back comes out of a sandbox: it is bounded, and checked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from stopgap.audit.effects import EFFECTS, EXHAUSTION, Finding
from stopgap.errors import SandboxError
from stopgap.incidents import checked, exchanged, forged
from stopgap.printable import printable

__all__ = ["ask_exhaustion", "ask_probe"]

BREAK_OUTS, EXHAUST = b"a", b"x"
TIMEOUT_S = 100.0  # the runtime ends its probe before
LONGEST_TEXT = 200
NAMES = frozenset(effect.name for effect in (*EFFECTS, *EXHAUSTION))


def ask_probe(control: Path, name: str) -> tuple[Finding, ...]:
    """What must be refused, tried with a worker's rights and then without its filter.

    Raises:
        SandboxError: Nobody answers, another audit is at work, or the answer is not a runtime's.
    """
    found = findings(control, BREAK_OUTS, name)
    if not found:
        raise SandboxError(f"The sandbox of {name} is being audited already, or knows no audit.", "Try again later.")
    return found


def ask_exhaustion(control: Path, name: str) -> tuple[Finding, ...]:
    """What must meet its limit, in a twin, which may break by it: then what it has not said is missing."""
    return findings(control, EXHAUST, name)


def findings(control: Path, question: bytes, name: str) -> tuple[Finding, ...]:
    try:
        answer = exchanged(control, question, TIMEOUT_S)
    except OSError as error:
        raise SandboxError(
            f"The sandbox of {name} does not let itself be audited: {error.strerror or error}.",
            f"See how it is: stopgap status {name}. Where its runtime is older than this stopgap, serve it anew.",
        ) from error
    try:
        found = tuple(read(answer))
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise forged(name) from error
    if len({(each.attempt, each.confined) for each in found}) < len(found):
        raise forged(name)
    return found


def read(answer: bytes) -> Iterator[Finding]:
    """
    Raises:
        KeyError, TypeError, ValueError, RecursionError: A line is none of a probe's.
    """
    for line in answer.splitlines():
        told = checked(json.loads(line), dict)
        attempt, confined, refused = checked(told["attempt"], str), told["confined"], told["refused"]
        if attempt not in NAMES or type(confined) is not bool or type(refused) is not bool:
            raise ValueError(attempt)
        yield Finding(attempt, confined, refused, printable(checked(told["said"], str), LONGEST_TEXT))
