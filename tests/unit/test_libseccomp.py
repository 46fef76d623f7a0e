"""The programs that libseccomp makes of our profiles, each put on by a process: what the kernel then refuses."""

from __future__ import annotations

import errno
import json
import os
import platform
import socket
import subprocess
import sys
from collections.abc import Mapping

import pytest
from stopgap.containment import seccomp
from stopgap.engines import libseccomp
from stopgap.errors import EngineError

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="its numbers of calls are of x86-64")

UID = 65534
LET_THROUGH = 0

# Puts the program on, makes the calls, and says how each went: 0, or the error's number. The arguments are such that
# none of them does anything where it is let through.
BEHIND_IT = """
import ctypes, json, os, sys
class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p)]
instructions = os.read(int(sys.argv[1]), 1 << 20)
kept = ctypes.create_string_buffer(instructions, len(instructions))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0
program = Program(len(instructions) // 8, ctypes.cast(kept, ctypes.c_void_p))
assert libc.prctl(22, 2, ctypes.byref(program), 0, 0) == 0
found = {}
for name, number, *arguments in json.loads(sys.argv[2]):
    ctypes.set_errno(0)
    done = libc.syscall(number, *(ctypes.c_long(each) for each in arguments))
    found[name] = ctypes.get_errno() if done < 0 else 0
print(json.dumps(found))
"""

Call = tuple[int, ...]

CALLS: Mapping[str, Call] = {
    "getpid": (39,),
    "Unix": (41, socket.AF_UNIX, socket.SOCK_STREAM, 0),
    "a Unix pair without a place": (53, socket.AF_UNIX, socket.SOCK_STREAM, 0, 0),
    "Internet": (41, socket.AF_INET, socket.SOCK_STREAM, 0),
    "netlink": (41, socket.AF_NETLINK, socket.SOCK_RAW, 0),
    "hypervisor": (41, seccomp.AF_VSOCK, socket.SOCK_STREAM, 0),
    "connect": (42, -1, 0, 0),
    "unshare": (272, 0),
    "clone into a user namespace": (56, 0x10000000 | 0x200, 0, 0, 0, 0),  # CLONE_FS besides: the kernel takes neither
    "clone3": (435, 0, 0),
    "openat2": (437, -100, 0, 0, 0),
    "ptrace": (101, 0x4200, -1, 0, 0),
    "keyctl": (250, 0, -3, 0),
    "io_uring_setup": (425, 0, 0),
    "symlink": (88, 0, 0),
    "memfd_create": (319, 0, 0),
    "idle processors": (144, 0, 5, 0),
    "real time": (144, 0, 1, 0),
    "long slices": (314, 0, 0, 0),
    "a group": (116, 1, 0),
    "no groups": (116, 0, 0),
    "own gid": (119, UID, UID, UID),
    "own uid": (117, UID, UID, UID),  # after which nothing is left of root's rights
    "uid unchanged": (117, -1, -1, -1),
    "setuid": (105, UID),
    "capset": (126, 0, 0),
}
EVERYWHERE = {
    "getpid": LET_THROUGH,
    "Unix": LET_THROUGH,
    "a Unix pair without a place": errno.EFAULT,
    "idle processors": errno.EINVAL,  # for what is missing of it
}
NOWHERE = {
    **dict.fromkeys(("hypervisor", "unshare", "clone into a user namespace", "ptrace", "keyctl"), errno.EPERM),
    **dict.fromkeys(("io_uring_setup", "symlink", "uid unchanged", "a group", "setuid", "real time"), errno.EPERM),
    **dict.fromkeys(("clone3", "openat2"), errno.ENOSYS),
}
SANDBOXES = {
    **dict.fromkeys(("Internet", "netlink", "connect"), errno.EPERM),
    "memfd_create": errno.EFAULT,
    "long slices": errno.EINVAL,
}
FRONTS = {
    "Internet": LET_THROUGH,
    "netlink": LET_THROUGH,
    "connect": errno.EBADF,
    "memfd_create": errno.EPERM,
    "long slices": errno.EPERM,
}
NOBODYS = dict.fromkeys(("own uid", "own gid", "no groups", "capset"), errno.EPERM)


def behind(profile: str) -> dict[str, int]:
    calls = [(name, *call) for name, call in CALLS.items()]
    with libseccomp.filter_of(profile) as descriptor:
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", BEHIND_IT, str(descriptor), json.dumps(calls)],
            capture_output=True,
            text=True,
            check=True,
            pass_fds=(descriptor,),
        )
    found: dict[str, int] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize(
    ("profile", "kinds"), [(seccomp.SANDBOX, SANDBOXES), (seccomp.FRONT, FRONTS)], ids=["sandbox", "front"]
)
def test_the_kernel_refuses_what_the_profile_does_not_name(profile: str, kinds: dict[str, int]) -> None:
    assert behind(profile) == {**EVERYWHERE, **NOWHERE, **kinds, **NOBODYS}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another")
def test_what_begins_as_root_becomes_the_one_user_and_nobody_else() -> None:
    found = behind(seccomp.from_root_to(UID, seccomp.SANDBOX))
    let_through = {"own uid": LET_THROUGH, "own gid": LET_THROUGH, "no groups": LET_THROUGH, "capset": errno.EFAULT}
    assert found == {**EVERYWHERE, **NOWHERE, **SANDBOXES, **let_through}


def test_nobody_can_change_what_is_handed_over() -> None:
    with libseccomp.filter_of(seccomp.SANDBOX) as descriptor:
        with pytest.raises(PermissionError):
            os.write(descriptor, b"x")
        with pytest.raises(PermissionError):
            os.ftruncate(descriptor, 0)


def test_the_program_is_as_long_as_its_file_and_the_kernel_takes_it() -> None:
    with libseccomp.filter_of(seccomp.FRONT) as descriptor:
        length = os.fstat(descriptor).st_size
    assert length % 8 == 0
    assert 0 < length // 8 <= 4096


def test_without_the_library_a_person_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libseccomp, "LIBRARY", "libseccomp-that-is-not-there.so.2")
    libseccomp.library.cache_clear()
    try:
        with (
            pytest.raises(EngineError, match="libseccomp is not installed") as told,
            libseccomp.filter_of(seccomp.SANDBOX),
        ):
            pytest.fail("it was made of nothing")
        assert "apt-get install libseccomp2" in str(told.value)
    finally:
        libseccomp.library.cache_clear()


def test_what_libseccomp_refuses_is_an_error() -> None:
    twice = json.loads(seccomp.SANDBOX)
    twice["syscalls"][0]["args"] = [{"index": 9, "value": 0, "valueTwo": 0, "op": "SCMP_CMP_EQ"}]
    with pytest.raises(EngineError, match="libseccomp cannot make the filter"), libseccomp.filter_of(json.dumps(twice)):
        pytest.fail("a call has six arguments")
