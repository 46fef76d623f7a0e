"""Settings refuse what cannot be served, at once and in words."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
from stopgap.errors import DeploymentError
from stopgap.settings import Address, Limits, ServeSettings, Timeouts, check_name, state_folder

TODAY = date(2026, 11, 22)


@pytest.mark.parametrize("name", ["a", "ranker", "stn-2.1_b", "0", "x" * 40])
def test_a_good_name_is_taken(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize(
    "name", ["", "A", "x" * 41, "-a", ".a", "_a", "a/b", "../a", "a b", "ä", "a\n", "front-8500", "a:b"]
)
def test_a_bad_name_is_refused(name: str) -> None:
    with pytest.raises(DeploymentError, match="cannot be a name"):
        check_name(name)


@pytest.mark.parametrize(
    ("bind", "written", "dialled"),
    [
        ("127.0.0.1", "127.0.0.1:8500", "127.0.0.1:8500"),
        ("0.0.0.0", "0.0.0.0:8500", "127.0.0.1:8500"),  # noqa: S104 - what is tested
        ("192.168.1.2", "192.168.1.2:8500", "192.168.1.2:8500"),
        ("::1", "[::1]:8500", "[::1]:8500"),
        ("::", "[::]:8500", "[::1]:8500"),
    ],
)
def test_an_address_is_written_and_dialled(bind: str, written: str, dialled: str) -> None:
    address = Address(bind, 8500)
    assert (str(address), address.grpc) == (written, dialled)


@pytest.mark.parametrize(("bind", "port"), [("localhost", 8500), ("", 8500), ("127.0.0.1", 80), ("127.0.0.1", 70000)])
def test_an_address_that_cannot_be_bound_is_refused(bind: str, port: int) -> None:
    with pytest.raises(DeploymentError):
        Address(bind, port)


@pytest.mark.parametrize(
    "wrong",
    [{"memory_mib": 64}, {"cpus": 0.0}, {"cpus": float("nan")}, {"cpus": float("inf")}, {"workers": 0}],
)
def test_limits_in_which_nothing_could_run_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(DeploymentError):
        Limits(**wrong)  # type: ignore[arg-type]  # NaN and infinity are what is tested


@pytest.mark.parametrize(("cpus", "threads"), [(0.5, 1), (1.0, 1), (1.5, 2), (8.0, 8)])
def test_the_pools_follow_the_cpu_limit(cpus: float, threads: int) -> None:
    assert Limits(cpus=cpus).threads == threads


def test_more_workers_and_threads_get_more_tasks() -> None:
    assert Limits(workers=1, cpus=1).pids < Limits(workers=1, cpus=8).pids < Limits(workers=4, cpus=8).pids


@pytest.mark.parametrize("workers", [1, 64])
def test_a_worker_can_open_all_of_its_connections_and_still_its_files(workers: int) -> None:
    limits = Limits(workers=workers)
    assert limits.open_files - limits.connections >= 256
    assert limits.pids > limits.connections


def test_timeouts_have_bounds() -> None:
    with pytest.raises(DeploymentError, match="load timeout of 0 s"):
        Timeouts(load_s=0)


def test_serve_settings_check_what_they_hold() -> None:
    with pytest.raises(DeploymentError, match="cannot be a name"):
        ServeSettings(name="Ä", model=Path(), until=TODAY)
    with pytest.raises(DeploymentError, match="cannot be a tag"):
        ServeSettings(name="a", model=Path(), until=TODAY, tags=("a,b",))
    with pytest.raises(DeploymentError, match="0 MiB"):
        ServeSettings(name="a", model=Path(), until=TODAY, max_message_mib=0)


def test_the_environment_chooses_the_state_folder(tmp_path: Path) -> None:
    assert state_folder({"STOPGAP_STATE": str(tmp_path)}) == tmp_path
    assert state_folder({}).name == "stopgap"
