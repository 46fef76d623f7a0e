"""Calls of the kernel that have often been a way out."""

from __future__ import annotations

import errno
import struct
from typing import Final

from .. import kernel
from .attempt import SHUT, Attempt

__all__ = ["CALLS"]

_NO_SUCH_USER: Final = SHUT | {errno.EINVAL}  # in a user namespace there is no uid 0 at all
_PTRACE_TRACEME, _PTRACE_SEIZE = 0, 0x4206  # which does not stop whom it seizes
_ADDR_NO_RANDOMIZE: Final = 0x0040000
_UFFD_USER_MODE_ONLY: Final = 1
_PROCESS_KEYRING, _SESSION_KEYRING = -2, -3

CALLS: Final = (
    Attempt(
        "keyrings",
        lambda _: {
            "keyctl": lambda: kernel.call(250, 0, _SESSION_KEYRING, 0),
            "add_key": lambda: kernel.call(248, b"user", b"stopgap-probe", b"x", 1, _PROCESS_KEYRING),
        },
    ),
    Attempt("io_uring", lambda _: {"io_uring_setup": lambda: kernel.call(425, 8, bytes(120))}),
    Attempt("tracing", lambda _: {"ptrace": lambda: kernel.call(101, _PTRACE_TRACEME, 0, 0, 0)}),
    Attempt(
        "bpf_and_perf",
        lambda _: {
            "bpf": lambda: kernel.call(321, 0, bytes(72), 72),
            "perf_event_open": lambda: kernel.call(298, struct.pack("IIQ3QQ8x", 1, 64, 0, 0, 0, 0, 0x60), 0, -1, -1, 0),
        },
        SHUT | {errno.ENODEV},
    ),
    Attempt("userfaultfd", lambda _: {"userfaultfd": lambda: kernel.call(323, _UFFD_USER_MODE_ONLY)}),
    Attempt("address_layout", lambda _: {"personality": lambda: kernel.call(135, _ADDR_NO_RANDOMIZE)}, _NO_SUCH_USER),
    Attempt("kernel_log", lambda _: {"syslog": lambda: kernel.call(103, 3, bytes(64), 64)}),
)
