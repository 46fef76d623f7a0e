"""The clock: sunsets that have passed, and signs that the clock itself is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta, timezone

from stopgap.doctor.check import Check
from stopgap.doctor.finding import Finding, absent, broken, ok
from stopgap.doctor.machine import Machine
from stopgap.doctor.once import given
from stopgap.sunset import countdown, days_left, moving

__all__ = ["checks"]

JITTER = timedelta(minutes=1)  # by which a clock may be set back in the course of its duties


def checks(_machine: Machine) -> Iterator[Check]:
    yield Check("clock", "sunsets", sunsets)
    yield Check("clock", "time", time)


def sunsets(machine: Machine) -> Finding:
    """Of all deployments."""
    deployments, today = given(machine.deployments), machine.now.astimezone(timezone.utc).date()
    if not deployments:
        return absent("nothing is being served")
    passed = [each for each in deployments if days_left(each.until, today) < 0]
    if passed:
        return broken(
            "; ".join(f"{each.name} should have been gone by {countdown(each.until, today)}" for each in passed),
            "\n".join(f"stopgap stop {each.name}   # or: {moving(each.name)}" for each in passed),
        )
    first = min(deployments, key=lambda each: each.until)
    return ok(f"the next is that of {first.name}: {countdown(first.until, today)}")


def time(machine: Machine) -> Finding:
    """A clock that is behind the time when something was done is wrong, or was then."""
    written = machine.now.isoformat(sep=" ", timespec="minutes")
    ahead = [each for each in given(machine.deployments) if each.created.astimezone() > machine.now + JITTER]
    if ahead:
        latest = max(ahead, key=lambda each: each.created.astimezone())
        made = latest.created.astimezone(machine.now.tzinfo).isoformat(sep=" ", timespec="minutes")
        return broken(
            f"it is {written}, yet {latest.name} was first served at {made}: the clock is wrong, or was then",
            f"sudo timedatectl set-ntp true\nstopgap stop {latest.name}   # and serve it again, if the clock is right",
        )
    return ok(written)
