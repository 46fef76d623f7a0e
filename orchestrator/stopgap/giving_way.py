"""How a process makes way for those that serve users."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import struct
from pathlib import Path

__all__ = ["give_way", "give_way_altogether"]

NICE = 19
KILLED_FIRST = b"1000"
# Neither the C library nor Python has it: struct sched_attr of linux/sched/types.h, and the call's number on x86-64.
SCHED_ATTR = struct.Struct("=IIQiIQQQ")
SYS_SCHED_SETATTR = 314
LONGEST_SLICE_NS = 100_000_000


def give_way() -> None:
    """Whoever serves users goes first: for the processors, and when memory is short."""
    os.nice(NICE)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_bytes(KILLED_FIRST)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def give_way_altogether() -> None:
    """To the scheduler a processor that runs this process alone is free for whoever wakes up (sched(7), SCHED_IDLE).

    However nice, a process that wakes up together with a user's request costs that request a tenth of a millisecond
    (`bench/shadowed.py`). A session of its own is a group of its own to the scheduler, whose share its threads'
    niceness says nothing of: the group is as nice as they are. Against processes in other control groups, a
    container's say, it is these groups' shares that count, and whose slice is the shorter: so this one's is the longest
    that there is, which others may interrupt from Linux 6.12 on.
    """
    with contextlib.suppress(OSError):  # a kernel without autogroups
        Path("/proc/self/autogroup").write_text(str(NICE))
    while any(gives_way_now(int(task.name)) for task in Path("/proc/self/task").iterdir()):
        pass  # one that was started meanwhile may be as its starter was


def gives_way_now(thread: int) -> bool:
    """Whether it did not before."""
    with contextlib.suppress(OSError):  # it has ended
        if os.sched_getscheduler(thread) != os.SCHED_IDLE:
            take_long_slices(thread)
            os.sched_setscheduler(thread, os.SCHED_IDLE, os.sched_param(0))
            return True
    return False


def take_long_slices(thread: int) -> None:
    """Those of SCHED_BATCH, which SCHED_IDLE then keeps; a kernel that does not know them changes nothing."""
    attributes = SCHED_ATTR.pack(SCHED_ATTR.size, os.SCHED_BATCH, 0, NICE, 0, LONGEST_SLICE_NS, 0, 0)
    ctypes.CDLL(None).syscall(ctypes.c_long(SYS_SCHED_SETATTR), thread, attributes, 0)
