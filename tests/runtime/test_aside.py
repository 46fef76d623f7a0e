"""The worker for observers, at a real runtime's sockets: it makes way, is there while needed, and hurts nobody."""

from __future__ import annotations

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.graphs import matrix_square
from tests.runtime.test_lane import OK, POISON, STN, UNAVAILABLE, image, name_of, ones, outcome, program_of, told
from tests.runtime.test_parent import Runtime, runtime, wait_for
from tests.worker_socket import Socket

pytestmark = pytest.mark.slow


def aside(served: Runtime) -> Socket:
    return Socket(served.sockets / "aside.sock")


def pid_of(served: Runtime, called: str) -> int:
    (pid,) = (pid for pid in served.worker_pids() if name_of(pid) == called)
    return pid


def test_it_is_made_when_its_health_is_asked_for_and_makes_way_with_all_its_threads(
    legacy_bundle: Path, tmp_path: Path
) -> None:
    with runtime(legacy_bundle, STN, tmp_path, name="stn") as served:
        assert len(served.worker_pids()) == 1
        assert aside(served).healthy(timeout_s=20)
        assert aside(served).predict(image()).code == OK
        tasks = list(Path(f"/proc/{pid_of(served, 'worker aside')}/task").iterdir())
        assert len(tasks) > 2
        assert {os.sched_getscheduler(int(task.name)) for task in tasks} == {os.SCHED_IDLE}
        assert os.sched_getscheduler(pid_of(served, "worker 0")) == os.SCHED_OTHER


def test_who_ends_it_ends_nobody_elses_worker_and_is_not_convicted(legacy_bundle: Path, tmp_path: Path) -> None:
    with runtime(legacy_bundle, STN, tmp_path, name="stn") as served:
        users = pid_of(served, "worker 0")
        assert outcome(aside(served), POISON) is None
        wait_for(lambda: bool(told(served)["incidents"]), 5)
        said = told(served)
        assert [(each["kind"], each["worker"]) for each in said["incidents"]] == [("died", "aside")]
        assert said["quarantined"] == 0
        assert aside(served).predict(image()).code == OK
        assert pid_of(served, "worker 0") == users


def test_what_is_in_quarantine_is_not_run_there_either(legacy_bundle: Path, tmp_path: Path) -> None:
    with runtime(legacy_bundle, STN, tmp_path, name="stn") as served:
        assert outcome(Socket(served.sockets / "lane.sock"), POISON) is None
        wait_for(lambda: told(served)["quarantined"] == 1, 5)
        answer = outcome(aside(served), POISON)
        assert answer is not None
        assert "in quarantine" in answer.text


def test_where_it_dies_too_often_observers_are_turned_away_and_users_are_not(
    legacy_bundle: Path, tmp_path: Path
) -> None:
    with runtime(legacy_bundle, STN, tmp_path, "--most-deaths-a-minute", "3", name="stn") as served:
        for deaths in range(1, 4):
            assert outcome(aside(served), POISON) is None
            wait_for(lambda deaths=deaths: told(served)["counts"]["died"] == deaths, 5)  # type: ignore[misc]
        refused = aside(served).predict(image())
        assert refused.code == UNAVAILABLE
        assert "3 of its workers have died within a minute" in refused.text
        assert not aside(served).healthy(timeout_s=20)  # so the front asks the users' workers
        assert served.worker().predict(image()).code == OK
        assert told(served)["backing_off_s"] == 0


def test_where_the_memory_does_not_hold_the_model_once_more_it_is_not_loaded(
    legacy_bundle: Path, tmp_path: Path
) -> None:
    with runtime(legacy_bundle, STN, tmp_path, "--worker-memory-bytes", str(40 << 20), name="stn") as served:
        assert not aside(served).healthy(timeout_s=20)
        refused = aside(served).predict(image())
        assert refused.code == UNAVAILABLE
        assert "MiB are left" in refused.text
        assert served.worker().predict(image()).code == OK


def test_where_the_model_cannot_be_loaded_once_more_observers_are_turned_away(
    legacy_bundle: Path, tmp_path: Path
) -> None:
    model = shutil.copytree(STN, tmp_path / "stn")
    with runtime(legacy_bundle, model, tmp_path, name="stn") as served:
        (model / "saved_model.pb").unlink()
        refused = aside(served).predict(image())
        assert refused.code == UNAVAILABLE
        assert "it could not be loaded once more, for observers: NOT_FOUND" in refused.text
        assert not aside(served).healthy(timeout_s=20)
        assert served.worker().predict(image()).code == OK


def test_after_some_deaths_it_is_a_program_of_its_own_and_makes_way_still(legacy_bundle: Path, tmp_path: Path) -> None:
    with runtime(legacy_bundle, STN, tmp_path, "--most-deaths-a-minute", "20", name="stn") as served:
        for deaths in range(1, 9):
            assert outcome(aside(served), POISON) is None
            wait_for(lambda deaths=deaths: told(served)["counts"]["died"] == deaths, 5)  # type: ignore[misc]
        assert aside(served).predict(image(), timeout_s=60).code == OK
        executed = pid_of(served, "worker aside")
        assert " worker --called=worker aside" in program_of(executed)
        tasks = Path(f"/proc/{executed}/task").iterdir()
        assert {os.sched_getscheduler(int(task.name)) for task in tasks} == {os.SCHED_IDLE}


def test_it_ends_where_a_users_worker_needs_the_memory(legacy_bundle: Path, tmp_path: Path) -> None:
    model = matrix_square(tmp_path / "square")
    with runtime(legacy_bundle, model, tmp_path, "--worker-memory-bytes", str(420 << 20)) as served:
        assert aside(served).healthy(timeout_s=20)
        ended = pid_of(served, "worker aside")
        with ThreadPoolExecutor() as callers:
            asked = callers.submit(served.worker().predict, ones(5500), timeout_s=60)  # 350 MiB, and some seconds
            wait_for(lambda: ended not in served.worker_pids(), 20)
            asked.result()
        assert told(served)["incidents"] == []
        assert served.worker().predict(ones(2)).code == OK
