"""gVisor behind Docker: a model is served, the walls stand that are promised, and what gVisor does not hold is said."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from stopgap.containment.docker import Arguments, arguments
from stopgap.containment.specs import SandboxSpec, sandbox_container
from stopgap.isolations import GVISOR
from stopgap.models import Model
from stopgap.settings import Limits, Timeouts

from tests import zoo
from tests.backstage import api
from tests.engines.test_containment import ATTEMPTS
from tests.engines.test_quarantine import assert_poison_is_kept
from tests.hostile import attack
from tests.load import until
from tests.stopgap_program import Program, program_in

pytestmark = [pytest.mark.gvisor, pytest.mark.slow]

MEMORY_MIB = 600
NAME = "stn-in-gvisor"  # no other test makes a container of that name: they may run side by side
SANDBOX = sandbox_container(NAME)
MODEL = zoo.ZOO / "stn_affine_resampler"
PATIENCE_S = 30.0


@pytest.fixture(scope="module")
def stopgap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    with program_in(tmp_path_factory.mktemp("gvisor")) as program:
        program.serve(
            MODEL, NAME, "--memory", str(MEMORY_MIB), "--cpus", "1", "--isolation", "gvisor", "--keep-requests"
        )
        yield program


def test_a_model_answers_as_tensorflow_did(stopgap: Program, tmp_path: Path) -> None:
    model = zoo.load(MODEL.name)
    case = model.cases[0]
    np.savez(tmp_path / "inputs.npz", **case.inputs)  # type: ignore[arg-type]  # its next parameter is not an array
    asked = ("--inputs", str(tmp_path / "inputs.npz"), "--output", str(tmp_path / "outputs.npz"))
    done = stopgap.run("predict", NAME, "--signature", case.signature, *asked)
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "outputs.npz") as outputs:
        zoo.assert_matches(model, case, dict(outputs))


def test_status_names_the_wall(stopgap: Program) -> None:
    seen = stopgap.status(NAME)
    assert (seen["engine"], seen["isolation"], seen["state"]) == ("docker", "gvisor", "serving")
    assert 20 < seen["memory_mib"] < MEMORY_MIB


def test_a_request_that_ended_a_worker_comes_out_through_the_wall(stopgap: Program, tmp_path: Path) -> None:
    assert_poison_is_kept(stopgap, NAME, tmp_path)


def test_another_model_joins_the_front_behind_another_wall(stopgap: Program) -> None:
    served = stopgap.serve(zoo.ZOO / "lsh_retrieval", "beside-gvisor", "--isolation", "runc")
    assert served["isolation"] == "runc"
    assert stopgap.answers("beside-gvisor")
    assert stopgap.run("stop", "beside-gvisor").returncode == 0
    assert stopgap.answers(NAME)


def test_the_sandbox_is_gvisors_and_its_workers_are_filtered(stopgap: Program) -> None:
    """Seen from a process that Docker lets in, and that is under no filter itself."""
    assert api().inspect_container(SANDBOX)["HostConfig"]["Runtime"] == "runsc"
    assert stopgap.answers(NAME)
    assert os.uname().release not in inside("import os; print(os.uname().release)")
    modes = inside(
        "import glob, os; print([line.split()[1] for task in glob.glob('/proc/[12]/task/*/status') "
        "for line in open(task) if line.startswith('Seccomp')])"
    )
    assert set(json.loads(modes.replace("'", '"'))) == {"2"}


def test_a_lost_sandbox_is_brought_back(stopgap: Program) -> None:
    """A process that Docker lets in is under no filter, and may end the first one: a worker may not."""
    before = api().inspect_container(SANDBOX)["State"]["StartedAt"]
    inside("import os; os.kill(1, 9)")
    until(lambda: api().inspect_container(SANDBOX)["State"]["StartedAt"] != before, PATIENCE_S)
    until(lambda: stopgap.answers(NAME), PATIENCE_S)


def inside(code: str) -> str:
    command = ["python3.11", "-I", "-c", code]
    execution = api().exec_create(SANDBOX, command, user="65534:65534")
    said: bytes = api().exec_start(execution["Id"])
    return said.decode("utf-8", "replace")


def test_a_bomb_ends_a_request_and_not_the_sandbox(stopgap: Program, tmp_path: Path) -> None:
    bomb = attack("oom_fill_touched")
    stopgap.serve(bomb.folder, "bomb-in-gvisor", "--memory", str(MEMORY_MIB), "--isolation", "gvisor")
    np.savez(tmp_path / "inputs.npz", n=np.int64(1 << 31))
    refused = stopgap.run("predict", "bomb-in-gvisor", "--inputs", str(tmp_path / "inputs.npz"))
    assert "RESOURCE_EXHAUSTED" in refused.stderr
    assert api().inspect_container(sandbox_container("bomb-in-gvisor"))["RestartCount"] == 0
    assert stopgap.run("stop", "bomb-in-gvisor").returncode == 0


def test_a_model_that_cannot_be_loaded_is_told_of_and_nothing_is_left(stopgap: Program, tmp_path: Path) -> None:
    """Docker cannot be told later to bring a sandbox of gVisor's back, and so does it from the first start on."""
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "saved_model.pb").write_bytes(b"not a protobuf at all")
    tmp_path.chmod(0o755)
    before = stopgap.leftovers()
    said = stopgap.refused("serve", str(tmp_path), *stopgap.at("bad"), "--isolation", "gvisor")
    assert "not a SavedModel" in said
    assert stopgap.leftovers() == before


# --- What is so inside, tried in the runtime's place: what Docker lets in later is under no filter -----------------

# Each attempt in a process of its own, with what it says.
PROBER = """
import json, os, sys, traceback
said = {}
for name, code in json.loads(sys.argv[1]).items():
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.dup2(writer, 1)
        os.dup2(writer, 2)
        try:
            exec(code, {})
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)
    os.close(writer)
    with open(reader, errors="replace") as pipe:
        said[name] = pipe.read()
    os.waitpid(pid, 0)
    for left in os.listdir("/tmp"):
        os.unlink(f"/tmp/{left}")
print(json.dumps(said))
"""

# What gVisor does not hold, each of them said in the table of promises.
NOT_HELD = {"load what it dropped", "exhaust inodes"}
# The prober has no parent.
NOT_TRIED = {"read its parent's memory"}

QUESTIONS = {
    "user": ("import os; print(os.getuid(), os.getgid(), os.getcwd())", "65534 65534 /"),
    "capabilities": (
        "print([l for l in open('/proc/self/status') if l.startswith('Cap') and int(l.split()[1], 16)])",
        "[]",
    ),
    "filter": ("print([l.split()[1] for l in open('/proc/self/status') if l.startswith('Seccomp:')])", "['2']"),
    "core": ("import resource; print(resource.getrlimit(resource.RLIMIT_CORE))", "(0, 0)"),
    "network": ("print([l.split(':')[0].strip() for l in list(open('/proc/net/dev'))[2:]])", "['lo']"),
    "writable": (
        "import os; print([p for p in ('/', '/etc', '/var/tmp', '/home', '/opt', '/dev', '/run', '/usr/lib', "
        "'/dev/shm') if os.access(p, os.W_OK)])",
        "[]",
    ),
    "processes": ("import os; print(len([p for p in os.listdir('/proc') if p.isdigit()]))", "2"),
    "environment": ("import os; print(sorted({*os.environ} - {'LC_CTYPE'}))", "['HOME', 'HOSTNAME', 'PATH']"),
}


@pytest.fixture(scope="module")
def said(stopgap: Program, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What came of each attempt and each question, behind exactly the walls that the engine would build."""
    assert stopgap.answers(NAME)
    folder = tmp_path_factory.mktemp("sockets")
    folder.chmod(0o777)
    (folder / "ready.json").touch()
    tried = {name: code for name, (code, _) in {**ATTEMPTS, **QUESTIONS}.items() if name not in NOT_TRIED}
    output = run_in_place_of_the_runtime(arguments(sandbox_in(folder)), PROBER, json.dumps(tried))
    answers: dict[str, str] = json.loads(output.splitlines()[-1])
    return answers


def sandbox_in(sockets: Path) -> SandboxSpec:
    return SandboxSpec(
        name="probed",
        image=str(api().inspect_container(SANDBOX)["Config"]["Image"]),
        state=sockets,
        model=Model(MODEL / "1", 1),
        sockets=sockets,
        limits=Limits(memory_mib=MEMORY_MIB, cpus=1),
        timeouts=Timeouts(),
        tags=("serve",),
        op_libraries=(),
        max_message_mib=128,
        isolation=GVISOR,
    )


def run_in_place_of_the_runtime(wanted: Arguments, code: str, *words: str) -> str:
    create = {**wanted.create, "entrypoint": ["python3.11", "-I", "-c", code], "command": [*words]}
    host = api().create_host_config(**{**wanted.host, "restart_policy": {"Name": "no"}})
    container = api().create_container(host_config=host, **create)["Id"]
    try:
        api().start(container)
        api().wait(container, timeout=120)
        output: bytes = api().logs(container)
    finally:
        api().remove_container(container, force=True)
    return output.decode("utf-8", "replace")


@pytest.mark.parametrize("attempt", [name for name in ATTEMPTS if name not in NOT_TRIED])
def test_a_break_out_is_refused_unless_the_table_says_otherwise(said: dict[str, str], attempt: str) -> None:
    _, refusal = ATTEMPTS[attempt]
    refused = any(part in said[attempt] for part in refusal.split("|"))
    assert refused == (attempt not in NOT_HELD), said[attempt]


@pytest.mark.parametrize("question", QUESTIONS)
def test_inside_there_is_nothing_to_use(said: dict[str, str], question: str) -> None:
    assert said[question].strip() == QUESTIONS[question][1]


BOMB = (
    "import os, time\nn = 0\ntry:\n while n < 2000:\n  if os.fork() == 0: time.sleep(5); os._exit(0)\n  n += 1\n"
    "except OSError as error: print(n, error)"
)


def test_a_fork_bomb_stops_at_the_limit_of_the_sandboxs_user(stopgap: Program, tmp_path: Path) -> None:
    assert stopgap.answers(NAME)
    tmp_path.chmod(0o777)
    spec = sandbox_in(tmp_path)
    spec = replace(spec, limits=replace(spec.limits, memory_mib=2048))
    stopped_at, _, reason = run_in_place_of_the_runtime(arguments(spec), BOMB).strip().partition(" ")
    assert "Resource temporarily unavailable" in reason
    assert int(stopped_at) < spec.limits.pids


def test_an_audit_holds(stopgap: Program) -> None:
    done = stopgap.run("audit", NAME, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    lines = {(line["kind"], line["name"]): line["status"] for line in json.loads(done.stdout)["lines"]}
    assert lines["setting", "kernel"] == "held"
    assert lines["setting", "worker_filter"] == "not tried", "this machine sees gVisor's own processes alone"
    open_here = {name for (_, name), status in lines.items() if status == "not promised here"}
    assert open_here >= {"many_files", "parents_layout", "devices"}
