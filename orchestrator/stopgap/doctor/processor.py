"""The processor of this machine: whether it has the instructions without which TensorFlow's libraries die."""

from __future__ import annotations

from collections.abc import Iterator

from stopgap import processor
from stopgap.bundle_rows import check_machine
from stopgap.doctor.check import Check
from stopgap.doctor.finding import Finding, ok, unknown
from stopgap.doctor.machine import Machine

__all__ = ["checks"]


def checks(_machine: Machine) -> Iterator[Check]:
    yield Check("processor", "AVX", avx)


def avx(machine: Machine) -> Finding:
    flags = processor.cpu_flags(machine.proc / "cpuinfo")
    check_machine(machine.row, processor.machine(), flags)
    if flags is None:
        return unknown(f"{machine.proc / 'cpuinfo'} does not tell")
    return ok(f"{processor.machine()} with {', '.join(machine.row.needs[1:]).upper()}, as {machine.row.name} needs it")
