"""A live sandbox, seen with Docker's eyes and attacked from within: every wall that containment promises stands."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from stopgap.containment import seccomp
from stopgap.containment.specs import front_container, sandbox_container
from stopgap.settings import Limits

from tests.backstage import api
from tests.stopgap_program import Program, program_in
from tests.zoo import ZOO

pytestmark = [pytest.mark.docker, pytest.mark.slow]

MEMORY_MIB = 600
SANDBOX = sandbox_container("stn")


@pytest.fixture(scope="module")
def stopgap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    with program_in(tmp_path_factory.mktemp("containment")) as program:
        os.environ["STOPGAP_TEST_SECRET"] = "must not get in"  # noqa: S105 - a secret for show
        try:
            program.serve(ZOO / "stn_affine_resampler", "stn", "--memory", str(MEMORY_MIB), "--cpus", "1")
        finally:
            del os.environ["STOPGAP_TEST_SECRET"]
        yield program


def test_an_isolation_that_is_not_here_is_refused_with_what_it_takes(stopgap: Program) -> None:
    """By bubblewrap, which has but its own; what Docker says without gVisor is the doctor's to tell."""
    model = str(ZOO / "stn_affine_resampler")
    asked = ("serve", model, "--name", "x", "--engine", "bubblewrap", "--isolation", "gvisor")
    assert "bubblewrap has no isolation gvisor. Docker has: --engine docker" in stopgap.refused(*asked)


@pytest.fixture(scope="module")
def sandbox(stopgap: Program) -> dict[str, Any]:
    """What `docker inspect` says of the sandbox."""
    assert stopgap.answers("stn")
    inspected: dict[str, Any] = api().inspect_container(SANDBOX)
    return inspected


@pytest.fixture(scope="module")
def front(stopgap: Program) -> dict[str, Any]:
    inspected: dict[str, Any] = api().inspect_container(front_container(stopgap.port))
    return inspected


@pytest.mark.parametrize("kind", ["sandbox", "front"])
@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("ReadonlyRootfs", True),
        ("CapDrop", ["ALL"]),
        ("CapAdd", None),
        ("Privileged", False),
        ("IpcMode", "none"),
        ("CgroupnsMode", "private"),
        ("Init", False),
        ("OomScoreAdj", 500),
        ("Devices", None),
        ("LogConfig", {"Type": "json-file", "Config": {"max-file": "2", "max-size": "5m"}}),
        ("RestartPolicy", {"Name": "unless-stopped", "MaximumRetryCount": 0}),
    ],
)
def test_docker_keeps_both_behind_the_same_walls(
    kind: str, setting: str, value: object, request: pytest.FixtureRequest
) -> None:
    inspected: dict[str, Any] = request.getfixturevalue(kind)
    assert (inspected["HostConfig"].get(setting) or None) == (value or None)


@pytest.mark.parametrize(("kind", "profile"), [("sandbox", seccomp.SANDBOX), ("front", seccomp.FRONT)])
def test_docker_gives_both_no_privileges_and_a_profile_of_ours(
    kind: str, profile: str, request: pytest.FixtureRequest
) -> None:
    inspected: dict[str, Any] = request.getfixturevalue(kind)
    assert inspected["HostConfig"]["SecurityOpt"] == ["no-new-privileges:true", f"seccomp={profile}"]


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("NetworkMode", "none"),
        ("Memory", MEMORY_MIB << 20),
        ("MemorySwap", MEMORY_MIB << 20),
        ("NanoCpus", 10**9),
        ("PidsLimit", Limits(cpus=1).pids),
        ("PortBindings", None),
    ],
)
def test_docker_keeps_a_sandbox_to_its_limits(sandbox: dict[str, Any], setting: str, value: object) -> None:
    assert (sandbox["HostConfig"].get(setting) or None) == value


def test_neither_runs_as_root(sandbox: dict[str, Any], front: dict[str, Any]) -> None:
    assert (sandbox["Config"]["User"], front["Config"]["User"]) == ("65534:65534", "65533:65533")


def test_only_its_own_folders_are_mounted(stopgap: Program, sandbox: dict[str, Any], front: dict[str, Any]) -> None:
    folder = stopgap.state / "fronts" / str(stopgap.port)
    assert mounts(sandbox) == {
        "/model": (str(ZOO / "stn_affine_resampler" / "1"), False),
        "/run/stopgap": (str(folder / "sandboxes" / "stn"), True),
    }
    assert mounts(front) == {
        "/etc/stopgap/xds": (str(folder / "xds"), False),
        "/run/stopgap/sandboxes": (str(folder / "sandboxes"), False),
        "/run/stopgap/observers": (str(folder / "observers"), False),
        "/run/stopgap/admin": (str(folder / "admin"), True),
    }


def mounts(inspected: dict[str, Any]) -> dict[str, tuple[str, bool]]:
    return {mount["Destination"]: (mount["Source"], mount["RW"]) for mount in inspected["Mounts"]}


def test_the_environment_is_the_images_own(sandbox: dict[str, Any]) -> None:
    image = api().inspect_image(sandbox["Image"])
    assert sorted(sandbox["Config"]["Env"] or []) == sorted(image["Config"]["Env"] or [])
    assert "must not get in" not in str(sandbox)


def test_the_state_folder_is_its_owners_alone(stopgap: Program) -> None:
    assert stopgap.state.stat().st_mode & 0o777 == 0o700


NOT_PERMITTED = "Operation not permitted"
CALL = (
    "import ctypes, os; libc = ctypes.CDLL(None, use_errno=True); "
    "print('done') if libc.syscall({}) >= 0 else print(os.strerror(ctypes.get_errno()))"
)


def system_call(arguments: str) -> str:
    """Code that makes a bare system call and says what became of it."""
    return CALL.format(arguments)


# What a compromised runtime would try, each in a fresh process inside the sandbox, and what it must be told.
ATTEMPTS = {
    "tcp": ("import socket; socket.create_connection(('1.1.1.1', 443), 3)", NOT_PERMITTED),
    "udp": ("import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM)", NOT_PERMITTED),
    "tcp over IPv6": ("import socket; socket.socket(socket.AF_INET6)", NOT_PERMITTED),
    "raw socket": ("import socket; socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)", NOT_PERMITTED),
    "a socket to the hypervisor": ("import socket; socket.socket(40, socket.SOCK_STREAM)", NOT_PERMITTED),
    "a socket of the kernel's ciphers": ("import socket; socket.socket(38, socket.SOCK_SEQPACKET)", NOT_PERMITTED),
    "a netlink socket": ("import socket; socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)", NOT_PERMITTED),
    "a packet socket": ("import socket; socket.socket(socket.AF_PACKET, socket.SOCK_RAW)", NOT_PERMITTED),
    "docker's socket": ("open('/var/run/docker.sock')", "No such file or directory"),
    "connect to anything": (
        "import socket; socket.socket(socket.AF_UNIX).connect('/run/stopgap/worker-0.sock')",
        NOT_PERMITTED,
    ),
    "io_uring": (system_call("425, 8, ctypes.create_string_buffer(256)"), NOT_PERMITTED),
    "ptrace": (system_call("101, 16, 1, 0, 0"), NOT_PERMITTED),
    "read another's memory": (system_call("310, 1, 0, 0, 0, 0, 0"), NOT_PERMITTED),
    "write another's memory": (system_call("311, 1, 0, 0, 0, 0, 0"), NOT_PERMITTED),
    "userfaultfd": (system_call("323, 0"), NOT_PERMITTED),
    "bpf": (system_call("321, 0, 0, 0"), NOT_PERMITTED),
    "perf events": (system_call("298, 0, 0, -1, -1, 0"), NOT_PERMITTED),
    "keyctl": (system_call("250, 0, -3, 1, 0, 0"), NOT_PERMITTED),
    "add a key": (system_call("248, b'user', b'x', b'y', 1, -3"), NOT_PERMITTED),
    "a user namespace": (system_call("272, 0x10000000"), NOT_PERMITTED),
    "a user namespace by clone": (system_call("56, 0x10000011, 0, 0, 0, 0"), NOT_PERMITTED),
    "another's namespace": (system_call("308, 0, 0"), NOT_PERMITTED),
    "mount": (system_call("165, b'none', b'/tmp', b'tmpfs', 0, 0"), NOT_PERMITTED),
    "no address randomisation": (system_call("135, 0x0040000"), NOT_PERMITTED),
    "set the clock": (system_call("227, 0, (ctypes.c_long * 2)(1, 0)"), NOT_PERMITTED),
    "the kernel's log": (system_call("103, 3, ctypes.create_string_buffer(999), 999"), NOT_PERMITTED),
    "a link in its socket's place": (
        "import os; os.symlink('/run/stopgap/admin/admin.sock', '/run/stopgap/x.sock')",
        NOT_PERMITTED,
    ),
    "a hard link": ("import os; os.link('/run/stopgap/ready.json', '/run/stopgap/x')", NOT_PERMITTED),
    "a FIFO": ("import os; os.mkfifo('/tmp/fifo')", NOT_PERMITTED),
    "write to /": ("open('/x', 'w')", "Read-only file system|Permission denied"),
    "write to the app": ("open('/opt/stopgap/app/x.py', 'w')", "Read-only file system|Permission denied"),
    "write to shared memory": ("open('/dev/shm/x', 'w')", "No such file or directory|Permission denied"),
    "write to its model": ("open('/model/saved_model.pb', 'ab')", "Read-only file system|Permission denied"),
    "become root": ("import os; os.setuid(0)", "Operation not permitted"),
    "make a device": ("import os; os.mknod('/tmp/d', 0o60666, os.makedev(8, 0))", "Operation not permitted"),
    "run what it dropped": (
        "import os, shutil; shutil.copy('/usr/bin/python3.11', '/tmp/t') if os.path.exists('/usr/bin/python3.11') "
        "else shutil.copy('/usr/local/bin/python3.11', '/tmp/t'); os.chmod('/tmp/t', 0o755); os.execv('/tmp/t', ['t'])",
        "Permission denied",
    ),
    "load what it dropped": (
        "import ctypes, glob, shutil; shutil.copy(glob.glob('/lib/x86_64-linux-gnu/libm.so*')[0], '/tmp/l.so'); "
        "ctypes.CDLL('/tmp/l.so')",
        "failed to map segment",
    ),
    "fill /tmp": ("f = open('/tmp/f', 'wb')\nwhile 1: f.write(b'x' * (1 << 20))", "No space left|File too large"),
    "exhaust inodes": (
        "import os\nfor i in range(200000): os.close(os.open(f'/tmp/{i}', os.O_CREAT))",
        "No space left on device",
    ),
    "exhaust descriptors": (
        "import os\nkept = []\nwhile 1: kept.append(os.open('/dev/null', 0))",
        "Too many open files",
    ),
    # One file alone: many would fit. The worker's system call filter, under which these processes are not, allows none.
    "write one file larger than /tmp to the host's disk": (
        "f = open('/run/stopgap/f', 'wb')\nwhile 1: f.write(b'x' * (1 << 20))",
        "File too large",
    ),
    "read other models": ("import os; os.listdir('/run/stopgap/sandboxes')", "No such file or directory"),
    "write kernel settings": ("open('/proc/sys/kernel/core_pattern', 'w')", "Read-only file system|Permission denied"),
    "read its parent's memory": ("open('/proc/1/mem', 'rb')", "Permission denied"),
}


@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_a_break_out_is_refused(stopgap: Program, attempt: str) -> None:
    """The container's own walls; the worker's system call filter, which stands before them, has its tests elsewhere."""
    code, refusal = ATTEMPTS[attempt]
    said = inside(code)
    assert any(part in said for part in refusal.split("|")), said
    assert stopgap.answers("stn")


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("import os; print(os.getuid(), os.getgid(), os.getcwd())", "65534 65534 /"),
        ("print([l for l in open('/proc/self/status') if l.startswith('Cap') and int(l.split()[1], 16)])", "[]"),
        ("print([l.split()[1] for l in open('/proc/self/status') if l.startswith('NoNewPrivs')])", "['1']"),
        ("print([l.split()[1] for l in open('/proc/self/status') if l.startswith('Seccomp:')])", "['2']"),
        ("import resource; print(resource.getrlimit(resource.RLIMIT_CORE))", "(0, 0)"),
        (
            "import os; print([p for p in ('/', '/etc', '/var/tmp', '/home', '/opt', '/dev', '/run', '/usr/lib') "
            "if os.access(p, os.W_OK)])",
            "[]",
        ),
        ("import os; print([p for p in ('/etc/shadow', '/root/.ssh', '/proc/kcore') if os.access(p, os.R_OK)])", "[]"),
        ("import os; print(len([p for p in os.listdir('/proc') if p.isdigit()]) < 8)", "True"),
        (
            "print([n for n in (l.split(':')[0].strip() for l in list(open('/proc/net/dev'))[2:]) "
            "if n[:2] in ('et', 'en', 'do', 'br', 've')])",
            "[]",
        ),
        ("print([line for line in open('/proc/net/unix') if '@' in line])", "[]"),
    ],
)
def test_inside_there_is_nothing_to_use(stopgap: Program, question: str, answer: str) -> None:
    assert stopgap.answers("stn")
    assert inside(question).strip() == answer


def test_a_fork_bomb_stops_at_the_limit(stopgap: Program) -> None:
    said = inside(
        "import os, time\nn = 0\ntry:\n while n < 2000:\n  if os.fork() == 0: time.sleep(2); os._exit(0)\n  n += 1\n"
        "except OSError as error: print(n, error)"
    )
    stopped_at, _, reason = said.partition(" ")
    assert "Resource temporarily unavailable" in reason
    assert int(stopped_at) < Limits(cpus=1).pids
    assert stopgap.answers("stn")


def inside(code: str) -> str:
    """Everything that Python code says inside the sandbox, as the sandbox's own user."""
    command = ["python3.11", "-I", "-c", code]
    execution = api().exec_create(SANDBOX, command, user="65534:65534")
    said: bytes = api().exec_start(execution["Id"])
    return said.decode("utf-8", "replace")
