"""Which engine a `serve` would take, and why."""

from __future__ import annotations

from collections.abc import Iterator

from stopgap.doctor.check import Check
from stopgap.doctor.finding import Finding, ok
from stopgap.doctor.machine import Machine

__all__ = ["TOPIC", "checks"]

TOPIC = "engine"


def checks(_machine: Machine) -> Iterator[Check]:
    yield Check(TOPIC, "serve takes", chosen)


def chosen(machine: Machine) -> Finding:
    choice = machine.choice()
    return ok(f"{choice.engine.name}: {choice.why}")
