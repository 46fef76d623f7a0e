"""All checks at once, each with its own time limit; and which of the faults found keep nobody from serving."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from concurrent import futures
from dataclasses import dataclass, replace

from stopgap.doctor import (
    bubblewrap,
    bundles,
    choice,
    clock,
    disk,
    docker,
    memory,
    model,
    ports,
    processor,
    selinux,
    state,
)
from stopgap.doctor.check import Check
from stopgap.doctor.finding import Finding, State, Untold, broken, unknown
from stopgap.doctor.machine import Machine
from stopgap.engines.choice import BUBBLEWRAP
from stopgap.errors import StopgapError
from stopgap.progress import Progress, silent

__all__ = ["Line", "examine", "look", "planned"]

TOPICS = (choice, docker, bubblewrap, processor, selinux, bundles, ports, disk, memory, state, clock, model)


@dataclass(frozen=True)
class Line:
    """A check and what it has found."""

    check: Check
    finding: Finding


def examine(machine: Machine, progress: Progress = silent) -> tuple[Line, ...]:
    """What every check finds, in the order in which a person reads them. Changes nothing."""
    checks = planned(machine)
    findings = looked(checks, machine, progress)
    lines = tuple(Line(check, finding) for check, finding in zip(checks, findings))
    return judged(lines, needed_engines(lines, machine))


def planned(machine: Machine) -> tuple[Check, ...]:
    return tuple(check for topic in TOPICS for check in topic.checks(machine))


def looked(checks: tuple[Check, ...], machine: Machine, progress: Progress) -> Iterator[Finding]:
    """In the checks' order; they run at the same time."""
    began = time.monotonic()
    answers = [started(check, machine) for check in checks]
    for number, (check, answer) in enumerate(zip(checks, answers)):
        progress("examining this machine", number / len(checks))
        try:
            yield answer.result(timeout=max(0.0, began + check.limit_s - time.monotonic()))
        except futures.TimeoutError:
            yield unknown(f"no answer within {check.limit_s:.0f} s")


def started(check: Check, machine: Machine) -> futures.Future[Finding]:
    """In a thread that nobody waits for in the end: what hangs must not keep the program from ending."""
    answer: futures.Future[Finding] = futures.Future()

    def run() -> None:
        try:
            answer.set_result(look(check, machine))
        finally:
            if not answer.done():
                answer.set_result(unknown("the check itself failed: the traceback on stderr says where"))

    threading.Thread(target=run, daemon=True).start()
    return answer


def look(check: Check, machine: Machine) -> Finding:
    """What one check finds."""
    try:
        return check.look(machine)
    except Untold as error:
        return unknown(error.problem)
    except StopgapError as error:
        return broken(error.problem, error.remedy)
    except OSError as error:
        return unknown(f"not looked at: {error}")


def needed_engines(lines: Iterable[Line], machine: Machine) -> frozenset[str] | None:
    """The topics of the engines that serve, or would; None where nobody knows, or none would."""
    told = any(line.check.topic == choice.TOPIC and line.finding.state is State.OK for line in lines)
    if not told:
        return None
    try:
        names = {machine.choice().engine.name, *(deployment.engine for deployment in machine.deployments())}
    except StopgapError:
        return None
    return frozenset(bubblewrap.TOPIC if name == BUBBLEWRAP else docker.TOPIC for name in names)


def judged(lines: Iterable[Line], needed: frozenset[str] | None) -> tuple[Line, ...]:
    """With what is broken of an engine that nobody needs told apart from what keeps people from serving."""
    spare = frozenset() if needed is None else {docker.TOPIC, bubblewrap.TOPIC} - needed
    return tuple(excused(line) if line.check.topic in spare else line for line in lines)


def excused(line: Line) -> Line:
    if line.finding.state is not State.BROKEN:
        return line
    return Line(line.check, replace(line.finding, state=State.SPARE))
