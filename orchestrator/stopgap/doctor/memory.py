"""Memory and processors: what there is for a sandbox and its front."""

from __future__ import annotations

import os
from collections.abc import Iterator

from stopgap.doctor.check import Check
from stopgap.doctor.finding import Finding, broken, ok, unknown
from stopgap.doctor.machine import Machine
from stopgap.settings import Limits

__all__ = ["checks"]

# What a small model's sandbox and its front were measured to use together is half of that.
NEEDED_MIB = 256


def checks(_machine: Machine) -> Iterator[Check]:
    yield Check("machine", "memory", memory)
    yield Check("machine", "processors", processors)


def memory(machine: Machine) -> Finding:
    file = machine.proc / "meminfo"
    lines = file.read_text(encoding="ascii").splitlines()
    mib = {name: int(value.split()[0]) // 1024 for name, _, value in (line.partition(":") for line in lines)}
    if "MemAvailable" not in mib:
        return unknown(f"{file} does not tell")
    available = mib["MemAvailable"]
    if available < NEEDED_MIB:
        return broken(
            f"{available} MiB are available, and a small model needs {NEEDED_MIB}",
            "ps -eo rss,pid,user,args --sort=-rss | head   # end what is not needed",
        )
    asked = "" if available >= Limits.memory_mib else f"; serve takes {Limits.memory_mib} as a limit unless told less"
    return ok(f"{available} of {mib['MemTotal']} MiB available{asked}")


def processors(machine: Machine) -> Finding:  # noqa: ARG001 - a check's signature
    return ok(str(os.cpu_count()))
