"""Promises as the Docker API's arguments: pure.

A container gets nothing that it does not need; what sandboxes and fronts share is in `walls`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stopgap.containment import gvisor, seccomp
from stopgap.containment.specs import (
    ADMIN_FOLDER,
    FRONT_OPEN_FILES,
    FRONT_PIDS,
    FRONT_UID,
    MIB,
    MODEL_FOLDER,
    OBSERVERS_FOLDER,
    SANDBOXES_FOLDER,
    SOCKETS_FOLDER,
    XDS_FOLDER,
    ContainerSpec,
    FrontSpec,
    SandboxSpec,
)
from stopgap.isolations import GVISOR
from stopgap.models import SANDBOX_UID

__all__ = ["KEPT", "SECCOMP", "Arguments", "arguments"]

NANO = 10**9

# A container is made with no restart policy, so that a model that cannot load dies once, and is told of; from its
# first answer on it comes back by itself, also after a reboot, until it is stopped.
KEPT = {"Name": "unless-stopped"}
NOT_KEPT = {"Name": "no"}

SECCOMP = "seccomp="  # before the profile itself, among a container's security options


@dataclass(frozen=True)
class Arguments:
    """What `create_container` of docker-py's API client takes, and what `create_host_config` takes."""

    create: Mapping[str, Any]
    host: Mapping[str, Any]


def arguments(spec: ContainerSpec) -> Arguments:
    """The container of `spec`, in Docker's words."""
    return sandbox_arguments(spec) if isinstance(spec, SandboxSpec) else front_arguments(spec)


def sandbox_arguments(spec: SandboxSpec) -> Arguments:
    limits = spec.limits
    # No file outgrows /tmp: the one other place to write, the sockets' folder, is on the host's disk.
    rlimits = {"nofile": limits.open_files, "core": 0, "fsize": limits.tmp_mib * MIB}
    profile = seccomp.SANDBOX
    own: dict[str, Any] = {"pids_limit": limits.pids}
    if spec.isolation == GVISOR:
        profile = seccomp.SANDBOX_IN_GVISOR
        rlimits["nproc"] = limits.pids
        # It takes no changes once a container is there, so this one is kept from its start.
        own = {"pids_limit": gvisor.MOST_TASKS, "runtime": gvisor.RUNSC, "restart_policy": KEPT}
    return Arguments(
        create={
            **outfit(spec, SANDBOX_UID),
            "hostname": "sandbox",
        },
        host={
            **walls(limits.memory_mib, rlimits, profile),
            **own,
            "network_mode": "none",
            "nano_cpus": round(limits.cpus * NANO),
            "tmpfs": {"/tmp": tmpfs(limits.tmp_mib)},  # noqa: S108 - a path inside the container
            "mounts": [
                read_only(spec.model.folder, MODEL_FOLDER),
                writable(spec.sockets, SOCKETS_FOLDER),
                *(read_only(host, inside) for host, inside in spec.op_library_mounts),
            ],
        },
    )


def front_arguments(spec: FrontSpec) -> Arguments:
    create = outfit(spec, FRONT_UID)
    host = {
        **walls(spec.memory_mib, {"nofile": FRONT_OPEN_FILES, "core": 0, "fsize": 0}, seccomp.FRONT),
        "pids_limit": FRONT_PIDS,
        "tmpfs": {"/tmp": tmpfs(1)},  # noqa: S108 - a path inside the container
        "mounts": [
            read_only(spec.folder / "xds", XDS_FOLDER),
            read_only(spec.folder / "sandboxes", SANDBOXES_FOLDER),
            read_only(spec.folder / "observers", OBSERVERS_FOLDER),
            writable(spec.folder / "admin", ADMIN_FOLDER),
        ],
    }
    if spec.on_host_network:
        host["network_mode"] = "host"
    else:
        create["ports"] = [(port, "tcp") for port in spec.address.ports]
        host["port_bindings"] = {f"{port}/tcp": (spec.address.bind, port) for port in spec.address.ports}
        host["network_mode"] = "bridge"
    return Arguments(create, host)


def outfit(spec: ContainerSpec, uid: int) -> dict[str, Any]:
    return {
        "image": spec.image,
        "name": spec.container,
        "command": spec.command,
        "labels": spec.labels,
        "user": f"{uid}:{uid}",
        "environment": {},
        # docker-py would otherwise put the proxies of ~/.docker/config.json, passwords and all, into the environment.
        "use_config_proxy": False,
        "working_dir": "/",
        "stop_signal": "SIGTERM",
        "stop_timeout": spec.stop_timeout_s,
    }


def walls(memory_mib: int, rlimits: Mapping[str, int], profile: str) -> dict[str, Any]:
    return {
        "read_only": True,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true", f"{SECCOMP}{profile}"],
        "privileged": False,
        "ipc_mode": "none",  # also takes away /dev/shm, which stays writable in a read-only root
        "cgroupns": "private",
        "init": False,  # the runtime is its own parent process and reaps by itself
        "mem_limit": memory_mib * MIB,
        "memswap_limit": memory_mib * MIB,  # memory and swap together: so, no swap
        "oom_kill_disable": False,
        "oom_score_adj": 500,  # when the machine runs out, these go before what else lives on it
        "ulimits": [{"Name": name, "Soft": limit, "Hard": limit} for name, limit in rlimits.items()],
        # Docker keeps two files at most, so a flood of lines costs 10 MB and old lines.
        "log_config": {"type": "json-file", "config": {"max-size": "5m", "max-file": "2"}},
        "restart_policy": NOT_KEPT,
    }


def tmpfs(size_mib: int) -> str:
    return f"rw,noexec,nosuid,nodev,size={size_mib}m,nr_inodes=1024,mode=1777"


def read_only(source: Path, target: str) -> dict[str, Any]:
    """Non-recursive: file systems mounted below `source` on the host would come along writable."""
    return {**writable(source, target), "ReadOnly": True, "BindOptions": {"NonRecursive": True}}


def writable(source: Path, target: str) -> dict[str, Any]:
    """A `bind` mount, which fails where `source` is missing; `-v` would make it, as root."""
    return {"Type": "bind", "Source": str(source), "Target": target, "ReadOnly": False}
