"""One part of a deployment after the other is killed under load: it comes back by itself, and the others go on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from stopgap.containment.specs import front_container, sandbox_container

from tests.backstage import BubblewrapBackstage, children_of, on_bubblewrap
from tests.load import Load, image_request, until
from tests.stopgap_program import Program
from tests.zoo import ZOO

pytestmark = [pytest.mark.alone, pytest.mark.slow]

RESAMPLER = ZOO / "stn_affine_resampler"
UNAVAILABLE = 14
# How long callers may be turned away when the front itself dies. Docker alone takes most of a second to start one.
AWAY_BOUND_S = {"bubblewrap": 1.0, "docker": 3.0}
BACK_BOUND_S = 20
KILLED_WHILE_MAKING = """
import os, signal
from stopgap.cli.main import main
from stopgap.engines import container_folder
container_folder.write_container = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
main()
"""


@contextmanager
def two_models_under_load(stopgap: Program) -> Iterator[tuple[Load, Load]]:
    """Callers of the model whose parts are to die, and callers of the other, behind the same front."""
    with ExitStack() as stack:
        loads = []
        for name in ("victim", "other"):
            served = stopgap.serve(RESAMPLER, name)
            loads.append(stack.enter_context(Load(served["grpc"], image_request(name))))
        for load in loads:
            until_answered(load)
        yield loads[0], loads[1]


def until_answered(load: Load) -> None:
    """Until its callers have had answers again, a hundred without an error between them."""

    def answers_without_errors() -> bool:
        errors, answers = len(load.errors), load.answers
        time.sleep(0.3)
        return len(load.errors) == errors and load.answers > answers + 20

    until(answers_without_errors, BACK_BOUND_S)


def test_a_worker_dies(stopgap: Program) -> None:
    with two_models_under_load(stopgap) as (victim, other):
        (worker,) = children_of(stopgap.backstage.first_process(sandbox_container("victim")))
        os.kill(worker, signal.SIGKILL)
        until_answered(victim)
    assert other.errors == []
    assert victim.errors == []


def test_a_sandbox_dies(stopgap: Program) -> None:
    with two_models_under_load(stopgap) as (victim, other):
        os.kill(stopgap.backstage.first_process(sandbox_container("victim")), signal.SIGKILL)
        until_answered(victim)
    assert other.errors == []
    assert {error.code for error in victim.errors} <= {UNAVAILABLE}


def test_the_front_dies(stopgap: Program) -> None:
    with two_models_under_load(stopgap) as (victim, other):
        os.kill(stopgap.backstage.first_process(front_container(stopgap.port)), signal.SIGKILL)
        until_answered(victim)
        until_answered(other)
    for load in (victim, other):
        assert {error.code for error in load.errors} <= {UNAVAILABLE}
        assert max(load.failed_at, default=0) - min(load.failed_at, default=0) <= AWAY_BOUND_S[stopgap.engine]


@on_bubblewrap
def test_what_is_process_1_inside_tells_nothing_of_the_host(stopgap: Program) -> None:
    """Everybody inside can read its command line, and a user's sandbox its environment as well."""
    stopgap.serve(RESAMPLER, "stn")
    for container in (sandbox_container("stn"), front_container(stopgap.port)):
        inner = Path(f"/proc/{BubblewrapBackstage(stopgap.state).inner_bwrap(container)}")
        words = (inner / "cmdline").read_bytes()
        assert b"--args" in words
        assert not any(os.fsencode(told) in words for told in (stopgap.state, RESAMPLER, Path.home() / ".cache"))
        assert (inner / "environ").read_bytes() == b""


@on_bubblewrap
def test_a_lost_monitor_is_seen_and_the_next_command_brings_it_back(stopgap: Program) -> None:
    with two_models_under_load(stopgap) as (victim, other):
        BubblewrapBackstage(stopgap.state).lose_monitor(sandbox_container("victim"))
        until(lambda: stopgap.status("victim")["state"] == "lost", BACK_BOUND_S)  # and that was the next command
        until_answered(victim)
        assert stopgap.status("victim")["state"] == "serving"
    assert other.errors == []


@on_bubblewrap
def test_the_fronts_lost_monitor_is_brought_back_by_who_asks_the_model(stopgap: Program) -> None:
    stopgap.serve(RESAMPLER, "stn")
    BubblewrapBackstage(stopgap.state).lose_monitor(front_container(stopgap.port))
    until(lambda: not stopgap.answers("stn"), BACK_BOUND_S)
    asked = stopgap.run("predict", "stn", "--inputs", str(RESAMPLER / "golden.npz"))
    assert "the front" not in asked.stderr
    assert stopgap.answers("stn"), asked.stderr


@on_bubblewrap
def test_stop_takes_away_what_has_lost_its_monitor(stopgap: Program) -> None:
    stopgap.serve(RESAMPLER, "stn")
    for container in (sandbox_container("stn"), front_container(stopgap.port)):
        BubblewrapBackstage(stopgap.state).lose_monitor(container)
    done = stopgap.run("stop", "stn")
    assert (done.returncode, done.stdout) == (0, "stopped stn\n"), done.stderr
    assert stopgap.leftovers() == []


@on_bubblewrap
def test_a_serve_killed_in_the_middle_of_making_its_container_leaves_nothing_that_stop_does_not_take(
    stopgap: Program,
) -> None:
    killed = subprocess.run(
        [sys.executable, "-c", KILLED_WHILE_MAKING, "serve", str(RESAMPLER), *stopgap.at("stn")],
        env=stopgap.environment(),
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    assert stopgap.leftovers() == [".stopgap-stn.partial", str(stopgap.state / "fronts" / str(stopgap.port))]
    done = stopgap.run("stop", "stn")
    assert (done.returncode, done.stdout) == (0, "stopped stn\n"), done.stderr
    assert stopgap.leftovers() == []


@on_bubblewrap
def test_what_went_down_with_the_machine_waits_for_resume(stopgap: Program) -> None:
    stopgap.serve(RESAMPLER, "stn")
    for container in (sandbox_container("stn"), front_container(stopgap.port)):
        BubblewrapBackstage(stopgap.state).lose_monitor(container)
        BubblewrapBackstage(stopgap.state).pretend_reboot(container)
    assert (stopgap.status("stn")["state"], stopgap.answers("stn")) == ("down", False)
    assert "down since the machine started again" in stopgap.run("status").stdout
    assert not stopgap.answers("stn")
    done = stopgap.run("resume")
    assert (done.returncode, done.stdout) == (0, "stn answers again\n"), done.stderr
    assert stopgap.answers("stn")
    assert stopgap.run("resume", "stn").stdout == "stn was not down\n"
