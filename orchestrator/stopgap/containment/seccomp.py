"""The system calls that an engine lets through for everything in a container, as the profile that Docker takes: pure.

Bubblewrap takes the program that libseccomp makes of the same profile, as Docker's and Podman's own runtimes do.

A list of what may be done, by purpose, and not Docker's own default with some of it taken out: that default differs
between Docker's releases (io_uring left it with Docker 25; in 20.10's, sockets to a hypervisor may be made, AF_VSOCK,
which the network mode none does not cover; ptrace is in it from Linux 4.8 on), and it has to carry every program there
is. What runs here is known: a Python that loads TensorFlow, and Envoy. That both work under it is what every test with
a container shows.

It is the outer of two lists. A worker's own, in the runtime, is much shorter, since it is put on when all that a start
needs is done. In neither: io_uring, ptrace and process_vm_*, userfaultfd, bpf, perf events, keyrings, mounts,
namespaces, modules, clocks, and every way to make a link or a device: a sandbox can put nothing in the place of its
socket that the front would follow to another's.
"""

from __future__ import annotations

import errno
import json
import socket
from collections.abc import Iterable, Sequence
from typing import Any

__all__ = ["AF_VSOCK", "FRONT", "SANDBOX", "SANDBOX_IN_GVISOR", "Profile", "families", "from_root_to", "profile"]

Profile = dict[str, Any]

AF_VSOCK = 40  # to the hypervisor: `socket.AF_VSOCK`, where Python was built with it

EVERYONES: dict[str, tuple[str, ...]] = {
    "reading": (
        *("access", "faccessat", "faccessat2", "stat", "fstat", "lstat", "newfstatat", "statx", "statfs", "fstatfs"),
        *("open", "openat", "close", "close_range", "read", "pread64", "readv", "preadv", "preadv2", "readahead"),
        *("lseek", "getdents", "getdents64", "readlink", "readlinkat", "getcwd", "chdir", "fchdir", "fadvise64"),
        *("fcntl", "flock", "dup", "dup2", "dup3", "ioctl", "umask"),
    ),
    "writing": (
        *("write", "pwrite64", "writev", "pwritev", "pwritev2", "ftruncate", "fallocate", "fsync", "fdatasync"),
        *("creat", "rename", "renameat", "renameat2", "unlink", "unlinkat", "mkdir", "mkdirat", "rmdir"),
        *("chmod", "fchmod", "fchmodat", "utimensat", "sendfile", "copy_file_range"),
    ),
    "memory": (
        *("brk", "mmap", "munmap", "mremap", "mprotect", "madvise", "mincore", "msync", "membarrier"),
        *("mlock", "mlock2", "munlock", "mlockall", "munlockall"),
    ),
    "processes": (
        *("execve", "fork", "vfork", "exit", "exit_group", "wait4", "waitid", "getpid", "getppid", "gettid"),
        *("getpgid", "getpgrp", "setpgid", "getsid", "setsid", "getpriority", "setpriority", "prctl", "arch_prctl"),
        *("getrlimit", "setrlimit", "prlimit64", "getrusage", "times", "seccomp", "capget"),
        *("getuid", "geteuid", "getgid", "getegid", "getgroups", "getresuid", "getresgid"),
    ),
    "threads": (
        *("futex", "futex_waitv", "set_robust_list", "get_robust_list", "set_tid_address", "rseq", "getcpu"),
        *("sched_yield", "sched_getaffinity", "sched_setaffinity", "sched_getparam", "sched_getscheduler"),
        *("sched_get_priority_min", "sched_get_priority_max", "sched_getattr"),
    ),
    "signals": (
        *("rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "rt_sigpending", "rt_sigsuspend", "rt_sigtimedwait"),
        *("sigaltstack", "kill", "tkill", "tgkill", "pause", "restart_syscall"),
    ),
    "time": (
        *("clock_gettime", "clock_getres", "clock_nanosleep", "nanosleep", "gettimeofday", "time"),
        *("setitimer", "getitimer", "timer_create", "timer_settime", "timer_gettime", "timer_delete"),
        *("timerfd_create", "timerfd_settime", "timerfd_gettime"),
    ),
    "waiting": (
        *("poll", "ppoll", "select", "pselect6", "pipe", "pipe2", "eventfd", "eventfd2", "signalfd4"),
        *("epoll_create", "epoll_create1", "epoll_ctl", "epoll_wait", "epoll_pwait", "epoll_pwait2"),
    ),
    "sockets": (
        *("bind", "listen", "accept", "accept4", "getsockname", "getpeername", "getsockopt", "setsockopt"),
        *("sendto", "sendmsg", "recvfrom", "recvmsg", "shutdown"),
    ),
    "the machine": ("uname", "sysinfo", "getrandom"),
}

# Envoy connects to workers, and takes note when its files are replaced.
ENVOYS = ("connect", "sendmmsg", "recvmmsg", "inotify_init1", "inotify_add_watch", "inotify_rm_watch")

# The runtime's parent shares memory with workers that are programs of their own.
RUNTIMES = ("memfd_create",)

# By it one worker takes long slices; who has no capability can only make way. What it asks for lies in memory, where
# nobody can look. gVisor does not know it.
MAKING_WAY = ("sched_setattr",)

# gVisor, which knows the calls by names of its own, has another for pselect6.
GVISORS = ("pselect",)

SANDBOX_FAMILIES = (socket.AF_UNIX,)
FRONT_FAMILIES = (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK)  # the last tells of interfaces

# The one policy that sched_setscheduler may be asked for, which makes way for all others.
SCHED_IDLE = 5
# What clone must not be asked for: namespaces of any kind.
NAMESPACE_FLAGS = 0x7E020000
# The C library falls back to the older call when these do not exist; their flags lie in memory, where nobody can look.
UNKNOWN = ("clone3", "openat2")


def profile(names: Iterable[str], socket_families: Iterable[int]) -> Profile:
    """A profile in the form that Docker and Podman read.

    Of one architecture alone: whoever calls the kernel in the way of 32-bit programs is ended.
    """
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [
            allowed(*names),
            allowed("clone", where=[compared(0, "SCMP_CMP_MASKED_EQ", NAMESPACE_FLAGS)]),
            allowed("sched_setscheduler", where=[equal(1, SCHED_IDLE)]),
            *(allowed("socket", "socketpair", where=[equal(0, int(family))]) for family in socket_families),
            {"names": [*UNKNOWN], "action": "SCMP_ACT_ERRNO", "errnoRet": errno.ENOSYS},
        ],
    }


def allowed(*names: str, where: Sequence[Profile] = ()) -> Profile:
    """Where all of these hold of the arguments."""
    return {"names": [*names], "action": "SCMP_ACT_ALLOW", **({"args": [*where]} if where else {})}


def equal(argument: int, value: int) -> Profile:
    return compared(argument, "SCMP_CMP_EQ", value)


def compared(argument: int, comparison: str, value: int) -> Profile:
    """With a mask, the two values are the mask and what is to be left; else the second means nothing."""
    return {"index": argument, "value": value, "valueTwo": 0, "op": comparison}


def from_root_to(uid: int, held: str) -> str:
    """The same for what begins as root behind it, with the calls by which setpriv gives up all rights but these.

    Whoever has become that user gains nothing by them: it can become nobody else, and a set of capabilities that has
    none can only be set to none.
    """
    wanted = json.loads(held)
    only = [equal(argument, uid) for argument in range(3)]
    more = (allowed("setresuid", "setresgid", where=only), allowed("setgroups", where=[equal(0, 0)]), allowed("capset"))
    return json.dumps({**wanted, "syscalls": [*wanted["syscalls"], *more]})


def families(held: Profile) -> set[int]:
    """Of the sockets that a profile lets be made."""
    rules = (rule for rule in held["syscalls"] if "socket" in rule["names"])
    return {argument["value"] for rule in rules for argument in rule["args"]}


def everyones() -> tuple[str, ...]:
    return tuple(name for names in EVERYONES.values() for name in names)


SANDBOX = json.dumps(profile((*everyones(), *RUNTIMES, *MAKING_WAY), SANDBOX_FAMILIES))
SANDBOX_IN_GVISOR = json.dumps(profile((*everyones(), *RUNTIMES, *GVISORS), SANDBOX_FAMILIES))
FRONT = json.dumps(profile((*everyones(), *ENVOYS), FRONT_FAMILIES))
