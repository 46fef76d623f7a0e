"""The bubblewrap engine: its walls seen and attacked from within, and the real runtime and Envoy behind them."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stopgap import bundles, deployment
from stopgap.client.channel import ServingChannel
from stopgap.client.tensors import to_array, to_proto
from stopgap.containment.specs import ContainerSpec, FrontSpec, SandboxSpec, front_container
from stopgap.engines.bubblewrap import BubblewrapEngine, connect
from stopgap.engines.cgroups import RLIMITS
from stopgap.engines.container_folder import make
from stopgap.engines.monitor import lease
from stopgap.engines.monitor.records import read_status
from stopgap.engines.monitoring import begin
from stopgap.engines.processes import is_gone
from stopgap.engines.protocol import State
from stopgap.errors import EngineError, ModelError, PredictionError
from stopgap.interpreter import interpreter
from stopgap.models import Model
from stopgap.progress import silent
from stopgap.readiness import wait_until_loaded
from stopgap.settings import Address, Limits, ServeSettings, Timeouts
from stopgap.store import Deployment, Store
from stopgap_protos.serving_pb2 import PredictRequest

from tests import zoo
from tests.bubblewrap.small_container import child_of, until
from tests.stopgap_program import free_port
from tests.worker_socket import Socket

pytestmark = [
    pytest.mark.bubblewrap,
    pytest.mark.slow,
    # Docker's own library leaves its socket open where it may not use the engine's; a user without rights may not.
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
]

IS_ROOT = os.geteuid() == 0
LIMITS = Limits(memory_mib=400, cpus=1)
SECRET = "must not get in"  # noqa: S105 - a secret for show
SYSTEM_PYTHON = Path("/usr/bin/python3")
needs_system_python = pytest.mark.skipif(not SYSTEM_PYTHON.exists(), reason="a front has no Python but the system's")
"""A front's walls are looked at from a Python of the system's, which is where they show everything else."""


@pytest.fixture(scope="session")
def legacy_root(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What a sandbox is made of."""
    engine = connect(tmp_path_factory.mktemp("roots"))
    return engine.prepare("legacy", bundles.ensure("tf-1.15.5"), lambda _: None, silent)


@pytest.fixture(scope="session")
def front_root(tmp_path_factory: pytest.TempPathFactory) -> str:
    return connect(tmp_path_factory.mktemp("roots")).prepare("front", None, lambda _: None, silent)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def engine(state: Path) -> Iterator[BubblewrapEngine]:
    connected = connect(state)
    yield connected
    for container in (state / "bubblewrap").glob("[!.]*"):
        connected.remove(container.name)


@pytest.fixture
def sandbox(state: Path, legacy_root: str) -> SandboxSpec:
    sockets = state / "sockets"
    sockets.mkdir(parents=True)
    return SandboxSpec(
        name="stn",
        image=legacy_root,
        state=state,
        model=Model(zoo.ZOO / "stn_affine_resampler" / "1", 1),
        sockets=sockets,
        limits=LIMITS,
        timeouts=Timeouts(load_s=60, drain_s=5),
        tags=("serve",),
        op_libraries=(),
        max_message_mib=32,
    )


@pytest.fixture
def front(state: Path, front_root: str) -> FrontSpec:
    folder = state / "fronts" / "8500"
    for part in ("xds", "sandboxes", "observers", "admin"):
        (folder / part).mkdir(parents=True)
    (folder / "admin").chmod(0o777)
    return FrontSpec(Address(), front_root, state, folder, on_host_network=True, max_message_mib=32)


class Walls:
    """A container's walls and limits, with a few lines of Python within them instead of its own program."""

    def __init__(self, engine: BubblewrapEngine, spec: ContainerSpec) -> None:
        self._engine = engine
        self._spec = spec
        self._folder = engine.folder(spec.container)

    def begin(self, code: str) -> None:
        """Starts it."""
        python = interpreter().executable if isinstance(self._spec, SandboxSpec) else SYSTEM_PYTHON
        made = self._engine.described(self._spec)
        make(self._folder, made._replace(program=(str(python), "-I", "-c", code)))
        begin(self._folder, self._engine.limits_by)

    def says(self, code: str) -> str:
        """What it prints until it ends."""
        self.begin(code)
        until(lambda: self.has_ended, 30)
        said = "\n".join(self._engine.logs(self._spec.container, 10_000))
        self._engine.remove(self._spec.container)
        return said

    def finds(self, expression: str) -> Any:
        """The value of an expression there, which may use some modules."""
        said = self.says(f"import glob, json, os, resource, socket, sys\nprint(json.dumps({expression}))")
        return json.loads(said.splitlines()[-1])

    def has_said(self, line: str) -> bool:
        return line in self._engine.logs(self._spec.container, 100)

    @property
    def has_ended(self) -> bool:
        observed = self._engine.observe(self._spec.container)
        return observed is not None and observed.ended

    @property
    def status(self) -> dict[str, str]:
        """What the kernel says of what runs there."""
        first = first_of(self._engine, self._spec)
        lines = Path(f"/proc/{child_of(first)}/status").read_text().splitlines()
        return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


@pytest.fixture
def inside(engine: BubblewrapEngine, sandbox: SandboxSpec) -> Walls:
    return Walls(engine, sandbox)


@pytest.fixture
def inside_front(engine: BubblewrapEngine, front: FrontSpec) -> Walls:
    return Walls(engine, front)


@pytest.fixture(params=["inside", pytest.param("inside_front", marks=needs_system_python)])
def either(request: pytest.FixtureRequest) -> Walls:
    """Of a sandbox, then of a front."""
    walls: Walls = request.getfixturevalue(request.param)
    return walls


# The walls, seen from within and from without.


SLEEPS = "import time; print('there', flush=True); time.sleep(60)"


def test_it_has_no_rights(either: Walls) -> None:
    either.begin(SLEEPS)
    until(lambda: either.has_said("there"))
    rights = {name: value for name, value in either.status.items() if name.startswith("Cap")}
    assert rights == dict.fromkeys(("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"), "0" * 16)
    assert either.status["NoNewPrivs"] == "1"


def test_where_memory_runs_out_it_goes_before_others(either: Walls) -> None:
    assert either.finds("int(open('/proc/self/oom_score_adj').read())") == 500


def test_a_sandbox_has_a_uid_of_its_own_to_itself_and_as_root_to_the_kernel(inside: Walls) -> None:
    inside.begin(SLEEPS)
    until(lambda: inside.has_said("there"))
    assert set(inside.status["Uid"].split()) == {"65534" if IS_ROOT else str(os.getuid())}
    assert set(inside.status["Gid"].split()) == {"65534" if IS_ROOT else str(os.getgid())}
    if IS_ROOT:
        assert inside.status["Groups"] == ""


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("[os.getuid(), os.getgid(), os.getcwd()]", [65534, 65534, "/"]),
        ("os.uname().nodename", "sandbox"),
        ("sorted({*os.environ} - {'LC_CTYPE'})", ["PWD"]),  # LC_CTYPE is Python's own
        ("[line.split(':')[0].strip() for line in open('/proc/net/dev') if ':' in line]", ["lo"]),
        ("sorted(os.listdir('/dev'))", ["full", "null", "random", "urandom", "zero"]),
        ("os.path.exists('/dev/shm')", False),
        ("os.listdir('/etc')", ["ld.so.cache"]),
        ("[path for path in ('/home', '/var', '/mnt', '/srv', '/sys', '/boot', '/run') if os.path.exists(path)]", []),
        ("sorted(os.listdir('/opt/stopgap'))", ["app", "bundle"]),
        ("sorted(name for name in os.listdir('/proc') if name.isdigit())", ["1", "2"]),
        ("os.getpid()", 2),
        ("open('/proc/self/cgroup').read().count('stopgap')", 0),
        ("resource.getrlimit(resource.RLIMIT_CORE)", [0, 0]),
        ("resource.getrlimit(resource.RLIMIT_NOFILE)", [LIMITS.open_files] * 2),
        ("resource.getrlimit(resource.RLIMIT_FSIZE)", [LIMITS.tmp_mib << 20] * 2),
    ],
)
def test_inside_a_sandbox_there_is_nothing_to_use(inside: Walls, question: str, answer: object) -> None:
    assert inside.finds(question) == answer


def test_there_is_one_place_to_write_to(inside: Walls) -> None:
    """Not by what the permissions say alone: each folder is tried."""
    tried = (
        "def can(folder):\n"
        "  try: open(folder + '/x', 'w').close(); return True\n"
        "  except OSError: return False\n"
        "import os\n"
        "walked = [folder for folder, _, _ in os.walk('/') if not folder.startswith(('/proc/', '/usr/'))]\n"
        "print([folder for folder in [*walked, '/proc', '/usr', '/usr/local', '/proc/sys/kernel'] if can(folder)])\n"
        "print(len(walked) > 5)"
    )
    assert inside.says(tried).splitlines() == ["['/tmp']", "True"]


@needs_system_python
def test_a_front_writes_to_its_admin_folder_and_no_file_there_has_contents(inside_front: Walls) -> None:
    code = (
        "import signal, socket; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "socket.socket(socket.AF_UNIX).bind('/run/stopgap/admin/a.sock'); print('bound')\n"
        "try: open('/run/stopgap/admin/file', 'wb', buffering=0).write(b'x')\n"
        "except OSError as error: print(error.strerror)\n"
        "for place in ('/run/stopgap/sandboxes/x', '/etc/stopgap/xds/x', '/x'):\n"
        "  try: open(place, 'w')\n"
        "  except OSError as error: print(error.strerror)"
    )
    assert inside_front.says(code).splitlines() == ["bound", "File too large", *["Read-only file system"] * 3]


def test_nothing_of_the_callers_is_readable(
    inside: Walls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sandbox: SandboxSpec
) -> None:
    secret = tmp_path / "secret"
    secret.write_text(SECRET)
    secret.chmod(0o644)
    monkeypatch.setenv("STOPGAP_TEST_SECRET", SECRET)
    places = [str(secret), str(sandbox.state), str(Path.home() / ".bashrc"), "/etc/passwd", "/root/.ssh", __file__]
    said = inside.finds(f"[[os.path.exists(place) for place in {places!r}], [*os.environ.values()]]")
    assert said[0] == [False] * len(places)
    assert SECRET not in said[1]


def test_of_a_python_in_a_home_that_home_shows_nothing_else(inside: Walls) -> None:
    prefix = interpreter().prefix
    above = [path for path in prefix.parents if path not in (Path("/"), Path("/usr"), Path("/opt"), Path("/tmp"))]  # noqa: S108
    if prefix.is_relative_to("/usr"):
        pytest.skip("this one is the system's")
    for path, below in zip(above, [prefix, *above]):
        assert inside.finds(f"os.listdir({str(path)!r})") == [below.name]


ATTEMPTS = {
    "tcp": ("import socket; socket.create_connection(('1.1.1.1', 443), 3)", "Operation not permitted"),
    "metadata": ("import socket; socket.create_connection(('169.254.169.254', 80), 3)", "Operation not permitted"),
    "the host's own": ("import socket; socket.create_connection(('127.0.0.1', 22), 3)", "Operation not permitted"),
    "raw socket": ("import socket; socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)", "Operation not permitted"),
    "become root": ("import os; os.setuid(0)", "Operation not permitted|Invalid argument"),
    "make a device": ("import os; os.mknod('/tmp/d', 0o60666, os.makedev(8, 0))", "Operation not permitted"),
    "change its root": ("import os; os.chroot('/tmp')", "Operation not permitted"),
    "fill /tmp": ("f = open('/tmp/f', 'wb')\nwhile 1: f.write(b'x' * (1 << 20))", "No space left|File too large"),
    "exhaust descriptors": (
        "import os\nkept = []\nwhile 1: kept.append(os.open('/dev/null', 0))",
        "Too many open files",
    ),
    "raise a limit": (
        "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (9999, 9999))",
        "not allowed to raise maximum limit",
    ),
    "write kernel settings": ("open('/proc/sys/kernel/core_pattern', 'w')", "Permission denied|Read-only file system"),
    "change its model": ("open('/model/saved_model.pb', 'ab')", "Read-only file system|Permission denied"),
    "be spared when memory runs out": (
        "open('/proc/self/oom_score_adj', 'wb', buffering=0).write(b'-900')",
        "Permission denied",
    ),
}


@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_a_break_out_is_refused(inside: Walls, attempt: str) -> None:
    code, refusal = ATTEMPTS[attempt]
    said = inside.says(code)
    assert any(part in said for part in refusal.split("|")), said


@pytest.mark.skipif(IS_ROOT, reason="as root there is no user namespace that could leave none to be made")
def test_a_users_sandbox_can_make_no_user_namespaces(inside: Walls) -> None:
    code = "import ctypes, os; c = ctypes.CDLL(None, use_errno=True); print(c.unshare(0x10000000), ctypes.get_errno())"
    assert inside.says(code).split()[0] == "-1"


BY_NUMBER = """
import ctypes, errno, json
libc = ctypes.CDLL(None, use_errno=True)
calls = {"vsock": (41, 40, 1, 0), "keyctl": (250, 0, -3, 0), "io_uring": (425, 0, 0), "ptrace": (101, 0x4200, -1, 0, 0)}
calls |= {"unshare": (272, 0x10000000), "clone": (56, 0x10000200, 0, 0, 0, 0), "bpf": (321, 0, 0, 0)}
calls |= {"ip": (41, 2, 1, 0)}
found = {name: errno.errorcode[ctypes.get_errno()] if libc.syscall(*call) < 0 else "" for name, call in calls.items()}
print(json.dumps(found))
"""


def test_what_no_worker_has_filtered_is_filtered_all_the_same(inside: Walls) -> None:
    assert set(json.loads(inside.says(BY_NUMBER)).values()) == {"EPERM"}


@needs_system_python
def test_a_front_has_the_network_and_nothing_else_of_it(inside_front: Walls) -> None:
    found = json.loads(inside_front.says(BY_NUMBER))
    assert found.pop("ip") == ""
    assert set(found.values()) == {"EPERM"}


def test_a_fork_bomb_is_bounded_by_the_sandboxes_own_limit(inside: Walls) -> None:
    bomb = (
        "import os, time\nn = 0\ntry:\n while n < 3000:\n  if os.fork() == 0: time.sleep(2); os._exit(0)\n  n += 1\n"
        "except OSError as error: print(n, error)"
    )
    stopped_at, _, reason = inside.says(bomb).partition(" ")
    assert "Resource temporarily unavailable" in reason
    assert int(stopped_at) < LIMITS.pids


def test_a_memory_bomb_is_ended_or_refused(inside: Walls, engine: BubblewrapEngine) -> None:
    said = inside.says("kept = [bytearray(1 << 20) for _ in range(2000)]\nprint('got them')")
    assert "got them" not in said
    assert ("MemoryError" in said) == (engine.limits_by == RLIMITS)


# What it is made of does not work.


def test_a_model_that_is_gone_is_told_of_and_leaves_nothing(engine: BubblewrapEngine, sandbox: SandboxSpec) -> None:
    with pytest.raises(EngineError, match="could not be started") as refused:
        engine.start(replace(sandbox, model=Model(Path("/nonexistent/model"), 1)))
    assert "Can't find source path /nonexistent/model" in refused.value.remedy
    assert engine.observe(sandbox.container) is None
    assert engine.labelled({}) == ()


def test_a_second_container_of_that_name_is_refused_and_the_first_stays(
    engine: BubblewrapEngine, sandbox: SandboxSpec
) -> None:
    engine.start(sandbox)
    with pytest.raises(EngineError, match="already"):
        engine.start(sandbox)
    wait_until_loaded(engine, sandbox, silent)


def test_a_state_folder_that_cannot_be_used_is_told_of(engine: BubblewrapEngine, sandbox: SandboxSpec) -> None:
    (sandbox.state / "bubblewrap").write_text("in the way")
    with pytest.raises(EngineError, match="stopgap-stn"):
        engine.start(sandbox)


# The real runtime.


def test_a_model_is_loaded_at_once_and_answers(engine: BubblewrapEngine, sandbox: SandboxSpec) -> None:
    began = time.monotonic()
    engine.start(sandbox)
    ready = wait_until_loaded(engine, sandbox, silent)
    assert time.monotonic() - began < 3
    assert (ready.workers, ready.tensorflow) == (1, "1.15.5")
    assert answers_rightly(sandbox)
    assert 20 < (engine.memory_mib(sandbox.container) or 0) < 200
    assert engine.labelled({"stopgap.role": "sandbox"}) == (sandbox.labels,)


def test_a_killed_sandbox_is_back_while_callers_wait(engine: BubblewrapEngine, sandbox: SandboxSpec) -> None:
    started(engine, sandbox)
    first = first_of(engine, sandbox)
    os.kill(first, signal.SIGKILL)
    until(lambda: is_gone(first))
    began = time.monotonic()
    assert answers_rightly(sandbox)
    assert time.monotonic() - began < 3
    until((sandbox.sockets / "ready.json").exists)


def test_a_drain_lets_it_finish(engine: BubblewrapEngine, sandbox: SandboxSpec) -> None:
    started(engine, sandbox)
    began = time.monotonic()
    engine.stop(sandbox.container, sandbox.stop_timeout_s)
    assert time.monotonic() - began < 2
    observed = engine.observe(sandbox.container)
    assert observed is not None
    assert (observed.state, observed.exit_code) == (State.EXITED, 0)
    assert list(sandbox.sockets.iterdir()) == []


def test_a_model_that_cannot_be_loaded_ends_once_and_says_why(
    engine: BubblewrapEngine, sandbox: SandboxSpec, tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    broken.mkdir(mode=0o755)
    (broken / "saved_model.pb").write_bytes(b"nonsense")
    tmp_path.chmod(0o755)
    spec = replace(sandbox, model=Model(broken, 1))
    engine.start(spec)
    with pytest.raises(ModelError, match="cannot be loaded"):
        wait_until_loaded(engine, spec, silent)


def test_several_workers_have_a_socket_each(engine: BubblewrapEngine, sandbox: SandboxSpec) -> None:
    two = replace(sandbox, limits=Limits(memory_mib=600, cpus=1, workers=2))
    engine.start(two)
    assert wait_until_loaded(engine, two, silent).workers == 2
    assert all(Socket(two.sockets / f"worker-{index}.sock").healthy() for index in (0, 1))


def started(engine: BubblewrapEngine, sandbox: SandboxSpec) -> None:
    engine.start(sandbox)
    wait_until_loaded(engine, sandbox, silent)
    engine.keep(sandbox.container)


def first_of(engine: BubblewrapEngine, spec: ContainerSpec) -> int:
    return first_in(engine.folder(spec.container))


def first_in(folder: Path) -> int:
    """The host's pid of a container's first process, with which all others end."""
    status = read_status(folder)
    assert status is not None
    assert status.pid is not None
    return status.pid


def answers_rightly(sandbox: SandboxSpec) -> bool:
    """At the worker's own socket."""
    answer = Socket(sandbox.sockets / "worker-0.sock").predict(golden_request("stn"), timeout_s=20)
    return answer.code == 0


def golden_request(name: str) -> PredictRequest:
    request = PredictRequest()
    request.model_spec.name = name
    for alias, array in zoo.load("stn_affine_resampler").cases[0].inputs.items():
        request.inputs[alias].CopyFrom(to_proto(array))
    return request


# All of it, behind a front.


@pytest.fixture
def served(engine: BubblewrapEngine, state: Path) -> Iterator[Deployment]:
    port = free_port()
    wanted = ServeSettings(
        name="stn",
        model=zoo.ZOO / "stn_affine_resampler",
        address=Address("127.0.0.1", port, port + 1),
        limits=LIMITS,
    )
    yield deployment.serve(wanted, engine, Store(state), lambda _: None, silent)
    engine.remove(front_container(port))


def test_behind_a_front_it_answers_with_the_golden_values(served: Deployment) -> None:
    model = zoo.load("stn_affine_resampler")
    with ServingChannel(served.address) as channel:
        answer = channel.predict(golden_request("stn"), timeout_s=20)
    zoo.assert_matches(model, model.cases[0], {alias: to_array(tensor) for alias, tensor in answer.outputs.items()})


@pytest.mark.parametrize("victim", ["sandbox", "front"])
@pytest.mark.parametrize("part", ["program", "first process"])
def test_whichever_part_is_killed_is_back_by_itself(
    engine: BubblewrapEngine, served: Deployment, victim: str, part: str
) -> None:
    container = "stopgap-stn" if victim == "sandbox" else front_container(served.front.grpc_port)
    first = first_in(engine.folder(container))
    program = child_of(first)
    os.kill(program if part == "program" else first, signal.SIGKILL)
    until(lambda: is_gone(first) and is_gone(program))
    began = time.monotonic()
    until(lambda: answers(served), 10)
    assert time.monotonic() - began < 3
    observed = engine.observe(container)
    assert observed is not None
    assert observed.state is State.RUNNING


def test_lost_monitors_are_seen_and_resumed(engine: BubblewrapEngine, served: Deployment) -> None:
    containers = ("stopgap-stn", front_container(served.front.grpc_port))
    for container in containers:
        monitor = lease.last_keeper(engine.folder(container))
        assert monitor is not None
        os.kill(monitor.pid, signal.SIGKILL)
        until(lambda name=container: not lease.is_held(engine.folder(name)))  # type: ignore[misc]
    assert [engine.observe(container).state for container in containers] == [State.LOST] * 2  # type: ignore[union-attr]
    until(lambda: not answers(served))
    assert all(engine.resume(container) for container in containers)
    until(lambda: answers(served), 10)


def test_a_front_can_be_widened_while_it_serves(engine: BubblewrapEngine, served: Deployment) -> None:
    container = front_container(served.front.grpc_port)
    engine.widen(container, 4096)
    assert answers(served)
    if engine.limits_by == RLIMITS:
        limits = Path(f"/proc/{child_of(first_in(engine.folder(container)))}/limits").read_text()
        assert str(4096 << 20) in next(line for line in limits.splitlines() if line.startswith("Max data size"))


def answers(served: Deployment) -> bool:
    try:
        with ServingChannel(served.address) as channel:
            answer = channel.predict(golden_request("stn"), timeout_s=5)
    except PredictionError:
        return False
    return all(np.isfinite(to_array(tensor)).all() for tensor in answer.outputs.values())
