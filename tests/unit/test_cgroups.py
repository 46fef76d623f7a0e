"""Control groups of both versions: what is written where, in folders that look like theirs; as root the real ones."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from stopgap.engines.bubblewrap_host import find_host, find_mechanism, group_works, scope_works
from stopgap.engines.cgroups import (
    CGROUP_V1,
    CGROUP_V2,
    RLIMITS,
    CgroupV1,
    CgroupV2,
    Hierarchy,
    Limits,
    Mechanism,
    hierarchies,
    keep_to_few_cpus,
    make,
    tasks_of,
    write,
)
from stopgap.engines.mechanisms import mechanism
from stopgap.engines.systemd_scope import SCOPE, Scope, scope_words

GROUP = "stopgap-ranker-0123abcd"
LIMITS = Limits(memory_mib=512, tasks=100, cpus=1.5)
MOUNTINFO = """\
22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
30 22 0:26 / /sys/fs/cgroup ro,nosuid shared:9 - tmpfs tmpfs ro,mode=755
31 30 0:27 / /sys/fs/cgroup/unified rw,nosuid shared:10 - cgroup2 cgroup2 rw,nsdelegate
33 30 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:12 - cgroup cgroup rw,cpu,cpuacct
34 30 0:30 / /sys/fs/cgroup/memory rw,nosuid - cgroup cgroup rw,memory
35 30 0:31 / /mnt/with\\040space rw,nosuid - cgroup cgroup rw,pids
36 30 0:32 / /sys/fs/cgroup/systemd rw,nosuid shared:11 - cgroup cgroup rw,xattr,name=systemd
"""
V2_FILES = ("memory.max", "memory.swap.max", "pids.max", "cpu.max", "cgroup.procs")
V1_FILES = {
    "memory": ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes", "cgroup.procs"),
    "pids": ("pids.max", "cgroup.procs"),
    "cpu": ("cpu.cfs_period_us", "cpu.cfs_quota_us", "cgroup.procs"),
}


@pytest.fixture
def v2(tmp_path: Path) -> Path:
    """A tree of version 2 with the group's folder in it, as the kernel makes them."""
    folder = tmp_path / "stopgap" / GROUP
    folder.mkdir(parents=True)
    for name in V2_FILES:
        (folder / name).touch()
    for above in (tmp_path, tmp_path / "stopgap"):
        (above / "cgroup.controllers").write_text("cpuset cpu io memory pids\n")
        (above / "cgroup.subtree_control").touch()
    return tmp_path


@pytest.fixture
def v1(tmp_path: Path) -> tuple[Hierarchy, ...]:
    """Trees of version 1."""
    for controller, files in V1_FILES.items():
        folder = tmp_path / controller / "stopgap" / GROUP
        folder.mkdir(parents=True)
        for name in files:
            (folder / name).touch()
    return tuple(Hierarchy(tmp_path / controller, frozenset({controller})) for controller in V1_FILES)


def test_the_mounted_trees_are_found(tmp_path: Path) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTINFO)
    found = {str(each.path): each.controllers for each in hierarchies(mounts)}
    assert found["/sys/fs/cgroup/unified"] == frozenset()
    assert {"cpu", "cpuacct"} <= found["/sys/fs/cgroup/cpu,cpuacct"]
    assert "pids" in found["/mnt/with space"]
    assert len(found) == 5


def test_version_2_is_told_the_limits(v2: Path) -> None:
    CgroupV2(GROUP, (Hierarchy(v2, frozenset()),)).prepare(LIMITS)
    written = {name: (v2 / "stopgap" / GROUP / name).read_text() for name in V2_FILES}
    assert written == {
        "memory.max": str(512 << 20),
        "memory.swap.max": "0",
        "pids.max": "100",
        "cpu.max": "150000 100000",
        "cgroup.procs": "",
    }


def test_version_2_hands_the_controllers_down_twice(v2: Path) -> None:
    """To the group above all of ours, and from there to each; a controller that we do not use stays where it is."""
    CgroupV2(GROUP, (Hierarchy(v2, frozenset()),)).prepare(LIMITS)
    for above in (v2, v2 / "stopgap"):
        assert (above / "cgroup.subtree_control").read_text() == "+pids"  # each write is one request; the last remains


def test_version_2_without_controllers_holds_nothing_and_says_so(v2: Path) -> None:
    """As beside version 1, where it is mounted but empty."""
    (v2 / "stopgap" / GROUP / "memory.max").unlink()
    with pytest.raises(FileNotFoundError):
        CgroupV2(GROUP, (Hierarchy(v2, frozenset()),)).prepare(LIMITS)


@pytest.mark.parametrize("wanted", [CgroupV1, CgroupV2])
def test_where_no_tree_is_mounted_nothing_is_held(wanted: type[CgroupV1 | CgroupV2]) -> None:
    with pytest.raises(OSError, match="No such file"):
        wanted(GROUP, ()).prepare(LIMITS)


def test_a_kernel_that_does_not_count_swap_will_do(v2: Path) -> None:
    (v2 / "stopgap" / GROUP / "memory.swap.max").unlink()
    CgroupV2(GROUP, (Hierarchy(v2, frozenset()),)).prepare(LIMITS)
    assert (v2 / "stopgap" / GROUP / "memory.max").read_text() == str(512 << 20)


def test_version_1_is_told_the_limits_in_each_tree(v1: tuple[Hierarchy, ...], tmp_path: Path) -> None:
    CgroupV1(GROUP, v1).prepare(LIMITS)
    written = {
        name: (tmp_path / controller / "stopgap" / GROUP / name).read_text()
        for controller, files in V1_FILES.items()
        for name in files
    }
    assert written == {
        "memory.limit_in_bytes": str(512 << 20),
        "memory.memsw.limit_in_bytes": str(512 << 20),
        "pids.max": "100",
        "cpu.cfs_period_us": "100000",
        "cpu.cfs_quota_us": "150000",
        "cgroup.procs": "",
    }


@pytest.mark.parametrize("missing", ["memory", "pids"])
def test_version_1_must_hold_memory_and_tasks(v1: tuple[Hierarchy, ...], missing: str) -> None:
    trees = tuple(tree for tree in v1 if missing not in tree.controllers)
    with pytest.raises(FileNotFoundError):
        CgroupV1(GROUP, trees).prepare(LIMITS)


def test_a_front_may_use_all_processors(v2: Path) -> None:
    CgroupV2(GROUP, (Hierarchy(v2, frozenset()),)).prepare(LIMITS._replace(cpus=None))
    assert (v2 / "stopgap" / GROUP / "cpu.max").read_text() == ""


def test_a_tiny_share_of_a_processor_is_what_the_kernel_takes(v2: Path) -> None:
    CgroupV2(GROUP, (Hierarchy(v2, frozenset()),)).prepare(LIMITS._replace(cpus=0.001))
    assert (v2 / "stopgap" / GROUP / "cpu.max").read_text() == "1000 100000"


def test_who_enters_is_written_down_in_each_tree(v1: tuple[Hierarchy, ...], tmp_path: Path) -> None:
    CgroupV1(GROUP, v1).enter(LIMITS)
    for controller in V1_FILES:
        assert (tmp_path / controller / "stopgap" / GROUP / "cgroup.procs").read_text() == "0"


def test_memory_in_use_is_without_what_the_kernel_can_drop(v2: Path) -> None:
    folder = v2 / "stopgap" / GROUP
    (folder / "memory.current").write_text(f"{100 << 20}\n")
    (folder / "memory.stat").write_text(f"anon 1\ninactive_file {30 << 20}\nfile 2\n")
    group = CgroupV2(GROUP, (Hierarchy(v2, frozenset()),))
    assert group.memory_mib() == 70
    (folder / "memory.events").write_text("low 0\noom 5\noom_kill 3\noom_group_kill 9\n")
    assert group.kills() == 3


def test_of_a_group_that_is_gone_nothing_is_known() -> None:
    group = CgroupV2(GROUP, ())
    assert group.memory_mib() is None
    assert group.kills() == 0
    assert group.remove()


def test_tasks_of_another_pid_namespace_are_never_signalled(tmp_path: Path) -> None:
    """The kernel calls them 0; a signal to 0 would go to ourselves."""
    (tmp_path / "cgroup.procs").write_text("0\n12\n0\n")
    assert tasks_of(tmp_path) == (12,)


def test_nothing_is_written_to_a_file_that_the_kernel_does_not_offer(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write(tmp_path / "memory.max", 1)
    assert not (tmp_path / "memory.max").exists()


def test_the_group_above_may_vanish_while_one_is_made(tmp_path: Path) -> None:
    """Another container, the last one so far, has just been removed."""
    attempts = []

    def vanishes_at_first(above: Path) -> None:
        attempts.append(above)
        if len(attempts) == 1:
            above.rmdir()

    make(tmp_path / "stopgap" / GROUP, vanishes_at_first)
    assert (tmp_path / "stopgap" / GROUP).is_dir()
    assert len(attempts) == 2


@pytest.mark.parametrize(("cpus", "left"), [(0.5, 1), (1.0, 1), (1.5, 2), (64.0, 2)])
def test_without_a_group_a_container_keeps_to_few_processors(cpus: float, left: int) -> None:
    code = (
        "import os, sys; from stopgap.engines.cgroups import keep_to_few_cpus; "
        f"keep_to_few_cpus({cpus}, 'x'); print(len(os.sched_getaffinity(0)))"
    )
    available = len(os.sched_getaffinity(0))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert int(done.stdout) == min(left, available)


def test_a_front_keeps_to_no_processors() -> None:
    before = os.sched_getaffinity(0)
    keep_to_few_cpus(None, GROUP)
    assert os.sched_getaffinity(0) == before


def test_a_scope_is_asked_for_in_systemds_words() -> None:
    assert scope_words(LIMITS) == (
        "systemd-run",
        "--user",
        "--scope",
        "--quiet",
        "--collect",
        "--property=MemoryMax=512M",
        "--property=MemorySwapMax=0",
        "--property=TasksMax=100",
        "--property=CPUQuota=150%",
    )


def test_two_starts_of_one_container_have_scopes_of_their_own() -> None:
    words = Scope(GROUP, ()).words(LIMITS)
    assert words[-2:] == (f"--unit={GROUP}-{os.getpid()}", "--")


def test_a_scope_is_found_again_by_its_place(tmp_path: Path) -> None:
    scope = Scope(GROUP, (Hierarchy(tmp_path, frozenset()),))
    assert scope.memory_mib() is None
    assert scope.remove()
    folder = tmp_path / "user.slice" / "x.scope"
    folder.mkdir(parents=True)
    (folder / "memory.current").write_text(str(5 << 20))
    assert Scope(GROUP, (Hierarchy(tmp_path, frozenset()),), "/user.slice/x.scope").memory_mib() == 5


def test_where_no_systemd_answers_no_scope_works() -> None:
    nowhere = {"PATH": os.environ["PATH"], "XDG_RUNTIME_DIR": "/nonexistent"}
    assert not scope_works(find_host(), nowhere)


@pytest.mark.parametrize(
    ("name", "kind", "in_group"),
    [(CGROUP_V2, CgroupV2, True), (CGROUP_V1, CgroupV1, True), (SCOPE, Scope, True), (RLIMITS, Mechanism, False)],
)
def test_each_mechanism_has_a_name(name: str, kind: type[Mechanism], in_group: bool) -> None:
    found = mechanism(name, GROUP)
    assert type(found) is kind
    assert found.name == name
    assert found.is_group is in_group


# The real ones.

needs_groups = pytest.mark.skipif(
    not (os.geteuid() == 0 and find_mechanism(find_host()) in (CGROUP_V1, CGROUP_V2)),
    reason="only root makes control groups, and not everywhere",
)


@pytest.fixture
def group() -> Iterator[Mechanism]:
    """A real group, of the version that works here."""
    made = mechanism(find_mechanism(find_host()), f"test-{os.getpid()}")
    made.prepare(Limits(memory_mib=64, tasks=8, cpus=0.5))
    yield made
    assert made.remove()


def started_in(group: Mechanism, code: str) -> subprocess.Popen[bytes]:
    """A Python program, once it is in the group and has said something."""
    limits = Limits(memory_mib=64, tasks=8, cpus=0.5)
    process = subprocess.Popen(
        [sys.executable, "-c", f"print('here', flush=True)\n{code}"],
        stdout=subprocess.PIPE,
        bufsize=0,  # so that no line but the one that is read here is taken out of the pipe
        preexec_fn=lambda: group.enter(limits),  # noqa: PLW1509 - there are no threads here
    )
    assert process.stdout
    assert process.stdout.readline() == b"here\n"
    return process


def ended(process: subprocess.Popen[bytes]) -> tuple[int, str]:
    said, _ = process.communicate(timeout=60)
    return process.returncode, said.decode()


@needs_groups
def test_a_real_group_ends_who_takes_too_much_memory_and_counts_it(group: Mechanism) -> None:
    assert group.kills() == 0
    code, _ = ended(started_in(group, "kept = [bytearray(1 << 20) for _ in range(200)]"))
    assert code == -signal.SIGKILL
    assert group.kills() == 1


@needs_groups
def test_a_real_group_bounds_a_fork_bomb(group: Mechanism) -> None:
    bomb = (
        "import os, time\nn = 0\ntry:\n while n < 100:\n  if os.fork() == 0: time.sleep(1); os._exit(0)\n  n += 1\n"
        "except OSError: print(n)"
    )
    code, said = ended(started_in(group, bomb))
    assert (code, group.kills(), said) == (0, 0, "7\n")


@needs_groups
def test_a_real_group_counts_memory_and_can_be_widened(group: Mechanism) -> None:
    group.widen(256)
    process = started_in(
        group, "import time; kept = [bytearray(1 << 20) for _ in range(100)]; print('all', flush=True); time.sleep(60)"
    )
    assert process.stdout
    assert process.stdout.readline() == b"all\n"
    used = group.memory_mib()
    assert used is not None
    assert 100 < used < 130
    process.kill()
    ended(process)


@needs_groups
def test_a_real_group_is_removed_with_tasks_that_linger(group: Mechanism) -> None:
    ignoring = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
    lingering = [started_in(group, ignoring) for _ in range(3)]
    began = time.monotonic()
    assert group.remove()
    assert time.monotonic() - began < 2
    assert [ended(process)[0] for process in lingering] == [-signal.SIGKILL] * 3
    assert not [found for tree in hierarchies() for found in tree.path.glob(f"stopgap/test-{os.getpid()}")]


@needs_groups
def test_a_mechanism_that_works_is_found_by_trying_and_leaves_nothing_behind() -> None:
    assert group_works(find_mechanism(find_host()))
    assert not [found for tree in hierarchies() for found in tree.path.glob(f"stopgap/trial-{os.getpid()}")]


@needs_groups
def test_what_somebody_left_who_was_killed_while_trying_is_taken_away() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as dead:
        dead.wait()
    parent = next(tree.path for tree in hierarchies() if not tree.controllers or "pids" in tree.controllers) / "stopgap"
    old, living, young = (parent / f"trial-{pid}" for pid in (dead.pid, os.getppid(), 2**22 + 1))
    for group in (old, living, young):
        group.mkdir(parents=True)
    for group in (old, living):
        os.utime(group, (0, 0))
    try:
        find_mechanism(find_host())
        assert [group for group in (old, living, young) if group.exists()] == [living, young]
    finally:
        for group in (old, living, young):
            if group.exists():
                group.rmdir()
