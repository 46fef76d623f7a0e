"""What an audit makes of processes that are being born or are ending: real ones."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from stopgap.audit import processes
from stopgap.audit.examination import compared, neighbour
from stopgap.audit.lines import Kind, Line, Status, Wall
from stopgap.audit.outside import View
from stopgap.audit.process_settings import OF_PROCESSES
from stopgap.audit.processes import Family, family_of
from stopgap.audit.promised import WORKERS_MEMORY
from stopgap.audit.watching import watched
from stopgap.engines.processes import is_gone
from stopgap.incidents import Incident, WorkersState
from stopgap.settings import Limits

from tests.load import until

RUNTIME = Path(__file__).parents[2] / "images" / "runtime"
DOCKER = Wall("docker", "docker")
WORKERS = tuple(each for each in OF_PROCESSES if each.name in {"worker_filter", "worker_memory"})
WATCH_S = 1.0

# Forks its workers as it is told to, and has them do what is told after so many seconds.
PARENT = """
import os, sys, time
from stopgap_runtime import kernel

def forked(after_s, rights, lasts_s):
    pid = os.fork()
    if pid == 0:
        time.sleep(after_s)
        if "filter" in rights:
            kernel.confine()
        if "memory" in rights:
            kernel.limit_memory(64 << 20)
        time.sleep(lasts_s)
        os._exit(0)
    return pid

{body}
"""
ONE = "forked({after_s}, {rights!r}, 60); print('there', flush=True); time.sleep(60)"
EVER_OTHERS = "print('there', flush=True)\nwhile True: os.waitpid(forked(0, '', 0.3), 0)"


@contextmanager
def parent_of(body: str) -> Iterator[int]:
    """The pid of a process that forks workers."""
    program = [sys.executable, "-c", PARENT.format(body=body)]
    with subprocess.Popen(
        program, stdout=subprocess.PIPE, text=True, start_new_session=True, env={"PYTHONPATH": str(RUNTIME)}
    ) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "there\n"
            yield process.pid
        finally:
            os.killpg(process.pid, signal.SIGKILL)


def view_of(pid: int) -> View:
    family = family_of(pid, begins_with_runtime=True)
    return View({}, family, Limits(), {})


def seen(look: Callable[[], View]) -> dict[str, Status]:
    lines = watched(look, WORKERS, WORKERS, DOCKER, watch_s=WATCH_S)
    return {line.name: line.status for line in lines}


def test_a_worker_that_is_being_born_is_waited_for() -> None:
    with parent_of(ONE.format(after_s=0.5, rights="filter, memory")) as pid:
        assert seen(lambda: view_of(pid)) == {"worker_filter": Status.HELD, "worker_memory": Status.HELD}


@pytest.mark.parametrize("lacking", ["filter", "memory"])
def test_a_worker_that_keeps_a_right_is_broken(lacking: str) -> None:
    rights = {"filter": "memory", "memory": "filter"}[lacking]
    with parent_of(ONE.format(after_s=0, rights=rights)) as pid:
        found = seen(lambda: view_of(pid))
    assert found == {f"worker_{lacking}": Status.BROKEN, f"worker_{rights}": Status.HELD}


def test_workers_that_come_and_go_without_ever_giving_up_their_rights_do_not_look_held() -> None:
    with parent_of(EVER_OTHERS) as pid:
        assert seen(lambda: view_of(pid)) == {"worker_filter": Status.UNKNOWN, "worker_memory": Status.UNKNOWN}


def test_processes_that_are_not_found_are_not_held_and_those_of_another_kernel_are_left_out() -> None:
    gone = View({}, None, Limits(), {})
    assert set(seen(lambda: gone).values()) == {Status.UNKNOWN}
    assert set(seen(lambda: replace(gone, hidden=True)).values()) == {Status.NOT_TRIED}


def test_a_worker_that_has_ended_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether it still is a zombie, or gone since it was listed."""
    with parent_of("print('there', flush=True); forked(0, '', 0); forked(0, '', 60); time.sleep(60)") as pid:
        until(lambda: any(map(is_gone, processes.children_of(pid))), 10)
        children = processes.children_of(pid)
        (alive,) = [each for each in children if not is_gone(each)]
        ended = subprocess.Popen(["true"])
        ended.wait()
        assert len(children) == 2
        monkeypatch.setattr(processes, "children_of", lambda _: [*children, ended.pid])
        family = family_of(pid, begins_with_runtime=True)
    assert family is not None
    assert [each.pid for each in family.workers] == [alive]


def test_a_worker_that_may_not_be_looked_at_is_not_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(pid: int) -> processes.ProcessSeen:
        raise PermissionError(pid)

    with parent_of(ONE.format(after_s=0, rights="")) as pid:
        seen_parent = processes.seen(pid)
        monkeypatch.setattr(processes, "seen", lambda each: seen_parent if each == pid else refused(each))
        assert family_of(pid, begins_with_runtime=True) is None


def test_a_process_has_the_age_that_it_has() -> None:
    with parent_of(ONE.format(after_s=0, rights="")) as pid:
        time.sleep(0.3)
        family = family_of(pid, begins_with_runtime=True)
    assert isinstance(family, Family)
    (worker,) = family.workers
    assert 0.2 < worker.age_s < 30
    assert family.without_younger(60).workers == ()


def line(name: str, status: Status, said: str) -> Line:
    return Line(Kind.SETTING, name, name, WORKERS_MEMORY, status, "", said)


def test_a_twin_is_compared_by_what_is_known_of_both() -> None:
    live = [line("memory", Status.HELD, "400 MiB"), line("worker_memory", Status.UNKNOWN, "no worker was there")]
    twin = [line("memory", Status.HELD, "400 MiB"), line("worker_memory", Status.HELD, "a limit of each worker's")]
    assert compared(live, twin).status is Status.HELD
    assert compared(live, [line("memory", Status.BROKEN, "none"), twin[1]]).status is Status.BROKEN
    assert compared(live, [line("memory", Status.UNKNOWN, "its processes were not found")]).status is Status.UNKNOWN


def state(workers: int, died: int, *incidents: datetime) -> WorkersState:
    told = tuple(Incident("1", "died", at, "0", "SIGSEGV", "", None, ()) for at in incidents)
    return WorkersState(workers, 0.0, 0, {"died": died}, told)


def test_a_death_beside_the_twin_is_broken_only_where_none_died_before() -> None:
    now = datetime.now(timezone.utc)
    long_ago = state(1, 1, now - timedelta(hours=1))
    assert neighbour(long_ago, state(1, 1), DOCKER).status is Status.HELD
    assert neighbour(long_ago, state(1, 2), DOCKER).status is Status.BROKEN
    assert neighbour(long_ago, state(0, 1), DOCKER).status is Status.BROKEN
    assert neighbour(state(1, 1, now), state(1, 2), DOCKER).status is Status.UNKNOWN


def test_a_pause_that_ends_beside_the_twin_harms_nobody() -> None:
    assert neighbour(state(0, 9), state(2, 9), DOCKER).status is Status.HELD
