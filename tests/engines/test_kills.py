"""`kill -9` at any instant: the next command finds what it can go on with, and nothing is leaked.

The instants are drawn once and for all, as shares of how long the command takes here.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest
from stopgap.containment.specs import front_container, sandbox_container

from tests.stopgap_program import Program
from tests.zoo import ZOO

pytestmark = pytest.mark.slow

RESAMPLER = ZOO / "stn_affine_resampler"
INSTANTS = 4
BACK_WITHIN_S = 20.0
KILLED_BEFORE_CLOSING = """
import os, signal
from stopgap.cli.main import main
from stopgap.fronts import Fronts
Fronts.close_if_empty = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
main()
"""


def shares(seed: int) -> Iterator[float]:
    """Of a command's whole time: one in each quarter of it."""
    drawn = random.Random(seed)  # noqa: S311 - no secret
    return ((quarter + drawn.random()) / INSTANTS for quarter in range(INSTANTS))


def killed_after(started: subprocess.Popen[str], seconds: float) -> None:
    try:
        started.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        started.kill()
    started.communicate(timeout=60)


def serving_takes_s(stopgap: Program) -> float:
    began = time.monotonic()
    stopgap.serve(RESAMPLER, "stn")
    return time.monotonic() - began


def assert_goes_on(stopgap: Program) -> None:
    """Every command works, and after the last one nothing is left."""
    listed = stopgap.run("status", "--json")
    assert listed.returncode == 0, listed.stderr
    if "stopgap-stn" in stopgap.leftovers() and not list(stopgap.state.glob("deployments/*")):
        assert "unfinished" in listed.stdout
    ended = stopgap.run("stop", "--all")
    assert ended.returncode == 0, ended.stderr
    assert stopgap.leftovers() == [], listed.stdout


def test_serve_is_killed(stopgap: Program) -> None:
    whole_s = serving_takes_s(stopgap)
    assert_goes_on(stopgap)
    for share in shares(1):
        killed_after(stopgap.start("serve", str(RESAMPLER), *stopgap.at("stn")), share * whole_s)
        assert_goes_on(stopgap)
    stopgap.serve(RESAMPLER, "stn")
    assert stopgap.answers("stn")


@pytest.mark.thorough
def test_serve_is_killed_and_served_again(stopgap: Program) -> None:
    """Without a stop between: what the killed one left is in nobody's way."""
    whole_s = serving_takes_s(stopgap)
    for share in shares(2):
        assert stopgap.run("stop", "--all").returncode == 0
        killed_after(stopgap.start("serve", str(RESAMPLER), *stopgap.at("stn")), share * whole_s)
        if not list(stopgap.state.glob("deployments/*")):
            stopgap.serve(RESAMPLER, "stn")
        assert stopgap.answers("stn")


def test_stop_is_killed(stopgap: Program) -> None:
    stopgap.serve(RESAMPLER, "stn")
    began = time.monotonic()
    assert stopgap.run("stop", "stn").returncode == 0
    whole_s = time.monotonic() - began
    for share in shares(3):
        stopgap.serve(RESAMPLER, "stn")
        killed_after(stopgap.start("stop", "stn"), share * whole_s)
        assert_goes_on(stopgap)


def test_stop_is_killed_between_its_model_and_its_front(stopgap: Program) -> None:
    """Then nothing names the front any more, and the next command ends it all the same."""
    stopgap.serve(RESAMPLER, "stn")
    killed = subprocess.run(
        [sys.executable, "-c", KILLED_BEFORE_CLOSING, "stop", "stn"], env=stopgap.environment(), check=False
    )
    assert killed.returncode == -signal.SIGKILL
    assert front_container(stopgap.port) in stopgap.leftovers()
    assert not list(stopgap.state.glob("deployments/*"))
    assert_goes_on(stopgap)


@pytest.mark.thorough
@pytest.mark.parametrize("victim", ["sandbox", "front"])
def test_what_it_starts_is_killed_while_it_serves(stopgap: Program, victim: str) -> None:
    """`serve` either brings it to its end all the same, or says why not and leaves nothing."""
    container = sandbox_container("stn") if victim == "sandbox" else front_container(stopgap.port)
    for delay_s in (0.0, 0.1, 0.3):
        serving = stopgap.start("serve", str(RESAMPLER), *stopgap.at("stn"))
        pid = first_process(stopgap, container, serving)
        time.sleep(delay_s)
        if pid:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        _, said = serving.communicate(timeout=120)
        if serving.returncode:
            assert "Traceback" not in said
            assert stopgap.leftovers() == [], said
            continue
        until = time.monotonic() + BACK_WITHIN_S
        while not stopgap.answers("stn"):
            assert time.monotonic() < until, said
        assert_goes_on(stopgap)


def first_process(stopgap: Program, container: str, serving: subprocess.Popen[str]) -> int:
    """The container's first process as soon as there is one; 0 where the command ends before."""
    while serving.poll() is None:
        with suppress(Exception):  # there is no such container yet
            if pid := stopgap.backstage.first_process(container):
                return pid
        time.sleep(0.01)
    return 0
