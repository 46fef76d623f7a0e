"""Settings of a sandbox that bubblewrap has built: from the kernel, since nobody keeps another record of them."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping

from stopgap.audit import promised
from stopgap.audit.outside import Look, Seen, Setting, View, in_family, in_mib, missed, same, without_family
from stopgap.audit.processes import Family
from stopgap.containment.bubblewrap import DEVICES, LOADER_CACHE
from stopgap.containment.specs import MIB
from stopgap.interpreter import interpreter

__all__ = ["OF_BUBBLEWRAP"]

WRITABLE = ("/tmp", "/proc")  # noqa: S108 - paths inside the sandbox
HOSTS_OWN = ("/etc", "/home", "/root", "/run", "/var")
CLOSED = missed("its processes may not be looked at")


def namespace(name: str) -> Look:
    def look(family: Family) -> Seen:
        if family.namespaces is None:
            return CLOSED
        own = name in family.namespaces
        return Seen("its own" if own else "the host's", own)

    return in_family(look)


def user_namespace(family: Family) -> Seen:
    """Root's sandboxes are in the host's, where the filter of system calls keeps them from making others."""
    if family.namespaces is None:
        return CLOSED
    own = "user" in family.namespaces
    return Seen("its own" if own else "the host's", own or os.geteuid() == 0)


def in_mounts(look: Callable[[Mapping[str, frozenset[str]]], Seen]) -> Look:
    return in_family(lambda family: CLOSED if family.mounts is None else look(family.mounts))


def root(mounts: Mapping[str, frozenset[str]]) -> Seen:
    holds = "ro" in mounts.get("/", frozenset())
    return Seen("read only" if holds else "read and write", holds)


def model(mounts: Mapping[str, frozenset[str]]) -> Seen:
    holds = "ro" in mounts.get("/model", frozenset())
    return Seen("read only" if holds else "read and write", holds)


def writable(mounts: Mapping[str, frozenset[str]]) -> Seen:
    """A device's file that can be written to is none of a folder."""
    found = sorted(
        path
        for path, options in mounts.items()
        if "ro" not in options and path not in ("/", "/model", *(f"/dev/{name}" for name in DEVICES))
    )
    others = [path for path in found if path not in WRITABLE]
    return Seen(", ".join(others) or "none", not others)


def hosts_own(mounts: Mapping[str, frozenset[str]]) -> Seen:
    """Of its folders for what is its own, Python may be in one."""
    python = str(interpreter().prefix)
    others = sorted(
        path
        for path in mounts
        if any(path == folder or path.startswith(f"{folder}/") for folder in HOSTS_OWN)
        and path not in (LOADER_CACHE, python)
    )
    return Seen(", ".join(others) or "none", not others)


def no_set_uid(mounts: Mapping[str, frozenset[str]]) -> Seen:
    others = sorted(path for path, options in mounts.items() if "nosuid" not in options)
    return Seen(f"it means something in {', '.join(others)}" if others else "means nothing", not others)


def devices(mounts: Mapping[str, frozenset[str]]) -> Seen:
    others = sorted(path for path in mounts if path.startswith("/dev/") and path[len("/dev/") :] not in DEVICES)
    return Seen(", ".join(others) or "none", not others)


def tmp_size(view: View) -> Seen:
    if view.family is None:
        return without_family(view)
    if view.family.mounts is None:
        return CLOSED
    found = [each for each in view.family.mounts.get("/tmp", ()) if each.startswith("size=")]  # noqa: S108 - inside the sandbox
    return Seen(", ".join(found) or "no size", found == [f"size={view.limits.tmp_mib * 1024}k"])


def tmp_noexec(mounts: Mapping[str, frozenset[str]]) -> Seen:
    holds = "noexec" in mounts.get("/tmp", frozenset())  # noqa: S108 - a path inside the sandbox
    return Seen("noexec" if holds else "can be run", holds)


def rlimit(name: str, wanted: Callable[[View], int]) -> Look:
    """Never above what the user may ask for."""

    def look(view: View) -> Seen:
        if view.family is None:
            return without_family(view)
        soft, hard = view.family.parent.limits[name]
        return Seen(hard, soft == hard and hard != "unlimited" and int(hard) <= wanted(view))

    return look


def memory(view: View) -> Seen:
    """Where no control group holds it, nothing of the kind is told."""
    return in_mib(view.told.get("memory"), view.limits.memory_mib)


def swap(view: View) -> Seen:
    """A kernel that does not count swap cannot limit it."""
    if "memory" in view.told and "memory and swap" not in view.told:
        return Seen("the kernel does not count it", None)
    return in_mib(view.told.get("memory and swap"), view.limits.memory_mib)


def cpus(view: View) -> Seen:
    if "cpus" in view.told:
        return same(view.told["cpus"], view.limits.cpus)
    if view.family is None:
        return without_family(view)
    allowed = bin(int(view.family.parent.status["Cpus_allowed"].replace(",", ""), 16)).count("1")
    return Seen(f"{allowed} of the processors", allowed <= math.ceil(view.limits.cpus))


def tasks(view: View) -> Seen:
    if "tasks" in view.told:
        return same(view.told["tasks"], view.limits.pids)
    return rlimit("Max processes", lambda each: each.limits.pids)(view)


OF_BUBBLEWRAP: tuple[Setting, ...] = (
    Setting("network", "network namespace", promised.NETWORK, namespace("net")),
    Setting("read_only_root", "root", promised.ROOT, in_mounts(root)),
    Setting("writable_mounts", "folders of the host's to write to", promised.HOSTS_FOLDERS, in_mounts(writable)),
    Setting("model_mount", "mount of its model", promised.MODEL, in_mounts(model)),
    Setting("mounts", "mounts in the host's own folders", promised.HOSTS_FILES, in_mounts(hosts_own)),
    Setting("tmp_noexec", "programs in /tmp", promised.FROM_TMP, in_mounts(tmp_noexec)),
    Setting("tmp_size", "bytes in /tmp", promised.TMP_BYTES, tmp_size),
    Setting(
        "largest_file",
        "largest file",
        promised.LARGEST_FILE,
        rlimit("Max file size", lambda view: view.limits.tmp_mib * MIB),
    ),
    Setting(
        "open_files", "open files", promised.OPEN_FILES, rlimit("Max open files", lambda view: view.limits.open_files)
    ),
    Setting("core", "core dumps", promised.CORES, rlimit("Max core file size", lambda _: 0)),
    Setting("set_uid", "set-uid bits", promised.NO_PRIVILEGES, in_mounts(no_set_uid)),
    Setting("pid_namespace", "pid namespace", promised.PROCESSES, namespace("pid")),
    Setting("ipc", "IPC namespace", promised.SHARED, namespace("ipc")),
    Setting("uts_namespace", "UTS namespace", promised.HOSTNAME, namespace("uts")),
    Setting("cgroup_namespace", "cgroup namespace", promised.GROUPS, namespace("cgroup")),
    Setting("user_namespace", "user namespace", promised.USER_NAMESPACES, in_family(user_namespace)),
    Setting("devices", "devices beside the five", promised.DEVICES, in_mounts(devices)),
    Setting("memory", "memory", promised.MEMORY, memory),
    Setting("swap", "memory and swap", promised.SWAP, swap),
    Setting("cpus", "processors", promised.CPUS, cpus),
    Setting("tasks", "processes and threads", promised.TASKS, tasks),
)
