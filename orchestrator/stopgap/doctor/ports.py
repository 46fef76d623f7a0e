"""The ports where `serve` listens unless told otherwise: free, ours, or somebody else's."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from stopgap.doctor.check import Check
from stopgap.doctor.finding import Finding, ok
from stopgap.doctor.machine import Machine
from stopgap.doctor.once import given
from stopgap.ports import check_port_free

__all__ = ["checks"]


def checks(machine: Machine) -> Iterator[Check]:
    for what, port, option in zip(("gRPC", "REST"), machine.address.ports, ("--port", "--rest-port")):
        yield Check("ports", f"{port}, {what}", partial(free_or_ours, port, option))


def free_or_ours(port: int, option: str, machine: Machine) -> Finding:
    behind = [each.name for each in given(machine.deployments) if port in each.front.ports]
    if behind:
        return ok(f"ours: the front of {', '.join(behind)}")
    check_port_free(machine.address.bind, port, option)
    return ok("free")
