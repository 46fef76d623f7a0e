"""What the runtime asks of Linux: to be left alone by its siblings, and to have its own rights taken away.

The only file of the runtime that talks to the kernel through ctypes. x86-64 alone: so are the TensorFlow 1.15 wheels.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
import platform
import re
import resource
import struct
import termios
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = [
    "ALLOWED",
    "call",
    "call_process",
    "confine",
    "die_with_parent",
    "give_way",
    "limit_memory",
    "make_undumpable",
    "private_bytes",
]

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_DUMPABLE: Final = 4
_PR_SET_NAME: Final = 15
_PR_SET_NO_NEW_PRIVS: Final = 38
_SYS_SECCOMP: Final = 317
_SECCOMP_SET_MODE_FILTER: Final = 1
_SECCOMP_FILTER_FLAG_TSYNC: Final = 1
_AUDIT_ARCH_X86_64: Final = 0xC000003E
_X32_BIT: Final = 0x40000000
_SYS_SCHED_SETATTR: Final = 314
_SCHED_ATTR: Final = struct.Struct("=IIQiIQQQ")
_LOWEST_PRIORITY: Final = 19
_LONGEST_SLICE_NS: Final = 100_000_000
_CLONE_THREAD: Final = 0x00010000

# Everything that inference needs: recorded from the model zoo, minus what only a library's start-up wants.
# Deliberately absent: execve, fork, kill, socket, connect, bind, listen, prctl, ptrace, and every way to write a file.
ALLOWED: Final[dict[str, int]] = {
    "read": 0,
    "write": 1,
    "close": 3,
    "stat": 4,
    "fstat": 5,
    "lstat": 6,
    "poll": 7,
    "lseek": 8,
    "mmap": 9,
    "mprotect": 10,
    "munmap": 11,
    "brk": 12,
    "rt_sigaction": 13,
    "rt_sigprocmask": 14,
    "rt_sigreturn": 15,
    "pread64": 17,
    "readv": 19,
    "writev": 20,
    "access": 21,
    "sched_yield": 24,
    "mremap": 25,
    "madvise": 28,
    "dup": 32,
    "nanosleep": 35,
    "getpid": 39,
    "sendto": 44,
    "recvfrom": 45,
    "sendmsg": 46,
    "recvmsg": 47,
    "shutdown": 48,
    "setsockopt": 54,
    "getsockopt": 55,
    "exit": 60,
    "uname": 63,
    "getcwd": 79,
    "readlink": 89,
    "gettimeofday": 96,
    "getrlimit": 97,
    "getrusage": 98,
    "sysinfo": 99,
    "times": 100,
    "getuid": 102,
    "getppid": 110,
    "sigaltstack": 131,
    "sched_getparam": 143,  # with the next one: TensorFlow 2's mutexes ask for a thread's priority, and log a refusal
    "sched_getscheduler": 145,
    "munlock": 150,
    "arch_prctl": 158,
    "gettid": 186,
    "futex": 202,
    "sched_getaffinity": 204,
    "getdents64": 217,
    "set_tid_address": 218,
    "restart_syscall": 219,
    "clock_gettime": 228,
    "clock_getres": 229,
    "clock_nanosleep": 230,
    "exit_group": 231,
    "epoll_wait": 232,
    "epoll_ctl": 233,
    "newfstatat": 262,
    "set_robust_list": 273,
    "epoll_pwait": 281,
    "accept4": 288,
    "eventfd2": 290,
    "epoll_create1": 291,
    "getrandom": 318,
    "membarrier": 324,
    "statx": 332,
    "rseq": 334,
}

_OPEN: Final = 2
_OPENAT: Final = 257
_IOCTL: Final = 16
_FCNTL: Final = 72
_CLONE: Final = 56
_TGKILL: Final = 234
_PRLIMIT64: Final = 302
# glibc falls back to the older call when these do not exist; their flags lie in memory, where a filter cannot look.
_ANSWER_ENOSYS: Final = (435, 437)  # clone3, openat2
# To shut a listening socket down, or to have it not block, would outlast whoever did it; a copy would be judged anew.
_CHANGES_A_DESCRIPTOR: Final = (ALLOWED["shutdown"], ALLOWED["setsockopt"], ALLOWED["dup"], _IOCTL, _FCNTL)

_WRITE_FLAGS: Final = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | (os.O_TMPFILE & ~os.O_DIRECTORY)
# F_SETOWN with F_SETSIG would send the parent any signal: only what Python and TensorFlow use.
_FCNTL_COMMANDS: Final = (fcntl.F_GETFD, fcntl.F_SETFD, fcntl.F_GETFL, fcntl.F_SETFL, fcntl.F_DUPFD, 1030)
_IOCTL_REQUESTS: Final = (termios.FIONBIO, termios.FIOCLEX, termios.FIONCLEX, termios.TCGETS)

# A thread's stack counts whole for a limit of memory, touched or not, and each caller has a thread. It is what the C
# library takes where nobody says anything; most systems say 8 MiB.
_STACK_BYTES: Final = 2 << 20
_M_ARENA_MAX: Final = -8  # of mallopt

_libc = ctypes.CDLL(None, use_errno=True)


def make_undumpable() -> None:
    """Forbids processes of the same uid to read or write this one's memory through /proc or ptrace."""
    _prctl(_PR_SET_DUMPABLE, 0)


def die_with_parent(signal_number: int) -> None:
    """Has the kernel send this process `signal_number` when its parent ends."""
    _prctl(_PR_SET_PDEATHSIG, signal_number)


def call_process(name: str) -> None:
    """What `ps` and `top` call this process; 15 bytes of it at most."""
    if _libc.prctl(_PR_SET_NAME, name.encode(), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_NAME)")


def give_way() -> None:
    """This process, and every thread that it will start, runs on what all others leave of the processors.

    A processor that runs nothing but processes of SCHED_IDLE counts as idle for whoever wakes up (sched(7)). Where that
    is a process of another control group it may wait for the end of a slice. So its slices are the longest that there
    are, which from Linux 6.12 on whoever has a shorter one may interrupt (sched_setattr(2)).
    """
    os.nice(_LOWEST_PRIORITY)
    # gVisor knows neither. With SCHED_IDLE itself the kernel leaves a slice as it is.
    attributes = _SCHED_ATTR.pack(_SCHED_ATTR.size, os.SCHED_BATCH, 0, _LOWEST_PRIORITY, 0, _LONGEST_SLICE_NS, 0, 0)
    with suppress(OSError):
        call(_SYS_SCHED_SETATTR, 0, attributes, 0)
    with suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def private_bytes(pid: int) -> int:
    """What a process has resident that it shares with nobody, roughly: 0 where there is none."""
    try:
        resident, shared = map(int, Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1:3])
    except (OSError, ValueError):
        return 0
    return (resident - shared) * mmap.PAGESIZE


def limit_memory(more_bytes: int) -> None:
    """Lets this process have that much memory of its own beyond what it has now, and small stacks for new threads.

    What is asked for beyond that is refused, which TensorFlow tells its caller as RESOURCE_EXHAUSTED; without it, the
    kernel would end the process when its sandbox is full. A limit that is there already is never raised.
    """
    attributes = (ctypes.c_char * 64)()  # pthread_attr_t of x86-64 has 56 bytes
    _libc.pthread_attr_init(attributes)
    _libc.pthread_attr_setstacksize(attributes, ctypes.c_size_t(_STACK_BYTES))
    _libc.pthread_setattr_default_np(attributes)
    _limit(resource.RLIMIT_DATA, _mapped_bytes("VmData") + more_bytes)
    if _can_map(more_bytes + (1 << 20)):
        # gVisor counts for RLIMIT_DATA what `brk` gives alone. What it does hold is of the whole address space, where
        # the 64 MiB that the C library sets aside for each further arena count too: so there is to be no further one.
        _libc.mallopt(_M_ARENA_MAX, 1)
        _limit(resource.RLIMIT_AS, _mapped_bytes("VmSize") + more_bytes)


def _limit(what: int, wanted: int) -> None:
    _, hard = resource.getrlimit(what)
    limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(what, (limit, limit))


def _mapped_bytes(which: str) -> int:
    """Of this process: `VmData`, private and writable, touched or not; or `VmSize`, everything."""
    found = re.search(rf"^{which}:\s*([0-9]+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    return int(found[1]) << 10 if found else 0


def _can_map(length: int) -> bool:
    try:
        mmap.mmap(-1, length, flags=mmap.MAP_PRIVATE).close()
    except OSError:
        return False
    return True


def call(number: int, *arguments: int | bytes) -> int:
    """A system call by its number, for those who must find it shut.

    Raises:
        OSError: It was refused.
    """
    passed = [ctypes.c_long(value) if isinstance(value, int) else value for value in arguments]
    answer: int = _libc.syscall(ctypes.c_long(number), *passed)
    if answer < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return answer


def confine(listener: int | None = None) -> None:
    """Drops everything that inference does not need, for all threads and for good.

    Args:
        listener: A descriptor that this process shares with those who come after it: it may accept from it and close
            it, and change nothing about it.

    Raises:
        OSError: The kernel refused the filter.
        RuntimeError: The machine is not x86-64.
    """
    if platform.machine() != "x86_64":
        raise RuntimeError(f"the system call filter is for x86-64, this is {platform.machine()}")
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    code = b"".join(_assemble(_program(os.getpid(), listener)))
    program = _SockFprog(len(code) // 8, code)
    if _libc.syscall(_SYS_SECCOMP, _SECCOMP_SET_MODE_FILTER, _SECCOMP_FILTER_FLAG_TSYNC, ctypes.byref(program)) != 0:
        raise OSError(ctypes.get_errno(), "the kernel refused the system call filter")


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl({option}, {value})")


class _SockFprog(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_char_p)]


# --- A classic BPF program: instructions with symbolic jump targets ------------------------------------------------

_LOAD: Final = 0x20  # BPF_LD | BPF_W | BPF_ABS
_JUMP_IF_EQUAL: Final = 0x15
_JUMP_IF_ANY_BIT: Final = 0x45
_RETURN: Final = 0x06

_NUMBER: Final = 0  # offsets in struct seccomp_data
_ARCHITECTURE: Final = 4
_ALLOW: Final = 0x7FFF0000
_KILL: Final = 0x80000000
_ERRNO: Final = 0x00050000


@dataclass(frozen=True)
class _Instruction:
    code: int
    value: int
    if_true: str = ""
    if_false: str = ""
    label: str = ""


def _program(pid: int, listener: int | None) -> Iterator[_Instruction]:
    """The filter, top to bottom: the listener left alone, the plain list, the calls judged by an argument, then no."""
    yield _Instruction(_LOAD, _ARCHITECTURE)
    yield _Instruction(_JUMP_IF_EQUAL, _AUDIT_ARCH_X86_64, if_false="kill")
    yield _Instruction(_LOAD, _NUMBER)
    yield _Instruction(_JUMP_IF_ANY_BIT, _X32_BIT, if_true="enosys")
    if listener is not None:
        for number in _CHANGES_A_DESCRIPTOR:
            yield from _judged(number, argument=0, equal=(listener,), then="eperm", otherwise="")
    for number in ALLOWED.values():
        yield _Instruction(_JUMP_IF_EQUAL, number, if_true="allow")
    for number in _ANSWER_ENOSYS:
        yield _Instruction(_JUMP_IF_EQUAL, number, if_true="enosys")
    yield from _judged(_OPEN, argument=1, any_bit=_WRITE_FLAGS, then="eacces", otherwise="allow")
    yield from _judged(_OPENAT, argument=2, any_bit=_WRITE_FLAGS, then="eacces", otherwise="allow")
    yield from _judged(_CLONE, argument=0, any_bit=_CLONE_THREAD, then="allow", otherwise="eperm")
    yield from _judged(_TGKILL, argument=0, equal=(pid,))
    yield from _judged(_PRLIMIT64, argument=0, equal=(0,))
    yield from _judged(_FCNTL, argument=1, equal=_FCNTL_COMMANDS)
    yield from _judged(_IOCTL, argument=1, equal=_IOCTL_REQUESTS)
    yield _Instruction(_RETURN, _ERRNO | errno.EPERM, label="eperm")
    yield _Instruction(_RETURN, _ERRNO | errno.EACCES, label="eacces")
    yield _Instruction(_RETURN, _ERRNO | errno.ENOSYS, label="enosys")
    yield _Instruction(_RETURN, _ALLOW, label="allow")
    yield _Instruction(_RETURN, _KILL, label="kill")


def _judged(
    number: int,
    *,
    argument: int,
    any_bit: int = 0,
    equal: Sequence[int] = (),
    then: str = "allow",
    otherwise: str = "eperm",
) -> Iterator[_Instruction]:
    """One call that depends on the low 32 bits of an argument: `then` where it matches, else `otherwise`.

    An empty `otherwise` leaves the call to what comes after.
    """
    after = f"after {number}, argument {argument}"
    yield _Instruction(_JUMP_IF_EQUAL, number, if_false=after)
    yield _Instruction(_LOAD, 16 + 8 * argument)
    if any_bit:
        yield _Instruction(_JUMP_IF_ANY_BIT, any_bit, if_true=then, if_false=otherwise)
    else:
        for value in equal[:-1]:
            yield _Instruction(_JUMP_IF_EQUAL, value, if_true=then)
        yield _Instruction(_JUMP_IF_EQUAL, equal[-1], if_true=then, if_false=otherwise)
    yield _Instruction(_LOAD, _NUMBER, label=after)


def _assemble(program: Iterator[_Instruction]) -> Iterator[bytes]:
    """Instructions as `struct sock_filter`; a jump counts the instructions that it skips."""
    instructions = list(program)
    places = {instruction.label: place for place, instruction in enumerate(instructions) if instruction.label}
    for place, instruction in enumerate(instructions):
        if_true, if_false = (
            places[label] - place - 1 if label else 0 for label in (instruction.if_true, instruction.if_false)
        )
        yield struct.pack("=HBBI", instruction.code, if_true, if_false, instruction.value)
