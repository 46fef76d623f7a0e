"""gVisor's walls with one thing taken away from each: an audit finds that, and no more than what comes of it.

Some are held twice, so that taking one away opens nothing: gVisor's kernel shares no namespace with the host's,
whatever the engine is told. What the machine sees of the processes are gVisor's own: no setting of theirs is looked at.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from stopgap.audit.effects import EFFECTS, EXHAUSTION
from stopgap.audit.examination import settings_of
from stopgap.audit.lines import ROWS, Wall
from stopgap.containment.docker import Arguments
from stopgap.containment.docker import arguments as whole
from stopgap.containment.promises import LIVES, Held
from stopgap.containment.specs import ContainerSpec
from stopgap.engines import docker
from stopgap.errors import SandboxError
from stopgap.isolations import GVISOR

from tests.audited import audited
from tests.engines.test_weakened import (
    Weakening,
    another_mount,
    create,
    host,
    model_writable,
    runtime_without,
    tmpfs_without,
    without_ulimit,
)

pytestmark = [pytest.mark.gvisor, pytest.mark.slow, pytest.mark.thorough]

WEAKENINGS = [
    Weakening("its kernel", host(runtime="runc"), frozenset({"kernel", "seccomp", "tasks"})),
    Weakening("its network", host(network_mode="bridge"), frozenset({"network"})),
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
    Weakening("the size of /tmp", tmpfs_without("size"), frozenset({"tmp_size"}), frozenset({"full_tmp"}), True),
    Weakening(
        "fsize", without_ulimit("fsize"), frozenset({"largest_file"}), frozenset({"large_file", "higher_limits"}), True
    ),
    Weakening("nofile", without_ulimit("nofile"), frozenset({"open_files"}), frozenset({"many_descriptors"}), True),
    Weakening("core", without_ulimit("core"), frozenset({"core"}), frozenset({"cores"})),
    Weakening("its dropped capabilities", host(cap_drop=[]), frozenset({"capabilities"}), frozenset({"capabilities"})),
    Weakening(
        "its profile of system calls",
        host(security_opt=["no-new-privileges:true", "seccomp=unconfined"]),
        frozenset({"seccomp"}),
        frozenset({"filter", "user_namespaces", "other_namespaces", "io_uring", "kernel_log", "privileged_calls"})
        | frozenset({"socket_links"}),
    ),
    Weakening(
        "its user",
        create(user="0:0"),
        frozenset({"user"}),
        frozenset({"own_uid", "groups", "folders", "oom_score", "shared_memory"}),
    ),
    Weakening("its having no groups", host(group_add=["4"]), frozenset({"other_groups"}), frozenset({"groups"})),
    Weakening("its pid namespace", host(pid_mode="host"), frozenset({"pid_namespace"})),
    Weakening("its IPC namespace", host(ipc_mode="shareable"), frozenset({"ipc"}), frozenset({"shared_memory"})),
    Weakening(
        "its UTS namespace",
        lambda wanted: create(hostname=None)(host(uts_mode="host")(wanted)),
        frozenset({"uts_namespace"}),
    ),
    Weakening("its cgroup namespace", host(cgroupns="host"), frozenset({"cgroup_namespace"})),
    Weakening("its having no terminal", create(tty=True), frozenset({"terminal"})),
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
    # Without a worker's filter the C library makes no thread there at all, so that the limit is not what is met.
    Weakening("its tasks", without_ulimit("nproc"), frozenset({"tasks"}), with_twin=True),
    Weakening("its score", host(oom_score_adj=0), frozenset({"oom_score"})),
    Weakening("the size of its log", host(log_config={"type": "json-file", "config": {}}), frozenset({"log"})),
    Weakening("its being brought back", host(restart_policy={"Name": "no"}), frozenset({"restart"})),
    Weakening("its parent's being closed", runtime_without("make_undumpable"), frozenset(), frozenset({"oom_score"})),
]


@pytest.mark.parametrize("weakening", WEAKENINGS, ids=lambda weakening: weakening.name)
def test_what_is_taken_away_is_found(weakening: Weakening, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def weakened(spec: ContainerSpec) -> Arguments:
        return weakening.weaken(whole(spec))

    monkeypatch.setattr(docker, "arguments", weakened)
    with audited(docker.connect(), tmp_path, isolation=GVISOR, kept=False) as sandbox:
        assert sandbox.broken(with_twin=weakening.with_twin) == weakening.broken


def test_a_worker_that_keeps_its_rights_does_not_come_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own filter sends the C library to the older call that makes a thread; the engine's does not do so there."""
    monkeypatch.setattr(docker, "arguments", lambda spec: runtime_without("confine")(whole(spec)))
    with (
        pytest.raises(SandboxError, match="cannot be loaded"),
        audited(docker.connect(), tmp_path, isolation=GVISOR, kept=False),
    ):
        pytest.fail("it was started")


def test_every_promise_is_weakened_in_turn() -> None:
    """What Docker with gVisor holds as it is told to; but for the image, and for what its kernel knows nothing of."""
    wall = Wall("gvisor", "gvisor")
    rows = [(f"setting {each.name}", each.promise) for each in settings_of("docker")]
    rows += [(f"effect {each.name}", each.promise) for each in (*EFFECTS, *EXHAUSTION)]
    promises = dict(rows)
    found = {promises[name] for weakening in WEAKENINGS for name in weakening.broken}
    answers = {row.what: wall.answer(row.what) for row in ROWS if row not in LIVES}
    told = {what for what, answer in answers.items() if isinstance(answer, Held) and answer.told}
    assert told - found == {
        "It sees no programs of the host's",
        "It gains no privileges",
        "It makes no sockets but such as stay within it",
        "It reaches no keys in the kernel's keyrings",
    }
    assert all(weakening.broken for weakening in WEAKENINGS)
