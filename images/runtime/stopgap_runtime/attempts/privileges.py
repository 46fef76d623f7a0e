"""Ways to rights: namespaces, mounts, capabilities, other users, higher limits."""

from __future__ import annotations

import errno
import os
import resource
import socket
import stat
import struct
import time
from functools import partial
from pathlib import Path
from typing import Final

from .. import kernel
from .attempt import NOT_THERE, SHUT, Attempt, nothing_in
from .processes import cloned, cloned_anew

__all__ = ["PRIVILEGES"]

_NO_SUCH_USER: Final = SHUT | {errno.EINVAL}  # in a user namespace there is no uid 0 at all
_CLONE_NEWNS, _CLONE_NEWUSER, _CLONE_NEWNET = 0x00020000, 0x10000000, 0x40000000
_MNT_EXPIRE: Final = 4  # the first time it only marks what it would unmount
_OPEN_TREE_CLONE: Final = 1
_AT_FDCWD: Final = -100


def _own_namespace_entered() -> None:
    kernel.call(308, os.open("/proc/self/ns/net", os.O_RDONLY), 0)


def _status(*names: str) -> list[tuple[str, str]]:
    """Those lines of each of this process's tasks."""
    found = []
    for task in Path("/proc/self/task").iterdir():
        for line in (task / "status").read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name in names:
                found.append((name, value.strip()))
    return found


def _capabilities() -> str:
    told = _status("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
    return nothing_in(f"{name} {value}" for name, value in told if int(value, 16))


def _without_no_new_privs() -> str:
    return nothing_in(value for _, value in _status("NoNewPrivs") if value != "1")


def _without_filter() -> str:
    told = _status("Seccomp")
    return nothing_in(value for _, value in told if value != "2")


def _somebody() -> str:
    mapped = Path("/proc/self/uid_map").read_text(encoding="ascii").split()
    found = [f"uid {os.getuid()}"] if os.getuid() != 65534 else []
    return nothing_in([*found, *(["a uid of its own to itself alone"] if mapped[2] != str(2**32 - 1) else [])])


PRIVILEGES: Final = (
    Attempt(
        "user_namespaces",
        lambda _: {
            "unshare": lambda: kernel.call(272, _CLONE_NEWUSER),
            "clone": lambda: cloned(_CLONE_NEWUSER),
            "clone3": lambda: cloned_anew(_CLONE_NEWUSER),
        },
        SHUT | {errno.ENOSPC, errno.EUSERS},  # as many as there may be, which is none
    ),
    Attempt(
        "other_namespaces",
        lambda _: {
            "unshare of mounts": lambda: kernel.call(272, _CLONE_NEWNS),
            "unshare of the network": lambda: kernel.call(272, _CLONE_NEWNET),
            "setns": _own_namespace_entered,
        },
        SHUT | {errno.EOPNOTSUPP},
    ),
    Attempt(
        "mounts",
        lambda _: {
            "mount": lambda: kernel.call(165, b"none", b"/tmp", b"stopgap-none", 0, 0),
            "umount2": lambda: kernel.call(166, b"/tmp", _MNT_EXPIRE),
            "pivot_root": lambda: kernel.call(155, b"/", b"/"),
            "open_tree": lambda: kernel.call(428, _AT_FDCWD, b"/", _OPEN_TREE_CLONE),
            "fsopen": lambda: kernel.call(430, b"tmpfs", 0),
            "chroot": lambda: os.chroot("/"),
        },
    ),
    Attempt(
        "identity",
        lambda _: {
            "setuid": lambda: os.setuid(0),
            "setresuid": lambda: os.setresuid(0, 0, 0),
            "setgid": lambda: os.setgid(0),
            "setgroups": lambda: os.setgroups([0]),
            "capset": lambda: kernel.call(126, struct.pack("II", 0x20080522, 0), struct.pack("6I", 1, 1, 0, 0, 0, 0)),
        },
        _NO_SUCH_USER,
    ),
    Attempt("capabilities", lambda _: {"left": _capabilities}),
    Attempt("new_privileges", lambda _: {"NoNewPrivs": _without_no_new_privs}),
    Attempt("filter", lambda _: {"Seccomp": _without_filter}),
    Attempt("own_uid", lambda _: {"to the kernel": _somebody}),
    Attempt("groups", lambda _: {"groups": lambda: nothing_in(group for group in os.getgroups() if group != 65534)}),
    Attempt(
        "privileged_calls",
        lambda scene: {
            "clock_settime": _clock_set,
            "init_module": lambda: kernel.call(175, b"", 0, b""),
            "finit_module": lambda: kernel.call(313, -1, b"", 0),
            "kexec_load": lambda: kernel.call(246, 0, 0, 0, 0x8000),
            "reboot": lambda: kernel.call(169, 0, 0, 0, 0),
            "swapon": lambda: kernel.call(167, b"/nonexistent", 0),
            "iopl": lambda: kernel.call(172, 3),
            "ioperm": lambda: kernel.call(173, 0x80, 1, 1),
            "open_by_handle_at": lambda: kernel.call(304, _AT_FDCWD, struct.pack("Ii8x", 8, 1), 0),
            "mknod": lambda: os.mknod(f"/tmp/{scene.unused}", stat.S_IFBLK | 0o600, os.makedev(8, 0)),  # noqa: S108
            "sched_setscheduler": lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1)),
        },
    ),
    Attempt("hostname", lambda _: {"sethostname": lambda: socket.sethostname(socket.gethostname())}),
    Attempt(
        "higher_limits",
        lambda _: {
            name: partial(_raise_limit, number)
            for name, number in (("nofile", resource.RLIMIT_NOFILE), ("fsize", resource.RLIMIT_FSIZE))
        },
    ),
    Attempt("cores", lambda _: {"a limit": _cores}),
    Attempt("oom_score", lambda _: {"lowered": _lower_oom_score}, NOT_THERE),
)


def _clock_set() -> None:
    """To what it is."""
    kernel.call(227, time.CLOCK_REALTIME, struct.pack("qq", *divmod(time.time_ns(), 10**9)))


def _raise_limit(number: int) -> None:
    """Where there is none, anybody may ask for that again: then it was not refused."""
    _, hard = resource.getrlimit(number)
    higher = hard if hard == resource.RLIM_INFINITY else hard + 1
    kernel.call(160, number, struct.pack("qq", hard, higher))


def _cores() -> str:
    limits = resource.getrlimit(resource.RLIMIT_CORE)
    return nothing_in([] if limits == (0, 0) else [limits])


def _lower_oom_score() -> None:
    file = Path("/proc/self/oom_score_adj")
    file.write_text(str(int(file.read_text(encoding="ascii")) - 1), encoding="ascii")
