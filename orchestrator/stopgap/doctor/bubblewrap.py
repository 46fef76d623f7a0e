"""Bubblewrap: whether a real call of it works here, what would hold its limits, and what its containers are made of."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from stopgap import processor, roots
from stopgap.bundle_rows import check_machine
from stopgap.doctor.bundles import HASHING_LIMIT_S
from stopgap.doctor.check import Check
from stopgap.doctor.finding import Finding, absent, ok, unknown
from stopgap.doctor.machine import Machine
from stopgap.doctor.once import given
from stopgap.engines import libseccomp
from stopgap.engines.bubblewrap_host import find_host, tried
from stopgap.interpreter import interpreter

__all__ = ["TOPIC", "checks"]

TOPIC = "bubblewrap"


def checks(machine: Machine) -> Iterator[Check]:
    yield Check(TOPIC, "a real call", real_call)
    yield Check(TOPIC, "limits", limits)
    yield Check(TOPIC, "AVX inside", avx_inside)
    yield Check(TOPIC, "Python", python)
    laid_out = sorted(machine.cache.glob("roots/[!.]*"))
    for root in laid_out:
        yield Check(TOPIC, root.name, partial(unchanged, root), HASHING_LIMIT_S)
    if not laid_out:
        yield Check(TOPIC, "roots", none_yet)


def real_call(machine: Machine) -> Finding:
    machine.bubblewrap()
    return ok(f"builds a sandbox's walls, and libseccomp {libseccomp.version()} its filter of system calls")


def python(_machine: Machine) -> Finding:
    found = interpreter()
    return ok(f"{found.version}, {found.executable}, runs the runtime")


def limits(machine: Machine) -> Finding:
    return ok(f"by {given(machine.bubblewrap).limits_by}")


def avx_inside(machine: Machine) -> Finding:
    given(machine.bubblewrap)
    done = tried(find_host(), "exec grep -m 1 ^flags /proc/cpuinfo")
    flags = done.stdout.partition(":")[2].split()
    if not flags:
        return unknown(f"a sandbox does not tell: {' '.join(done.stderr.split())}")
    check_machine(machine.row, processor.machine(), frozenset(flags))
    return ok("a sandbox sees it")


def none_yet(_machine: Machine) -> Finding:
    return absent("the first serve on bubblewrap lays them out")


def unchanged(root: Path, _machine: Machine) -> Finding:
    roots.verify(root)
    return ok("every file has its SHA-256")
