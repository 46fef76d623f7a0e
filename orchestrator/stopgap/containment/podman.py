"""What Podman makes of Docker's arguments: how they are put so that the walls are the same, and what of them it took.

Podman 4.3 drops what it does not hold without a word, all of its limits at times. So what it says that a container has
is held against what it was told.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from stopgap.containment.docker import SECCOMP, Arguments

__all__ = ["in_podmans_words", "not_held", "profile_of"]

# It makes these folders writable in a read-only root, unless they are there already.
_WRITABLE_OTHERWISE = ("/run", "/var/tmp")  # noqa: S108 - paths inside the container
_NOTHING = "ro,noexec,nosuid,nodev,size=4k,mode=755"
# Else it asks for 1048576, and an engine that is contained itself must not give that. They count by user, and all
# sandboxes are one: what holds a single one is its own limit of tasks.
_TASKS_OF_ALL_SANDBOXES = 16384


def profile_of(wanted: Arguments) -> str:
    """The profile of system calls, which Docker takes itself."""
    (profile,) = (each for each in wanted.host["security_opt"] if each.startswith(SECCOMP))
    return str(profile[len(SECCOMP) :])


def in_podmans_words(wanted: Arguments, profile: Path) -> Arguments:
    """The same container for Podman.

    Args:
        profile: The file that `profile_of` has been written to: Podman takes its name.
    """
    host = wanted.host
    options = [each for each in host["security_opt"] if not each.startswith(SECCOMP)]
    tmpfs = {path: _without_inodes(options) for path, options in host["tmpfs"].items()}
    tasks = {"Name": "nproc", "Soft": _TASKS_OF_ALL_SANDBOXES, "Hard": _TASKS_OF_ALL_SANDBOXES}
    return replace(
        wanted,
        host={
            **host,
            "security_opt": [*options, f"{SECCOMP}{profile}"],
            "tmpfs": {**tmpfs, **dict.fromkeys(_WRITABLE_OTHERWISE, _NOTHING)},
            "ulimits": [*host["ulimits"], tasks],
        },
    )


def not_held(wanted: Arguments, inspected: Mapping[str, Any]) -> tuple[str, ...]:
    """What a container lacks of what it was to be, each in a word or two.

    Args:
        wanted: What Podman was told.
        inspected: What it says that the container has.
    """
    return (*_differences(wanted.host, inspected["HostConfig"]), *_openings(wanted, inspected))


def _openings(wanted: Arguments, inspected: Mapping[str, Any]) -> Iterator[str]:
    """What would be open that was to be closed."""
    if inspected["HostConfig"].get("Privileged"):
        yield "no privileges"
    if inspected["Config"].get("User") != wanted.create["user"]:
        yield "its own user"
    writable = {mount["Destination"] for mount in inspected.get("Mounts") or () if mount.get("RW")}
    yield from (mount["Target"] for mount in wanted.host["mounts"] if mount["ReadOnly"] and mount["Target"] in writable)


def _differences(wanted: Mapping[str, Any], seen: Mapping[str, Any]) -> Iterator[str]:
    limits = {
        "memory": ("mem_limit", "Memory"),
        "swap": ("memswap_limit", "MemorySwap"),
        "processors": ("nano_cpus", "NanoCpus"),
        "tasks": ("pids_limit", "PidsLimit"),
        "the kernel's choice when memory runs out": ("oom_score_adj", "OomScoreAdj"),
        "a read-only root": ("read_only", "ReadonlyRootfs"),
        "its network": ("network_mode", "NetworkMode"),
    }
    yield from (what for what, (told, said) in limits.items() if told in wanted and wanted[told] != seen.get(said))
    held = {limit["Name"]: limit["Hard"] for limit in seen.get("Ulimits") or ()}
    yield from (name for name, hard in _process_limits(wanted) if held.get(f"RLIMIT_{name.upper()}") != hard)
    options = seen.get("SecurityOpt") or ()
    if "no-new-privileges" not in options:
        yield "no new privileges"
    if not {each for each in wanted["security_opt"] if each.startswith(SECCOMP)} & {*options}:
        yield "its own system call filter"
    if seen.get("CapAdd"):
        yield "no capabilities"
    mounted = seen.get("Tmpfs") or {}
    yield from (path for path, options in wanted["tmpfs"].items() if not _has(mounted.get(path, ""), options))


def _process_limits(wanted: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    return ((limit["Name"], limit["Hard"]) for limit in wanted["ulimits"])


def _has(options: str, wanted: str) -> bool:
    return set(wanted.split(",")) <= set(options.split(","))


def _without_inodes(options: str) -> str:
    """Podman knows no limit of files; what they take of memory counts for the container all the same."""
    return ",".join(option for option in options.split(",") if not option.startswith("nr_inodes="))
