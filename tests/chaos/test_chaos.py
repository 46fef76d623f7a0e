"""Two models under load while one after the other of their parts fails: who is not attacked does not notice.

40 seconds in `make test`, in which each kind of fault comes once; `CHAOS_SECONDS=300`, which is `make test-chaos`.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Final

import pytest
from stopgap.containment.specs import sandbox_container
from stopgap.front.admin import Admin
from stopgap.front.config import FrontSettings, configuration
from stopgap.front.xds import publish
from stopgap.store import Store

from tests.backstage import ENGINES, workers_of
from tests.chaos.faults import EVERY_S, Chaos, drawn
from tests.chaos.load import Request, described, load, rate_of
from tests.front_scene import upstream
from tests.graphs import remainder
from tests.stopgap_program import Program, program_in

pytestmark = [pytest.mark.alone, pytest.mark.slow]

SECONDS: Final = float(os.environ.get("CHAOS_SECONDS", "40"))
SEED: Final = int(os.environ.get("CHAOS_SEED", "6"))
RATE: Final = 110.0
LEAST_RATE: Final = 100.0  # that was held, the late ones and all
LEAST_RIGHT: Final = 0.90
STARTING_S: Final = 3.0  # until a process of callers has started
MEMORY_MIB: Final = "512"
UNAVAILABLE: Final = 14


@pytest.fixture(params=[pytest.param(name, marks=getattr(pytest.mark, name)) for name in ENGINES])
def stopgap(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Program]:
    with program_in(tmp_path, request.param) as program:
        tmp_path.chmod(0o755)
        model = remainder(tmp_path / "model")
        for name in ("attacked", "beside"):
            program.serve(model, name, "--memory", MEMORY_MIB, "--cpus", "1")
        yield program


def evenly(begins: float, seconds: float) -> list[float]:
    return [begins + number / RATE for number in range(int(seconds * RATE))]


def test_faults_are_felt_by_nobody_but_the_attacked_and_by_them_not_for_long(stopgap: Program, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("what is in a sandbox can be harmed by root alone")
    begins = time.monotonic() + STARTING_S
    due, address = evenly(begins, SECONDS + EVERY_S), stopgap.address.grpc
    chaos = Chaos(stopgap, "attacked")
    with load(tmp_path, address, "attacked", due) as attacked, load(tmp_path, address, "beside", due) as beside:
        for number, fault in enumerate(drawn(Random(SEED), SECONDS)):  # noqa: S311 - to be drawn alike each time
            time.sleep(max(0.0, begins + EVERY_S / 2 + number * EVERY_S - time.monotonic()))
            print(f"{time.monotonic() - begins:6.1f} s: {fault.value}")  # noqa: T201 - what a failure is read by
            chaos.do(fault)
    told = {"attacked": attacked.requests(), "beside": beside.requests()}
    for name, requests in told.items():
        print(described(name, requests))  # noqa: T201
        assert rate_of(requests) >= LEAST_RATE
        assert [request for request in requests if request.is_wrong] == []
    for window in (*chaos.windows, *chaos.front_windows):
        print(f"{window.begins - begins:6.1f} s: {window.why}: {felt(told, window.begins)}")  # noqa: T201
    unexpected = [each for each in failed(told["beside"]) if not each.falls_into(chaos.front_windows)]
    assert shown(unexpected, begins) == []
    assert {request.code for request in failed(told["beside"])} <= {UNAVAILABLE}
    unexpected = [each for each in failed(told["attacked"]) if not each.falls_into(chaos.windows + chaos.front_windows)]
    assert shown(unexpected, begins) == []
    assert sum(request.right for request in told["attacked"]) >= LEAST_RIGHT * len(due)


def failed(requests: list[Request]) -> list[Request]:
    return [request for request in requests if request.code != 0]


def shown(requests: list[Request], begins: float) -> list[str]:
    return [f"{each.sent - begins:.2f} to {each.ended - begins:.2f} s: code {each.code}" for each in requests]


def felt(told: dict[str, list[Request]], begins: float) -> str:
    """How many of each model's requests failed within five seconds, and until when."""
    parts = []
    for name, requests in told.items():
        there = [each.ended - begins for each in failed(requests) if begins <= each.ended < begins + EVERY_S]
        parts.append(f"{name} {len(there)} errors" + (f" until {max(there):.2f} s" if there else ""))
    return ", ".join(parts)


# --- The control: what the retry lane is good for ---------------------------------------------------------------------

CONTROL_FAULTS: Final = 10
CONTROL_EVERY_S: Final = 1.0
BURST: Final = 10  # innocents just before, and as many just after, so that some are in flight


def test_innocents_pay_for_poison_and_dead_workers_only_without_the_retry_lane(
    stopgap: Program, tmp_path: Path
) -> None:
    with_lane = innocents_under_fire(stopgap, tmp_path, first_poison=0)
    take_the_lane_away(stopgap)
    without = innocents_under_fire(stopgap, tmp_path, first_poison=CONTROL_FAULTS)
    print(described("with the lane", with_lane))  # noqa: T201
    print(described("without", without))  # noqa: T201
    assert not any(request.is_wrong for request in with_lane + without)
    assert failed(with_lane) == []
    assert len(failed(without)) > 0


def innocents_under_fire(stopgap: Program, folder: Path, first_poison: int) -> list[Request]:
    """Poison and killed workers in turn, amid bursts of requests."""
    begins = time.monotonic() + STARTING_S
    seconds = CONTROL_EVERY_S * (CONTROL_FAULTS + 1)
    faults = [begins + CONTROL_EVERY_S * (number + 1) for number in range(CONTROL_FAULTS)]
    bursts = [at + sign * 1e-4 for at in faults for sign in (-1, 1) for _ in range(BURST)]
    due = sorted([*evenly(begins, seconds), *bursts])
    asked = load(folder, stopgap.address.grpc, "attacked", due, poison=faults[::2], first_poison=first_poison)
    with asked as attacked:
        for at in faults[1::2]:
            time.sleep(max(0.0, at - time.monotonic()))
            (worker,) = workers_of(stopgap.backstage.first_process(sandbox_container("attacked")))
            os.kill(worker, signal.SIGKILL)
    return attacked.requests()


def take_the_lane_away(stopgap: Program) -> None:
    """The front's configuration as it was, but that no request is asked again."""
    address, store = stopgap.address, Store(stopgap.state)
    settings = FrontSettings(bind=address.bind, grpc_port=address.grpc_port, rest_port=address.rest_port)
    upstreams = [upstream(name, retried=False) for name in ("attacked", "beside")]
    folder = store.front_folder(address.grpc_port)
    admin = Admin(folder / "admin")
    before = admin.applied()
    wanted = publish(folder / "xds", configuration(settings, upstreams))
    admin.wait_until_applied(wanted, timeout_s=15, since=before)
