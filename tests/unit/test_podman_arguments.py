"""The containers in Podman's words, and what is missed when it does not take them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from stopgap.containment import seccomp
from stopgap.containment.docker import Arguments, arguments
from stopgap.containment.podman import in_podmans_words, not_held, profile_of
from stopgap.containment.specs import FrontSpec, SandboxSpec

from tests.unit.test_containment import FRONT, SANDBOX

TMP, VAR_TMP = "/tmp", "/var/tmp"  # noqa: S108 - paths inside the container
PROFILE = Path("/state/podman/seccomp.json")

both = pytest.mark.parametrize("spec", [SANDBOX, FRONT], ids=["sandbox", "front"])


def told(spec: SandboxSpec | FrontSpec) -> Arguments:
    """Podman's."""
    return in_podmans_words(arguments(spec), PROFILE)


@both
def test_podman_takes_the_profile_by_the_name_of_its_file(spec: SandboxSpec | FrontSpec) -> None:
    assert told(spec).host["security_opt"] == ["no-new-privileges:true", f"seccomp={PROFILE}"]
    assert profile_of(arguments(spec)) == (seccomp.SANDBOX if spec is SANDBOX else seccomp.FRONT)


@both
def test_podman_is_told_what_docker_is_told_but_for_what_it_writes_otherwise(spec: SandboxSpec | FrontSpec) -> None:
    docker, podman = arguments(spec), told(spec)
    assert podman.create == docker.create
    assert {name for name in docker.host if podman.host[name] != docker.host[name]} == {
        "security_opt",
        "tmpfs",
        "ulimits",
    }
    assert podman.host["ulimits"][:-1] == docker.host["ulimits"]


@both
def test_no_folder_is_writable_that_docker_would_keep_closed(spec: SandboxSpec | FrontSpec) -> None:
    tmpfs = told(spec).host["tmpfs"]
    assert tmpfs.keys() == {TMP, "/run", VAR_TMP}
    assert {path for path, options in tmpfs.items() if options.startswith("rw")} == {TMP}
    assert all("noexec" in options for options in tmpfs.values())
    assert "nr_inodes" not in str(tmpfs)


SOCKETS = "/run/stopgap"


def inspected() -> dict[str, Any]:
    """What Podman 4.3 says of a sandbox that has all that it is to have."""
    limits = SANDBOX.limits
    return {
        "Memory": limits.memory_mib << 20,
        "MemorySwap": limits.memory_mib << 20,
        "NanoCpus": 1_500_000_000,
        "PidsLimit": limits.pids,
        "OomScoreAdj": 500,
        "ReadonlyRootfs": True,
        "NetworkMode": "none",
        "SecurityOpt": [f"seccomp={PROFILE}", "no-new-privileges"],
        "CapAdd": [],
        "Ulimits": [
            {"Name": f"RLIMIT_{limit['Name'].upper()}", "Hard": limit["Hard"], "Soft": limit["Soft"]}
            for limit in told(SANDBOX).host["ulimits"]
        ],
        "Tmpfs": {
            TMP: "rw,noexec,nosuid,nodev,size=8m,mode=1777,rprivate,tmpcopyup",
            "/run": "ro,noexec,nosuid,nodev,size=4k,mode=755,rprivate,tmpcopyup",
            VAR_TMP: "ro,noexec,nosuid,nodev,size=4k,mode=755,rprivate,tmpcopyup",
        },
    }


def missed(**changes: object) -> tuple[str, ...]:
    seen = {
        "HostConfig": {**inspected(), **changes},
        "Config": {"User": changes.get("User", "65534:65534")},
        "Mounts": changes.get("Mounts", [{"Destination": "/model", "RW": False}, {"Destination": SOCKETS, "RW": True}]),
    }
    return not_held(told(SANDBOX), seen)


def test_nothing_is_missed_of_a_container_that_has_all() -> None:
    assert missed() == ()


@pytest.mark.parametrize(
    ("setting", "value", "what"),
    [
        ("Memory", 0, ("memory",)),
        ("MemorySwap", -1, ("swap",)),
        ("NanoCpus", 0, ("processors",)),
        ("PidsLimit", 0, ("tasks",)),
        ("OomScoreAdj", 0, ("the kernel's choice when memory runs out",)),
        ("ReadonlyRootfs", False, ("a read-only root",)),
        ("NetworkMode", "slirp4netns", ("its network",)),
        ("SecurityOpt", [f"seccomp={PROFILE}"], ("no new privileges",)),
        ("SecurityOpt", ["no-new-privileges"], ("its own system call filter",)),
        ("SecurityOpt", ["no-new-privileges", "seccomp=unconfined"], ("its own system call filter",)),
        ("CapAdd", ["SYS_ADMIN"], ("no capabilities",)),
        ("Privileged", True, ("no privileges",)),
        ("User", "0:0", ("its own user",)),
        ("Mounts", [{"Destination": "/model", "RW": True}], ("/model",)),
        ("Ulimits", [], ("nofile", "core", "fsize", "nproc")),
        ("Tmpfs", {TMP: "rw,nosuid,nodev"}, (TMP, "/run", VAR_TMP)),
    ],
)
def test_whatever_a_container_lacks_is_named(setting: str, value: object, what: tuple[str, ...]) -> None:
    assert missed(**{setting: value}) == what


def test_a_setting_that_is_not_even_mentioned_is_lacking() -> None:
    assert len(not_held(told(SANDBOX), {"HostConfig": {}, "Config": {}})) == 17
