"""The table of promises is what people read, what engines are told, and what is so inside of bubblewrap's walls."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from stopgap.containment import bubblewrap, docker
from stopgap.containment.descriptors import GATE, INFO
from stopgap.containment.promises import LIMITS, LIVES, WALLS, Held, Limit, Promise
from stopgap.containment.specs import ContainerSpec, FrontSpec, SandboxSpec
from stopgap.engines.bubblewrap_host import find_host
from stopgap.engines.cgroups import CgroupV1, CgroupV2, Hierarchy
from stopgap.engines.cgroups import Limits as GroupLimits
from stopgap.engines.libseccomp import filter_of
from stopgap.engines.systemd_scope import scope_words
from stopgap.interpreter import Interpreter
from stopgap.isolations import GVISOR
from stopgap.models import Model
from stopgap.settings import Address, Limits, Timeouts

from tools.containment_page import rows

SOMEBODY = 54321  # a uid of no account's
SOME_GROUP = 54322
TIMEOUT_S = 60
UNTOUCHED = "untouched"


def sandbox_of(folder: Path) -> SandboxSpec:
    return SandboxSpec(
        name="promised",
        image=str(folder / "root"),
        state=folder / "state",
        model=Model(folder / "model", 1),
        sockets=folder / "sockets",
        limits=Limits(cpus=1),
        timeouts=Timeouts(),
        tags=("serve",),
        op_libraries=(),
        max_message_mib=128,
    )


def front_of(folder: Path) -> FrontSpec:
    return FrontSpec(Address(), str(folder / "root"), folder / "state", folder, True, 128)


SANDBOX, FRONT = sandbox_of(Path("/somewhere")), front_of(Path("/somewhere"))
PYTHON = Interpreter(Path("/usr/bin/python3.11"), Path("/usr"), "3.11.2")
TOOLS = bubblewrap.Tools(*(Path("/usr/bin", name) for name in ("bwrap", "setpriv", "prlimit", "sh")))
HOSTS = {
    who: bubblewrap.Host(privileged=who == "root", tools=TOOLS, links={"/lib": "usr/lib"}, folders=(), ceilings={})
    for who in ("root", "user")
}
GROUP = "promised"
GROUP_LIMITS = GroupLimits(memory_mib=2048, tasks=100, cpus=1.5)


def command_line(
    spec: ContainerSpec, host: bubblewrap.Host, *, held: bool = True, program: Sequence[str] = ()
) -> list[str]:
    """The whole of it; `program` in place of the container's own."""
    made = bubblewrap.arguments(spec, host, PYTHON)
    rlimits = made.rlimits if held else {**made.rlimits, **made.stand_ins}
    return [*made.before, *(f"--{name}={limit}" for name, limit in rlimits.items()), *(program or made.program)]


def says(command: Sequence[str], told: Sequence[str]) -> bool:
    """Whether the words of `told` stand in it one beside the other; `*` is anything."""
    places = range(len(command) - len(told) + 1)
    return any(all(map(fnmatchcase, command[place : place + len(told)], told)) for place in places)


@dataclass(frozen=True)
class Cell:
    """An answer that says what is told, and to start which container.

    Attributes:
        way: Its column in the table.
    """

    row: Promise | Limit
    way: str
    told: tuple[str, ...]
    spec: ContainerSpec

    def __str__(self) -> str:
        return f"{self.row.what}, {self.way}, {'front' if self.spec is FRONT else 'sandbox'}"


def cells(table: Sequence[Promise | Limit], *ways: str) -> list[Cell]:
    """Of a front as well, unless its row says what is otherwise there."""
    answers = [(row, way, getattr(row, way)) for row in table for way in ways]
    return [
        Cell(row, way, answer.told, spec)
        for row, way, answer in answers
        for spec in (SANDBOX, FRONT)
        if isinstance(answer, Held) and answer.told and not (row.front and spec is FRONT)
    ]


# What people read.


def test_no_row_is_there_twice_and_no_answer_is_empty() -> None:
    names = [row.what for row in rows()]
    assert len(set(names)) == len(names)
    answers = [value for row in rows() for way, value in vars(row).items() if way not in {"what", "front"}]
    assert all(answer.by if isinstance(answer, Held) else answer.but for answer in answers if answer)


# What engines are told.


@pytest.mark.parametrize("cell", cells(rows(), "docker"), ids=str)
def test_docker_is_told(cell: Cell) -> None:
    made = docker.arguments(cell.spec)
    assert {*cell.told} <= {**made.create, **made.host}.keys()


@pytest.mark.parametrize("cell", [cell for cell in cells(rows(), "gvisor") if cell.spec is SANDBOX], ids=str)
def test_docker_is_told_of_gvisor(cell: Cell) -> None:
    made = docker.arguments(replace(SANDBOX, isolation=GVISOR))
    assert {*cell.told} <= {**made.create, **made.host}.keys()


@pytest.mark.parametrize("cell", cells((*WALLS, *LIVES), "root", "user"), ids=str)
def test_bubblewrap_is_told(cell: Cell) -> None:
    assert says(command_line(cell.spec, HOSTS[cell.way]), cell.told)


@pytest.mark.parametrize("who", HOSTS)
@pytest.mark.parametrize("cell", cells(LIMITS, "rlimits"), ids=str)
def test_without_a_group_each_process_is_told(cell: Cell, who: str) -> None:
    assert says(command_line(cell.spec, HOSTS[who], held=False), cell.told)
    assert not says(command_line(cell.spec, HOSTS[who], held=True), cell.told)


@pytest.mark.parametrize("cell", cells(LIMITS, "scope"), ids=str)
def test_systemd_is_told(cell: Cell) -> None:
    assert says(scope_words(GROUP_LIMITS), cell.told)


@pytest.mark.parametrize("cell", cells(LIMITS, "groups"), ids=str)
def test_control_groups_are_told(cell: Cell, tmp_path: Path) -> None:
    """Of either version: in a folder that looks like a tree of them, since a machine has but one of the two."""
    files = {file for each in cells(LIMITS, "groups") for file in each.told}
    first, second = (pretended_tree(tmp_path / name, files) for name in ("1", "2"))
    CgroupV1(GROUP, (Hierarchy(first, frozenset({"memory", "pids", "cpu"})),)).prepare(GROUP_LIMITS)
    CgroupV2(GROUP, (Hierarchy(second, frozenset()),)).prepare(GROUP_LIMITS)
    for tree, file in zip((first, second), cell.told):
        assert (tree / "stopgap" / GROUP / file).read_text() != UNTOUCHED


def pretended_tree(tree: Path, files: Iterable[str]) -> Path:
    """With a group in it that has these files."""
    folder = tree / "stopgap" / GROUP
    folder.mkdir(parents=True)
    for file in (*files, "cpu.cfs_period_us"):
        (folder / file).write_text(UNTOUCHED)
    for above in (tree, tree / "stopgap"):
        (above / "cgroup.controllers").touch()
    return tree


# What is so, tried out from inside. Each expression says whether the wall stands; where the table promises nothing, it
# must not, or the table would be too modest.

PRELUDE = """
import ctypes, json, os, resource, shutil, socket, subprocess, sys

OUTSIDE = json.loads(sys.argv[1])
libc = ctypes.CDLL(None, use_errno=True)
fields = dict(line.split(":\\t", 1) for line in open("/proc/self/status").read().splitlines() if ":\\t" in line)
mounts = [line.split(" - ")[0].split() for line in open("/proc/self/mountinfo")]
writable = {fields[4] for fields in mounts if "rw" in fields[5].split(",")}

def refused(attempt):
    try:
        attempt()
    except OSError:
        return True
    return False

def call(*arguments):
    if libc.syscall(*arguments) < 0:
        raise OSError(ctypes.get_errno(), "refused")

def in_a_child(attempt):
    pid = os.fork()
    if pid == 0:
        os._exit(refused(attempt))
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1

def create(path):
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT))

def fill():
    for number in range(4):
        with open(f"/tmp/full{number}", "wb", buffering=0) as file:
            for _ in range(8):
                file.write(bytes(1 << 20))

def run_from_tmp():
    shutil.copy("/usr/bin/true", "/tmp/program")
    os.chmod("/tmp/program", 0o755)
    subprocess.run(["/tmp/program"], check=True)

def emptied(attempt):
    try:
        return refused(attempt)
    finally:
        for name in os.listdir("/tmp"):
            os.unlink(f"/tmp/{name}")

def own(namespace):
    return os.readlink(f"/proc/self/ns/{namespace}") != OUTSIDE[namespace]

def limit(name):
    return list(resource.getrlimit(getattr(resource, f"RLIMIT_{name}")))
"""

TRIED = {
    "It has no network": "[line.split(':')[0].strip() for line in open('/proc/net/dev') if ':' in line] == ['lo'] "
    "and refused(lambda: socket.create_connection(('192.0.2.1', 80), 3))",
    "Its root is read-only": "all(refused(lambda: create(path)) for path in "
    "('/x', '/etc/x', '/usr/x', '/dev/x', '/opt/x', '/opt/stopgap/app/x'))",
    "It can write to no folder of the host's": "{path for path in writable if os.path.isdir(path)} "
    "== {'/tmp', '/proc'}",
    "It can put nothing in its socket's place that would lead the front elsewhere": "not os.path.exists('/run') "
    "and not [name for name in os.listdir('/tmp') if name.endswith('.sock')]",
    "It makes no sockets but such as stay within it": "all(refused(lambda: socket.socket(family).close()) "
    "for family in range(64) if family != socket.AF_UNIX)",
    "It cannot change its model": "refused(lambda: create('/model/x')) and refused(lambda: os.unlink('/model/file')) "
    "and refused(lambda: os.chmod('/model/file', 0o777))",
    "It can run nothing from /tmp": "emptied(run_from_tmp)",
    "Bytes in /tmp are limited": "emptied(fill)",
    "Files in /tmp are limited": "emptied(lambda: [create(f'/tmp/{number}') for number in range(2000)])",
    "No file can outgrow /tmp": "limit('FSIZE') == [OUTSIDE['tmp']] * 2",
    "Open files are limited": "limit('NOFILE') == [OUTSIDE['open files']] * 2",
    "It dumps no core": "limit('CORE') == [0, 0]",
    "It has no capabilities": "all(int(value, 16) == 0 for name, value in fields.items() if name.startswith('Cap'))",
    "It gains no privileges": "fields['NoNewPrivs'] == '1' and all('nosuid' in mount[5] for mount in mounts)",
    "To the kernel it is nobody in particular": "os.getuid() == 65534 "
    "and open('/proc/self/uid_map').read().split() == ['0', '0', '4294967295']",
    "It is in no other groups": "os.getgroups() == []",
    "It sees no other processes": "[name for name in os.listdir('/proc') if name.isdigit()] == ['1', '2']",
    "It shares no memory and no queues with others": "own('ipc') and not os.path.exists('/dev/shm') "
    "and not os.path.exists('/dev/mqueue')",
    "It neither knows nor changes the host's name": "own('uts') and socket.gethostname() == 'sandbox' "
    "and refused(lambda: socket.sethostname('x'))",
    "It sees no control groups but its own": "own('cgroup') and not os.path.exists('/sys') "
    "and all(line.rstrip().endswith(':/') for line in open('/proc/self/cgroup'))",
    "It can make no user namespaces": "in_a_child(lambda: call(272, 0x10000000))",
    "System calls are filtered for all that is inside": "fields['Seccomp'] != '0'",
    "Its system calls reach another kernel than the host's": "os.uname().release != OUTSIDE['release']",
    "Nothing of the host's environment gets in": r"open('/proc/self/environ').read() == 'PWD=/\0'",
    "It has no devices but those that every program needs": "sorted(os.listdir('/dev')) == "
    "['full', 'null', 'random', 'urandom', 'zero'] and refused(lambda: os.mknod('/tmp/d', 0o60666, os.makedev(8, 0)))",
    "It can type into no terminal": "os.getsid(0) == 1 and refused(lambda: os.open('/dev/tty', os.O_RDWR))",
    "It sees nothing of the host's /etc, /home, /root, /run and /var": "os.listdir('/etc') == ['ld.so.cache'] "
    "and not {'home', 'root', 'run', 'var', 'srv', 'mnt', 'boot'} & set(os.listdir('/'))",
    "It sees no programs of the host's": "not os.path.exists('/usr/bin/env')",
    "It reaches no keys in the kernel's keyrings": "refused(lambda: call(250, 0, -3, 0))",
    "It changes no settings of the kernel's": "all(refused(lambda: create(f'/proc/sys/{name}')) for name in "
    "('kernel/core_pattern', 'kernel/hostname', 'vm/overcommit_memory', 'user/max_user_namespaces'))",
}

TRIED_ELSEWHERE = {
    "Who reads models and requests can start no program and no process, make no socket, write no file, signal nobody",
    "Who reads models and requests cannot look into the runtime's parent",
    "Who reads models and requests cannot tell what the runtime's parent has where, in memory or open",
}


def test_every_wall_is_tried() -> None:
    """Three by tests/runtime/test_kernel.py, since they are the runtime's and not the engine's."""
    assert {row.what for row in WALLS} == TRIED.keys() | TRIED_ELSEWHERE


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Where everybody gets to, unlike pytest's own."""
    with tempfile.TemporaryDirectory(prefix="promised-") as name:
        path = Path(name)
        for below in ("root/app", "root/bundle", "model"):
            (path / below).mkdir(parents=True)
        (path / "model" / "file").touch()
        (path / "gate").write_bytes(b"\n\n")
        for each in (path, *path.rglob("*")):
            each.chmod(0o755 if each.is_dir() else 0o666)
        yield path


def inside(
    folder: Path, code: str, *words: str, privileged: bool, held: bool = True
) -> subprocess.CompletedProcess[str]:
    """Runs Python code in the place of the runtime, behind exactly the walls that the engine would build."""
    program = (str(PYTHON.executable), "-I", "-S", "-c", code, *words)
    host = replace(find_host(), privileged=privileged)
    command = command_line(sandbox_of(folder), host, held=held, program=program)
    profile = bubblewrap.arguments(sandbox_of(folder), host, PYTHON).profile
    # What bwrap tells goes nowhere, and who waits at the gate finds it open.
    opened = f'exec "$@" {INFO}>/dev/null {GATE}<>{folder / "gate"}'
    as_somebody = os.geteuid() == 0 and not privileged
    with filter_of(profile) as filter_at:
        command[command.index("--seccomp") + 1] = str(filter_at)
        return subprocess.run(
            ["sh", "-c", opened, "sh", *command],
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=TIMEOUT_S,
            user=SOMEBODY if as_somebody else None,
            group=SOMEBODY if as_somebody else None,
            extra_groups=[SOME_GROUP] if as_somebody else None,
            pass_fds=(filter_at,),
        )


@pytest.fixture(scope="module", params=["root", "user"])
def found(request: pytest.FixtureRequest, folder: Path) -> tuple[str, Mapping[str, bool]]:
    """Who runs it, and of each wall whether it stands."""
    if request.param == "root" and os.geteuid() != 0:
        pytest.skip("root's sandboxes are tried by root alone")
    limits = sandbox_of(folder).limits
    outside = {
        **{name: str(Path(f"/proc/self/ns/{name}").readlink()) for name in ("ipc", "uts", "cgroup")},
        "release": os.uname().release,
        "tmp": limits.tmp_mib << 20,
        "open files": limits.open_files,
    }
    lines = [f"    {what!r}: {expression}," for what, expression in TRIED.items()]
    code = "\n".join([PRELUDE, "print(json.dumps({", *lines, "}))"])
    done = inside(folder, code, json.dumps(outside), privileged=request.param == "root")
    assert (done.returncode, done.stderr) == (0, "")
    return request.param, json.loads(done.stdout.splitlines()[-1])


@pytest.mark.bubblewrap
@pytest.mark.parametrize("what", TRIED)
def test_inside_it_is_as_the_table_says(found: tuple[str, Mapping[str, bool]], what: str) -> None:
    who, stands = found
    (row,) = (row for row in WALLS if row.what == what)
    assert stands[what] == isinstance(getattr(row, who), Held)


BEYOND = """
import mmap, sys
limit = int(sys.argv[1])
try:
    bytearray(limit + (1 << 20))
    print("own: allowed")
except MemoryError:
    print("own: refused")
shared = mmap.mmap(-1, limit + (1 << 20))
shared[limit] = 1
print("shared: allowed")
"""


@pytest.mark.bubblewrap
def test_what_rlimits_do_not_hold_is_not_promised(folder: Path) -> None:
    limit = sandbox_of(folder).limits.memory_mib << 20
    done = inside(folder, BEYOND, str(limit), privileged=os.geteuid() == 0, held=False)
    assert done.stdout.splitlines() == ["own: refused", "shared: allowed"]
    (memory,) = (row for row in LIMITS if row.what == "Memory")
    assert not isinstance(memory.rlimits, Held)
