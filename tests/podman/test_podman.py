"""Podman behind Docker's API: a model is served, the kernel holds every limit, and what is not held is said."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
from stopgap.containment.specs import FRONT_PIDS, front_container, front_memory_mib, sandbox_container
from stopgap.engines.docker import PodmanEngine, connect
from stopgap.engines.protocol import State
from stopgap.settings import Limits

from tests import zoo
from tests.engines.test_containment import ATTEMPTS
from tests.load import until
from tests.stopgap_program import Program, program_in

pytestmark = [pytest.mark.podman, pytest.mark.slow, pytest.mark.thorough]

MEMORY_MIB = 600
SANDBOX = sandbox_container("stn")
MODEL = zoo.ZOO / "stn_affine_resampler"
# Podman has no limit of files.
NOT_HELD = {"exhaust inodes"}


@pytest.fixture(scope="module")
def program(podman: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    assert podman.is_socket()
    with program_in(tmp_path_factory.mktemp("podman")) as program:
        yield program


@pytest.fixture(scope="module")
def stopgap(program: Program) -> Program:
    program.serve(MODEL, "stn", "--memory", str(MEMORY_MIB), "--cpus", "1")
    return program


def test_a_model_answers_as_tensorflow_did(stopgap: Program, tmp_path: Path) -> None:
    model = zoo.load(MODEL.name)
    case = model.cases[0]
    np.savez(tmp_path / "inputs.npz", **case.inputs)  # type: ignore[arg-type]  # its next parameter is not an array
    asked = ("--inputs", str(tmp_path / "inputs.npz"), "--output", str(tmp_path / "outputs.npz"))
    done = stopgap.run("predict", "stn", "--signature", case.signature, *asked)
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "outputs.npz") as outputs:
        zoo.assert_matches(model, case, dict(outputs))


def test_status_names_podman_and_what_holds_its_limits(stopgap: Program) -> None:
    seen = stopgap.status("stn")
    assert seen["engine"] == "podman"
    assert seen["isolation"] in {"runc", "crun"}
    assert re.fullmatch(r"cgroup v[12]", seen["limits_by"])
    assert 20 < seen["memory_mib"] < MEMORY_MIB


def test_a_second_model_joins_the_front(stopgap: Program) -> None:
    stopgap.serve(zoo.ZOO / "lsh_retrieval", "other")
    assert stopgap.answers("other")
    assert stopgap.run("stop", "other").returncode == 0
    assert stopgap.answers("stn")


@pytest.mark.parametrize("kind", ["sandbox", "front"])
def test_the_kernel_holds_every_wall_and_limit(stopgap: Program, kind: str) -> None:
    container = SANDBOX if kind == "sandbox" else front_container(stopgap.port)
    memory_mib = MEMORY_MIB if kind == "sandbox" else front_memory_mib(128)
    pids = Limits(cpus=1).pids if kind == "sandbox" else FRONT_PIDS
    pid = stopgap.backstage.first_process(container)
    status = fields(Path(f"/proc/{pid}/status").read_text())
    uid = "65534" if kind == "sandbox" else "65533"
    assert set(status["Uid"].split()) == set(status["Gid"].split()) == {uid}
    assert {int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    assert Path(f"/proc/{pid}/oom_score_adj").read_text() == "500\n"
    assert group(pid, "memory", "memory.limit_in_bytes", "memory.max") == str(memory_mib << 20)
    assert group(pid, "memory", "memory.memsw.limit_in_bytes", "memory.swap.max") in {str(memory_mib << 20), "0"}
    assert group(pid, "pids", "pids.max", "pids.max") == str(pids)
    if kind == "sandbox":
        assert group(pid, "cpu", "cpu.cfs_quota_us", "cpu.max").split()[0] == "100000"
    own = "/run/stopgap" if kind == "sandbox" else "/run/stopgap/admin"
    assert writable(pid) == {"/tmp", own}  # noqa: S108 - a path inside the container
    limits = Path(f"/proc/{pid}/limits").read_text()
    assert re.search(r"Max core file size +0 +0 ", limits)
    assert re.search(rf"Max file size +{'16777216' if kind == 'sandbox' else '0'} ", limits)
    assert re.search(rf"Max open files +{Limits(cpus=1).open_files if kind == 'sandbox' else 16384} ", limits)


def test_a_sandbox_has_no_network_and_a_front_has_the_hosts(stopgap: Program) -> None:
    pids = [stopgap.backstage.first_process(container) for container in (SANDBOX, front_container(stopgap.port))]
    hosts, sandboxes, fronts = (Path(f"/proc/{pid}/ns/net").readlink() for pid in ("self", *pids))
    assert fronts == hosts != sandboxes
    assert inside("print([line.split()[0] for line in list(open('/proc/net/dev'))[2:]])").strip() == "['lo:']"


@pytest.mark.parametrize("attempt", [name for name in ATTEMPTS if name not in NOT_HELD])
def test_a_break_out_is_refused(stopgap: Program, attempt: str) -> None:
    code, refusal = ATTEMPTS[attempt]
    said = inside(code)
    assert any(part in said for part in refusal.split("|")), said
    assert stopgap.answers("stn")


def test_files_are_not_counted_but_their_memory_is(stopgap: Program) -> None:
    pid = stopgap.backstage.first_process(SANDBOX)
    before = int(group(pid, "memory", "memory.usage_in_bytes", "memory.current"))
    assert inside("for i in range(30000): open(f'/tmp/{i}', 'w').close()") == ""
    after = int(group(pid, "memory", "memory.usage_in_bytes", "memory.current"))
    inside("import os\nfor name in os.listdir('/tmp'): os.unlink(f'/tmp/{name}')")
    assert after - before > 30000 * 512


def test_a_flood_of_lines_costs_no_more_than_its_cap(stopgap: Program) -> None:
    engine = connect()
    assert isinstance(engine, PodmanEngine)
    log = Path(engine._api.inspect_container(SANDBOX)["LogPath"])
    inside("with open('/proc/1/fd/1', 'w') as out:\n for _ in range(200000): out.write('x' * 99 + chr(10))")
    assert log.stat().st_size <= 10_000_000
    assert stopgap.answers("stn")


def test_an_audit_finds_every_promise_held_and_none_that_is_not_made(stopgap: Program) -> None:
    stopgap.serve(MODEL, "audited")  # where no test before has dropped a file
    audited = stopgap.run("audit", "audited", "--json")
    assert stopgap.run("stop", "audited").returncode == 0
    assert audited.stdout, audited.stderr
    lines = json.loads(audited.stdout)["lines"]
    assert {each["name"]: each["seen"] for each in lines if each["status"] in {"BROKEN", "UNKNOWN"}} == {}
    assert audited.returncode == 0, audited.stderr
    told = {each["name"] for each in lines if each["status"] == "not promised here"}
    assert told == {"writable_mounts", "tmp_files", "cgroup_namespace", "kernel", "restart", "many_files"}
    assert {each["status"] for each in lines} == {"held", "not promised here", "not tried"}


def test_what_does_not_come_back_by_itself_is_said_and_resumed(stopgap: Program) -> None:
    pid = stopgap.backstage.first_process(SANDBOX)
    assert pid > 1
    os.kill(pid, signal.SIGKILL)
    until(lambda: connect().observe(SANDBOX).state is State.EXITED, 10)  # type: ignore[union-attr]  # it is there
    assert stopgap.status("stn")["state"] == "down"
    done = stopgap.run("resume", "stn")
    assert done.returncode == 0, done.stderr
    assert stopgap.answers("stn")


def test_serve_says_what_podman_does_not_promise(stopgap: Program) -> None:
    done = stopgap.run("serve", str(MODEL), *stopgap.at("told"))
    assert done.returncode == 0, done.stderr
    assert "Engine: podman" in done.stderr
    assert "stopgap resume does" in " ".join(done.stderr.split())
    assert stopgap.run("stop", "told").returncode == 0


def test_a_model_that_cannot_be_loaded_leaves_nothing_behind(stopgap: Program, tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "saved_model.pb").write_bytes(b"no model")
    text = stopgap.refused("serve", str(tmp_path), *stopgap.at("broken"))
    assert "broken" not in str(stopgap.leftovers())
    assert "saved_model.pb" in text


def test_a_front_that_cannot_be_given_more_memory_refuses_larger_messages(stopgap: Program) -> None:
    text = stopgap.refused("serve", str(MODEL), *stopgap.at("large"), "--max-message-mib", "512")
    assert "cannot give stopgap-front" in text
    assert "--max-message-mib" in text
    assert stopgap.answers("stn")


def test_stop_leaves_nothing_behind(stopgap: Program) -> None:
    assert stopgap.run("stop", "stn").returncode == 0
    assert stopgap.leftovers() == []


def inside(code: str) -> str:
    """Everything that Python code says inside the sandbox, as the sandbox's own user.

    By Podman's own command: what is run through its API leaves a process behind for five minutes.
    """
    command = ["podman", "exec", "--user=65534:65534", SANDBOX, "python3.11", "-I", "-c", code]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120, check=False
    )
    return done.stdout


def fields(text: str) -> Mapping[str, str]:
    return {name: value.strip() for name, _, value in (line.partition(":") for line in text.splitlines())}


def group(pid: int, controller: str, of_v1: str, of_v2: str) -> str:
    """What a process's control group says."""
    places = dict(line.split(":", 2)[1:] for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines())
    if controller in places:
        return (Path("/sys/fs/cgroup") / controller / places[controller].lstrip("/") / of_v1).read_text().strip()
    return (Path("/sys/fs/cgroup") / places[""].lstrip("/") / of_v2).read_text().strip()


def writable(pid: int) -> set[str]:
    """Where a container's file systems may be written to, but for what the kernel shows there."""
    mounts = [line.split()[1:4] for line in Path(f"/proc/{pid}/mounts").read_text().splitlines()]
    return {
        path
        for path, _, options in mounts
        if "rw" in options.split(",") and not path.startswith(("/proc", "/dev", "/sys"))
    }
