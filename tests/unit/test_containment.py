"""Every promise of containment, as the arguments that Docker gets."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from stopgap.containment.docker import arguments
from stopgap.containment.specs import FrontSpec, SandboxSpec
from stopgap.isolations import GVISOR, RUNC
from stopgap.models import Model
from stopgap.settings import Address, Limits, Timeouts

SANDBOX = SandboxSpec(
    name="ranker",
    image="stopgap/legacy:0123456789ab",
    state=Path("/state"),
    model=Model(Path("/models/ranker/7"), 7),
    sockets=Path("/state/fronts/8500/sandboxes/ranker"),
    limits=Limits(memory_mib=512, cpus=1.5, workers=2, tmp_mib=8),
    timeouts=Timeouts(load_s=30, run_s=20, drain_s=10),
    tags=("serve", "gpu"),
    op_libraries=(Path("/ops/a.so"), Path("/other/a.so")),
    max_message_mib=64,
)
FRONT = FrontSpec(
    address=Address("127.0.0.1", 8500),
    image="stopgap/front:0123456789ab",
    state=Path("/state"),
    folder=Path("/state/fronts/8500"),
    on_host_network=True,
    max_message_mib=128,
)


@pytest.mark.parametrize("spec", [SANDBOX, FRONT], ids=["sandbox", "front"])
@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("read_only", True),
        ("cap_drop", ["ALL"]),
        ("privileged", False),
        ("ipc_mode", "none"),
        ("cgroupns", "private"),
        ("init", False),
        ("oom_kill_disable", False),
        ("oom_score_adj", 500),
        ("log_config", {"type": "json-file", "config": {"max-size": "5m", "max-file": "2"}}),
        ("restart_policy", {"Name": "no"}),
    ],
)
def test_both_kinds_of_container_stand_behind_the_same_walls(
    spec: SandboxSpec | FrontSpec, argument: str, value: object
) -> None:
    assert arguments(spec).host[argument] == value


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("network_mode", "none"),
        ("mem_limit", 512 << 20),
        ("memswap_limit", 512 << 20),
        ("nano_cpus", 1_500_000_000),
        ("pids_limit", SANDBOX.limits.pids),
        ("tmpfs", {"/tmp": "rw,noexec,nosuid,nodev,size=8m,nr_inodes=1024,mode=1777"}),  # noqa: S108 - in the container
    ],
)
def test_a_sandbox_has_its_limits(argument: str, value: object) -> None:
    assert arguments(SANDBOX).host[argument] == value


def test_a_sandbox_writes_no_core_and_no_large_file() -> None:
    assert ulimits(SANDBOX) == {"nofile": (400, 400), "core": (0, 0), "fsize": (8 << 20, 8 << 20)}


def ulimits(spec: SandboxSpec | FrontSpec) -> dict[str, tuple[int, int]]:
    """Soft and hard."""
    return {limit["Name"]: (limit["Soft"], limit["Hard"]) for limit in arguments(spec).host["ulimits"]}


def test_behind_gvisor_its_own_kernel_counts_the_sandboxs_tasks() -> None:
    """Docker's limit counts gVisor's own threads as well, and would end the sandbox for them."""
    held = arguments(replace(SANDBOX, isolation=GVISOR))
    assert held.host["runtime"] == "runsc"
    assert held.host["pids_limit"] > SANDBOX.limits.pids
    assert ulimits(replace(SANDBOX, isolation=GVISOR))["nproc"] == (SANDBOX.limits.pids, SANDBOX.limits.pids)


@pytest.mark.parametrize("spec", [SANDBOX, replace(SANDBOX, isolation=RUNC), FRONT], ids=["its own", "runc", "front"])
def test_elsewhere_the_engine_chooses_its_runtime(spec: SandboxSpec | FrontSpec) -> None:
    assert "runtime" not in arguments(spec).host


def test_a_sandbox_writes_to_its_sockets_alone() -> None:
    assert mounts(SANDBOX) == {
        "/model": ("/models/ranker/7", "ro"),
        "/run/stopgap": ("/state/fronts/8500/sandboxes/ranker", "rw"),
        "/op-libraries/0-a.so": ("/ops/a.so", "ro"),
        "/op-libraries/1-a.so": ("/other/a.so", "ro"),
    }


def test_what_is_mounted_below_a_read_only_folder_does_not_come_along() -> None:
    for mount in arguments(SANDBOX).host["mounts"]:
        assert not mount["ReadOnly"] or mount["BindOptions"] == {"NonRecursive": True}


@pytest.mark.parametrize(("spec", "uid"), [(SANDBOX, 65534), (FRONT, 65533)], ids=["sandbox", "front"])
def test_a_container_is_dressed_for_the_road(spec: SandboxSpec | FrontSpec, uid: int) -> None:
    create = arguments(spec).create
    assert create["user"] == f"{uid}:{uid}"
    assert create["environment"] == {}
    assert create["use_config_proxy"] is False
    assert create["working_dir"] == "/"


def test_a_sandbox_outlives_its_own_drain() -> None:
    assert arguments(SANDBOX).create["stop_timeout"] > SANDBOX.timeouts.drain_s


def test_a_container_says_whose_it_is() -> None:
    assert arguments(SANDBOX).create["name"] == "stopgap-ranker"
    assert arguments(SANDBOX).create["labels"] == {
        "stopgap.role": "sandbox",
        "stopgap.name": "ranker",
        "stopgap.state": "/state",
    }
    assert arguments(FRONT).create["name"] == "stopgap-front-8500"
    assert arguments(FRONT).create["labels"]["stopgap.role"] == "front"


def test_the_runtime_is_told_its_settings() -> None:
    assert arguments(SANDBOX).create["command"] == [
        "serve",
        "--name=ranker",
        "--model-version=7",
        "--workers=2",
        "--threads=2",
        "--tags=serve,gpu",
        "--load-timeout=30",
        "--run-timeout=20",
        "--drain-timeout=10",
        f"--max-message-bytes={64 << 20}",
        f"--worker-memory-bytes={(512 - 8 - 48 - 2 * 16) << 20}",
        "--op-library=/op-libraries/0-a.so",
        "--op-library=/op-libraries/1-a.so",
    ]


def test_a_front_sees_all_sockets_and_writes_to_none_of_them() -> None:
    assert mounts(FRONT) == {
        "/etc/stopgap/xds": ("/state/fronts/8500/xds", "ro"),
        "/run/stopgap/sandboxes": ("/state/fronts/8500/sandboxes", "ro"),
        "/run/stopgap/observers": ("/state/fronts/8500/observers", "ro"),
        "/run/stopgap/admin": ("/state/fronts/8500/admin", "rw"),
    }


def test_a_front_on_the_hosts_network_publishes_nothing() -> None:
    host = arguments(FRONT).host
    assert host["network_mode"] == "host"
    assert "port_bindings" not in host


def test_a_published_front_is_bound_to_its_address_alone() -> None:
    published = arguments(replace(FRONT, on_host_network=False))
    assert published.host["network_mode"] == "bridge"
    assert published.host["port_bindings"] == {"8500/tcp": ("127.0.0.1", 8500), "8501/tcp": ("127.0.0.1", 8501)}
    assert published.create["ports"] == [(8500, "tcp"), (8501, "tcp")]


def test_larger_messages_get_a_larger_front() -> None:
    larger = replace(FRONT, max_message_mib=512)
    assert arguments(larger).host["mem_limit"] > arguments(FRONT).host["mem_limit"]


def mounts(spec: SandboxSpec | FrontSpec) -> dict[str, tuple[str, str]]:
    all_mounts: list[dict[str, Any]] = arguments(spec).host["mounts"]
    assert {mount["Type"] for mount in all_mounts} == {"bind"}
    return {mount["Target"]: (mount["Source"], "ro" if mount["ReadOnly"] else "rw") for mount in all_mounts}
