"""Settings of a sandbox's processes, as the kernel tells of them: the same for each engine on this machine."""

from __future__ import annotations

import os

from stopgap.audit.outside import Seen, Setting, in_family, missed
from stopgap.audit.processes import Family
from stopgap.audit.promised import (
    CAPABILITIES,
    FILTER,
    NO_PRIVILEGES,
    NOBODY,
    OOM,
    OWN_GROUPS,
    PARENT,
    TERMINAL,
    WORKERS,
    WORKERS_MEMORY,
)
from stopgap.models import SANDBOX_UID

__all__ = ["OF_PROCESSES"]

SETS = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
A_LIST = "2"  # what the kernel calls a filter that is a program
OOM_SCORE = 500
NO_WORKER = missed("no worker was there for long enough")


def capabilities(family: Family) -> Seen:
    left = sorted({name for each in family.everybody for name in SETS if int(each.status[name], 16)})
    return Seen(", ".join(left) or "none", not left)


def no_new_privileges(family: Family) -> Seen:
    values = sorted({each.status["NoNewPrivs"] for each in family.everybody})
    return Seen(", ".join(values), values == ["1"])


def uid(family: Family) -> Seen:
    """With a rootless engine, it is one of the user's subordinate uids."""
    uids = sorted({number for each in family.everybody for number in each.status["Uid"].split()})
    return Seen(", ".join(uids), not {"0", str(os.geteuid())} & {*uids})


def groups(family: Family) -> Seen:
    others = sorted(
        {group for each in family.everybody for group in each.status["Groups"].split()} - {str(SANDBOX_UID)}
    )
    return Seen(", ".join(others) or "none", not others)


def workers_filter(family: Family) -> Seen:
    """One more than their parent has: an engine's own is everybody's."""
    if not family.workers:
        return NO_WORKER
    parents = int(family.parent.status["Seccomp_filters"])
    unfiltered = [
        each
        for each in family.workers
        if each.status["Seccomp"] != A_LIST or int(each.status["Seccomp_filters"]) <= parents
    ]
    return Seen("not on each thread of each worker" if unfiltered else "on each thread of each worker", not unfiltered)


def workers_memory(family: Family) -> Seen:
    """Who turns requests away in a worker's place has one too: a sandbox cannot say that it needs none."""
    if not family.workers:
        return NO_WORKER
    without = [each for each in family.workers if each.limits["Max data size"][1] == "unlimited"]
    return Seen("not each worker has a limit" if without else "a limit of each worker's", not without)


def filter_for_all(family: Family) -> Seen:
    """Each thread of each process, the first one among them."""
    unfiltered = [each for each in family.all_inside if each.status["Seccomp"] != A_LIST]
    said = "there is none" if len(unfiltered) == len(family.all_inside) else "not on each thread of each process"
    return Seen(said if unfiltered else "on each thread of each process", not unfiltered)


def parent_is_closed(family: Family) -> Seen:
    return Seen("can be dumped" if family.parent.dumpable else "cannot be dumped", not family.parent.dumpable)


def oom_score(family: Family) -> Seen:
    return Seen(str(family.oom_score), family.oom_score >= OOM_SCORE)


def terminal(family: Family) -> Seen:
    return Seen("has one" if family.terminal else "has none", not family.terminal)


OF_PROCESSES: tuple[Setting, ...] = (
    Setting("process_capabilities", "capabilities of its processes", CAPABILITIES, in_family(capabilities)),
    Setting("process_privileges", "no_new_privs of its processes", NO_PRIVILEGES, in_family(no_new_privileges)),
    Setting("process_uid", "uid of its processes, as the kernel has it", NOBODY, in_family(uid)),
    Setting("process_groups", "other groups of its processes", OWN_GROUPS, in_family(groups)),
    Setting("worker_filter", "the workers' own filter of system calls", WORKERS, in_family(workers_filter)),
    Setting("worker_memory", "the workers' own limit of memory", WORKERS_MEMORY, in_family(workers_memory)),
    Setting("filter_for_all", "a filter of system calls for all inside", FILTER, in_family(filter_for_all)),
    Setting("parent_closed", "memory of the runtime's parent", PARENT, in_family(parent_is_closed)),
    Setting("process_oom_score", "out-of-memory score", OOM, in_family(oom_score)),
    Setting("process_terminal", "terminal of the runtime", TERMINAL, in_family(terminal)),
)
