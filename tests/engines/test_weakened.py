"""Docker's walls with one thing taken away from each: an audit finds that, and no more than what comes of it.

Some are held twice, so that taking one away opens nothing: without its own network a sandbox has no sockets for it
either, by the profile of system calls.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from stopgap.audit.effects import EFFECTS, EXHAUSTION
from stopgap.audit.examination import settings_of
from stopgap.audit.lines import ROWS
from stopgap.containment.docker import Arguments
from stopgap.containment.docker import arguments as whole
from stopgap.containment.promises import LIVES, Held
from stopgap.containment.specs import ContainerSpec
from stopgap.engines import docker
from stopgap.errors import EngineError

from tests.audited import audited

pytestmark = [pytest.mark.docker, pytest.mark.slow, pytest.mark.thorough]

TMP = "/tmp"  # noqa: S108 - a path inside the container

# What only a worker's own filter refuses here. Without it, nothing does.
OF_THE_FILTER = {
    *("sockets", "signals", "processes", "programs", "tmp", "programs_in_memory", "socket_folder"),
}
UNFILTERED = """
import runpy
import sys
sys.path.insert(0, "/opt/stopgap/app")
from stopgap_runtime import kernel
kernel.{function} = lambda *_: None
runpy.run_path("/opt/stopgap/app", run_name="__main__")
"""


@dataclass(frozen=True)
class Weakening:
    """One thing taken away.

    Attributes:
        broken: What an audit must find, all of it.
        with_twin: Whether the twin is needed to find it.
    """

    name: str
    weaken: Callable[[Arguments], Arguments]
    settings: frozenset[str] = frozenset()
    effects: frozenset[str] = frozenset()
    with_twin: bool = False

    @property
    def broken(self) -> set[str]:
        return {*(f"setting {name}" for name in self.settings), *(f"effect {name}" for name in self.effects)}


def host(**changes: Any) -> Callable[[Arguments], Arguments]:
    return lambda wanted: replace(wanted, host={**wanted.host, **changes})


def create(**changes: Any) -> Callable[[Arguments], Arguments]:
    return lambda wanted: replace(wanted, create={**wanted.create, **changes})


def tmpfs_without(option: str) -> Callable[[Arguments], Arguments]:
    def weaken(wanted: Arguments) -> Arguments:
        left = (each for each in wanted.host["tmpfs"][TMP].split(",") if each.partition("=")[0] != option)
        return host(tmpfs={TMP: ",".join([*left, *(["exec"] if option == "noexec" else [])])})(wanted)

    return weaken


def without_ulimit(name: str) -> Callable[[Arguments], Arguments]:
    def weaken(wanted: Arguments) -> Arguments:
        many = {"Name": name, "Soft": 4096, "Hard": 4096} if name == "nofile" else None
        left = [each for each in wanted.host["ulimits"] if each["Name"] != name]
        return host(ulimits=[*left, *([many] if many else [])])(wanted)

    return weaken


def model_writable(wanted: Arguments) -> Arguments:
    model, *others = wanted.host["mounts"]
    return host(mounts=[{**model, "ReadOnly": False}, *others])(wanted)


def another_mount(wanted: Arguments) -> Arguments:
    """The sockets' folder a second time, in another place: everybody may write to it."""
    sockets = next(each for each in wanted.host["mounts"] if each["Target"] == "/run/stopgap")
    return host(mounts=[*wanted.host["mounts"], {**sockets, "Target": "/mnt"}])(wanted)


def runtime_without(function: str) -> Callable[[Arguments], Arguments]:
    return create(entrypoint=["python3.11", "-I", "-c", UNFILTERED.format(function=function)])


WEAKENINGS = [
    Weakening(
        "its network",
        host(network_mode="bridge"),
        frozenset({"network"}),
    ),
    Weakening(
        "its read-only root", host(read_only=False), frozenset({"read_only_root"}), frozenset({"root", "folders"})
    ),
    Weakening("its model's mount", model_writable, frozenset({"model_mount"}), frozenset({"model"})),
    Weakening(
        "its mounts",
        another_mount,
        frozenset({"mounts", "other_writable_mounts"}),
        frozenset({"folders", "host_files"}),
    ),
    Weakening(
        "noexec",
        tmpfs_without("noexec"),
        frozenset({"tmp_noexec"}),
        frozenset({"programs_in_tmp", "libraries_in_tmp"}),
    ),
    Weakening("the size of /tmp", tmpfs_without("size"), frozenset({"tmp_size"}), frozenset({"full_tmp"}), True),
    Weakening(
        "the files in /tmp", tmpfs_without("nr_inodes"), frozenset({"tmp_files"}), frozenset({"many_files"}), True
    ),
    Weakening(
        "fsize", without_ulimit("fsize"), frozenset({"largest_file"}), frozenset({"large_file", "higher_limits"}), True
    ),
    Weakening("nofile", without_ulimit("nofile"), frozenset({"open_files"}), frozenset({"many_descriptors"}), True),
    Weakening("core", without_ulimit("core"), frozenset({"core"}), frozenset({"cores"})),
    Weakening(
        "its dropped capabilities",
        host(cap_drop=[]),
        frozenset({"capabilities", "process_capabilities"}),
        frozenset({"capabilities"}),
    ),
    Weakening(
        "its profile of system calls",
        host(security_opt=["no-new-privileges:true", "seccomp=unconfined"]),
        frozenset({"seccomp", "filter_for_all"}),
        frozenset({"filter", "user_namespaces", "keyrings", "io_uring", "tracing", "bpf_and_perf", "userfaultfd"})
        | frozenset({"address_layout", "vsock", "socket_links"}),
    ),
    Weakening(
        "its user",
        create(user="0:0"),
        frozenset({"user", "process_uid", "process_groups", "parent_closed"}),
        frozenset({"own_uid", "groups", "folders", "oom_score"}),
    ),
    Weakening(
        "its having no groups",
        host(group_add=["4"]),
        frozenset({"other_groups", "process_groups"}),
        frozenset({"groups"}),
    ),
    Weakening("its pid namespace", host(pid_mode="host"), frozenset({"pid_namespace"}), frozenset({"other_processes"})),
    Weakening("its IPC namespace", host(ipc_mode="shareable"), frozenset({"ipc"}), frozenset({"shared_memory"})),
    Weakening(
        "its UTS namespace",
        lambda wanted: create(hostname=None)(host(uts_mode="host")(wanted)),
        frozenset({"uts_namespace"}),
    ),
    Weakening("its cgroup namespace", host(cgroupns="host"), frozenset({"cgroup_namespace"})),
    Weakening(
        "its few devices", host(devices=["/dev/null:/dev/another:r"]), frozenset({"devices"}), frozenset({"devices"})
    ),
    Weakening(
        "its having no terminal",
        create(tty=True),
        frozenset({"terminal", "process_terminal"}),
        frozenset({"devices", "terminals"}),
    ),
    Weakening(
        "its empty environment",
        create(environment={"AWS_SECRET_ACCESS_KEY": "of nobody"}),
        frozenset({"environment"}),
        frozenset({"environment"}),
    ),
    Weakening(
        "its memory",
        host(mem_limit=None, memswap_limit=None),
        frozenset({"memory", "swap"}),
        frozenset({"memory"}),
        True,
    ),
    Weakening("its having no swap", host(memswap_limit=-1), frozenset({"swap"})),
    Weakening("its processors", host(nano_cpus=None), frozenset({"cpus"})),
    Weakening("its tasks", host(pids_limit=None), frozenset({"tasks"}), frozenset({"many_tasks"}), True),
    Weakening("its score", host(oom_score_adj=0), frozenset({"oom_score", "process_oom_score"})),
    Weakening("the size of its log", host(log_config={"type": "json-file", "config": {}}), frozenset({"log"})),
    Weakening(
        "its workers' filter", runtime_without("confine"), frozenset({"worker_filter"}), frozenset(OF_THE_FILTER)
    ),
    Weakening(
        "its parent's being closed",
        runtime_without("make_undumpable"),
        frozenset({"parent_closed"}),
        frozenset({"parents_memory", "parents_layout", "oom_score"}),
    ),
]


@pytest.mark.parametrize("weakening", WEAKENINGS, ids=lambda weakening: weakening.name)
def test_what_is_taken_away_is_found(weakening: Weakening, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def weakened(spec: ContainerSpec) -> Arguments:
        return weakening.weaken(whole(spec))

    monkeypatch.setattr(docker, "arguments", weakened)
    with audited(docker.connect(), tmp_path) as sandbox:
        assert sandbox.broken(with_twin=weakening.with_twin) == weakening.broken


def test_a_sandbox_that_nobody_would_bring_back_is_found(tmp_path: Path) -> None:
    with audited(docker.connect(), tmp_path, kept=False) as sandbox:
        assert sandbox.broken() == {"setting restart"}


def test_every_promise_is_weakened_in_turn() -> None:
    """What Docker holds as it is told to; but for the image, and for what keeps it from starting if it is not told."""
    rows = [(f"setting {each.name}", each.promise) for each in settings_of("docker")]
    rows += [(f"effect {each.name}", each.promise) for each in (*EFFECTS, *EXHAUSTION)]
    promises = dict(rows)
    found = {promises[name] for weakening in WEAKENINGS for name in weakening.broken}
    told = {row.what for row in ROWS if row not in LIVES and isinstance(row.docker, Held) and row.docker.told}
    assert told - found == {"It sees no programs of the host's", "It gains no privileges"}
    assert all(weakening.broken for weakening in WEAKENINGS)


def test_without_no_new_privileges_it_does_not_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its profile would hold what begins it already, and that needs calls which nothing in it is to make."""

    def weakened(spec: ContainerSpec) -> Arguments:
        wanted = whole(spec)
        options = [each for each in wanted.host["security_opt"] if not each.startswith("no-new-privileges")]
        return host(security_opt=options)(wanted)

    monkeypatch.setattr(docker, "arguments", weakened)
    with pytest.raises(EngineError, match="operation not permitted"), audited(docker.connect(), tmp_path):
        pytest.fail("it was started")
