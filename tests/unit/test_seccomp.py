"""The profile of system calls that engines get: what is in it, and that it takes nothing from a worker's own list."""

from __future__ import annotations

import errno
import json
import socket
from dataclasses import replace
from typing import Any

import pytest
from stopgap.containment import seccomp
from stopgap.containment.docker import SECCOMP, arguments
from stopgap.containment.specs import FrontSpec, SandboxSpec
from stopgap.isolations import GVISOR
from stopgap_runtime import kernel

from tests.unit.test_containment import FRONT, SANDBOX

# What runc's, Docker's or a kernel's history knows as a way out, and nothing here needs.
DANGEROUS = frozenset(
    {
        *("io_uring_setup", "io_uring_enter", "io_uring_register", "userfaultfd", "bpf", "perf_event_open"),
        *("ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "pidfd_getfd", "kcmp"),
        *("keyctl", "add_key", "request_key", "mount", "umount2", "move_mount", "open_tree", "fsopen", "pivot_root"),
        *("unshare", "setns", "chroot", "init_module", "finit_module", "kexec_load", "reboot", "swapon"),
        *("clock_settime", "settimeofday", "adjtimex", "clock_adjtime", "syslog", "acct", "iopl", "ioperm"),
        *("personality", "modify_ldt", "memfd_secret", "execveat", "open_by_handle_at"),
        *("name_to_handle_at", "vmsplice", "splice", "shmget", "msgget", "semget", "mq_open", "quotactl"),
        *("symlink", "symlinkat", "link", "linkat", "mknod", "mknodat", "setuid", "setgid", "setgroups", "capset"),
    }
)

both = pytest.mark.parametrize("spec", [SANDBOX, FRONT], ids=["sandbox", "front"])


def profile_of(spec: SandboxSpec | FrontSpec) -> dict[str, Any]:
    """The one that Docker is given."""
    new_privileges, given = arguments(spec).host["security_opt"]
    assert new_privileges == "no-new-privileges:true"
    assert given.startswith(SECCOMP)
    profile: dict[str, Any] = json.loads(given[len(SECCOMP) :])
    return profile


def let_through(profile: dict[str, Any]) -> set[str]:
    return {name for rule in profile["syscalls"] if rule["action"] == "SCMP_ACT_ALLOW" for name in rule["names"]}


@both
def test_what_is_not_named_is_refused(spec: SandboxSpec | FrontSpec) -> None:
    profile = profile_of(spec)
    assert profile["defaultAction"] == "SCMP_ACT_ERRNO"
    assert profile["architectures"] == ["SCMP_ARCH_X86_64"]
    assert let_through(profile) & DANGEROUS == set()


@both
def test_nothing_is_named_twice(spec: SandboxSpec | FrontSpec) -> None:
    plain = [name for rule in profile_of(spec)["syscalls"] if "args" not in rule for name in rule["names"]]
    assert len(plain) == len(set(plain))


def test_a_worker_has_all_that_its_own_list_allows() -> None:
    judged = {"open", "openat", "ioctl", "fcntl", "clone", "tgkill", "prlimit64"}
    assert {*kernel.ALLOWED, *judged} - let_through(profile_of(SANDBOX)) == set()


@pytest.mark.parametrize(
    ("spec", "families"),
    [
        (SANDBOX, {socket.AF_UNIX}),
        (FRONT, {socket.AF_UNIX, socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK}),
    ],
    ids=["sandbox", "front"],
)
def test_sockets_are_of_few_families(spec: SandboxSpec | FrontSpec, families: set[int]) -> None:
    assert seccomp.families(profile_of(spec)) == families
    assert seccomp.AF_VSOCK not in families


def test_only_a_sandbox_shares_memory_by_descriptor() -> None:
    assert "memfd_create" in let_through(profile_of(SANDBOX))
    assert "memfd_create" not in let_through(profile_of(FRONT))


def test_only_a_front_connects() -> None:
    assert "connect" not in let_through(profile_of(SANDBOX))
    assert "connect" in let_through(profile_of(FRONT))


@both
def test_no_namespace_is_made_by_clone(spec: SandboxSpec | FrontSpec) -> None:
    (clone,) = (rule for rule in profile_of(spec)["syscalls"] if rule["names"] == ["clone"])
    new_namespaces = 0x00020000 | 0x02000000 | 0x04000000 | 0x08000000 | 0x10000000 | 0x20000000 | 0x40000000
    assert clone["args"] == [{"index": 0, "value": new_namespaces, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}]


@both
def test_the_c_library_finds_its_way_around_what_a_filter_cannot_judge(spec: SandboxSpec | FrontSpec) -> None:
    (unknown,) = (rule for rule in profile_of(spec)["syscalls"] if rule["action"] == "SCMP_ACT_ERRNO")
    assert unknown == {"names": ["clone3", "openat2"], "action": "SCMP_ACT_ERRNO", "errnoRet": errno.ENOSYS}


def test_behind_gvisor_it_is_the_same_but_for_a_name() -> None:
    behind_it = profile_of(replace(SANDBOX, isolation=GVISOR))
    assert let_through(behind_it) - let_through(profile_of(SANDBOX)) == {"pselect"}
    assert behind_it["syscalls"][1:] == profile_of(SANDBOX)["syscalls"][1:]
