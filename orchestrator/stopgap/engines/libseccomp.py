"""A profile of system calls as the program that the kernel runs at each of them: the one file that knows libseccomp.

The library is what Docker's and Podman's runtimes make the same of the same profile with, and every Debian and Ubuntu
has it, since apt itself needs it. It knows each call's number, and how many words a 64-bit comparison takes.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import functools
import json
import os
from collections.abc import Iterator, Mapping
from typing import Any

from stopgap.errors import EngineError

__all__ = ["filter_of", "version"]

LIBRARY = "libseccomp.so.2"
INSTALL = "Install it: sudo apt-get install libseccomp2"
UPGRADE = "Bring it up to date: sudo apt-get install --only-upgrade libseccomp2"

ALLOW = 0x7FFF0000
ERRNO = 0x00050000
UNKNOWN_NAME = -1
COMPARISONS = {"SCMP_CMP_EQ": 4, "SCMP_CMP_MASKED_EQ": 7}
ARCHITECTURES = {"SCMP_ARCH_X86_64": b"x86_64"}

SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


class _Opaque(ctypes.Structure):
    """What scmp_filter_ctx points to."""


_Context = ctypes.POINTER(_Opaque)


class _Comparison(ctypes.Structure):
    """scmp_arg_cmp."""

    _fields_ = (
        ("argument", ctypes.c_uint),
        ("operator", ctypes.c_int),
        ("first", ctypes.c_uint64),
        ("second", ctypes.c_uint64),
    )


class _Version(ctypes.Structure):
    """scmp_version."""

    _fields_ = (("major", ctypes.c_uint), ("minor", ctypes.c_uint), ("micro", ctypes.c_uint))


@contextlib.contextmanager
def filter_of(profile: str) -> Iterator[int]:
    """A descriptor from which the program can be read, and which nobody can change any more; closed after the block.

    Raises:
        EngineError: libseccomp is not installed, or cannot make it.
    """
    descriptor = os.memfd_create("filter", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        export(json.loads(profile), descriptor)
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, SEALS)
        os.lseek(descriptor, 0, os.SEEK_SET)
        yield descriptor
    finally:
        os.close(descriptor)


def version() -> str:
    """
    Raises:
        EngineError: libseccomp is not installed.
    """
    found = library().seccomp_version().contents
    return f"{found.major}.{found.minor}.{found.micro}"


def export(profile: Mapping[str, Any], descriptor: int) -> None:
    bound = library()
    native = bound.seccomp_arch_native()
    known = {bound.seccomp_arch_resolve_name(ARCHITECTURES[name]) for name in profile["architectures"]}
    if known != {native}:
        raise EngineError("The filter of system calls is for x86-64 alone.", "Serve on such a machine.")
    context = bound.seccomp_init(action_of(profile["defaultAction"], {}))
    if not context:
        raise EngineError("libseccomp cannot make a filter of system calls.", "Free some memory: free -m shows it.")
    try:
        for rule in profile["syscalls"]:
            add(bound, context, rule)
        bound.seccomp_export_bpf(context, descriptor)
    finally:
        bound.seccomp_release(context)


def add(bound: Any, context: Any, rule: Mapping[str, Any]) -> None:
    """A call that this libseccomp does not know yet is not let through."""
    comparisons = [
        _Comparison(each["index"], COMPARISONS[each["op"]], each["value"], each["valueTwo"])
        for each in rule.get("args", ())
    ]
    action = action_of(rule["action"], rule)
    for name in rule["names"]:
        number = bound.seccomp_syscall_resolve_name(name.encode("ascii"))
        if number != UNKNOWN_NAME:
            array = (_Comparison * len(comparisons))(*comparisons)
            bound.seccomp_rule_add_array(context, action, number, len(comparisons), array)


def action_of(name: str, rule: Mapping[str, Any]) -> int:
    """As runtimes of containers read it: where a refusal says no error number, it is EPERM."""
    return ALLOW if name == "SCMP_ACT_ALLOW" else ERRNO | int(rule.get("errnoRet", errno.EPERM))


@functools.lru_cache(maxsize=1)
def library() -> Any:
    """Its functions, each with its types, and its status turned into an error."""
    try:
        bound = ctypes.CDLL(LIBRARY)
    except OSError as error:
        raise EngineError("libseccomp is not installed, which makes the filter of system calls.", INSTALL) from error
    declare(bound.seccomp_version, ctypes.POINTER(_Version))
    declare(bound.seccomp_arch_native, ctypes.c_uint32)
    declare(bound.seccomp_arch_resolve_name, ctypes.c_uint32, ctypes.c_char_p)
    declare(bound.seccomp_syscall_resolve_name, ctypes.c_int, ctypes.c_char_p)
    declare(bound.seccomp_init, _Context, ctypes.c_uint32)
    declare(bound.seccomp_release, None, _Context)
    declare(
        bound.seccomp_rule_add_array,
        succeeded,
        *(_Context, ctypes.c_uint32, ctypes.c_int, ctypes.c_uint, ctypes.POINTER(_Comparison)),
    )
    declare(bound.seccomp_export_bpf, succeeded, _Context, ctypes.c_int)
    return bound


def declare(function: Any, result: Any, *arguments: Any) -> None:
    function.argtypes, function.restype = arguments, result


def succeeded(status: int) -> None:
    """Turns a status, 0 or an error number below it, into an error."""
    if status < 0:
        raise EngineError(f"libseccomp cannot make the filter of system calls: {os.strerror(-status)}.", UPGRADE)
