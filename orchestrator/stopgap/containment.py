"""What a container may do, as promises, and those promises as the Docker API's arguments: pure.

Two kinds of container exist: a sandbox, in which a hostile model runs, and a front, which faces the network. Both get
nothing that they do not need; what they share is in `walls`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Union

from stopgap.models import SANDBOX_UID, Model
from stopgap.settings import Address, Limits, Timeouts

__all__ = [
    "KEPT",
    "MIB",
    "Arguments",
    "ContainerSpec",
    "FrontSpec",
    "SandboxSpec",
    "arguments",
    "front_container",
    "front_memory_mib",
    "sandbox_container",
]

FRONT_UID = 65533  # not the sandboxes': who breaks out of one must not own the other's files

MODEL_FOLDER = "/model"
OP_LIBRARIES_FOLDER = "/op-libraries"
SOCKETS_FOLDER = "/run/stopgap"
XDS_FOLDER = "/etc/stopgap/xds"
SANDBOXES_FOLDER = "/run/stopgap/sandboxes"
ADMIN_FOLDER = "/run/stopgap/admin"

MIB = 1 << 20
NANO = 10**9
FRONT_OPEN_FILES = 16384  # callers' and workers' connections; engines that are contained themselves allow no 65536
STOP_GRACE_S = 5  # on top of the drain that the runtime itself keeps to

# A container is made with no restart policy, so that a model that cannot load dies once, and is told of; from its
# first answer on it comes back by itself, also after a reboot, until it is stopped.
KEPT = {"Name": "unless-stopped"}
NOT_KEPT = {"Name": "no"}


def sandbox_container(name: str) -> str:
    return f"stopgap-{name}"


def front_container(grpc_port: int) -> str:
    return f"stopgap-front-{grpc_port}"


@dataclass(frozen=True)
class SandboxSpec:
    """One model's sandbox.

    Attributes:
        image: The runtime's image with the bundle in it.
        state: The state folder that it belongs to, for its label.
        sockets: The host's folder in which the runtime binds its sockets.
    """

    name: str
    image: str
    state: Path
    model: Model
    sockets: Path
    limits: Limits
    timeouts: Timeouts
    tags: tuple[str, ...]
    op_libraries: tuple[Path, ...]
    max_message_mib: int

    @property
    def container(self) -> str:
        return sandbox_container(self.name)


@dataclass(frozen=True)
class FrontSpec:
    """One address's front.

    Attributes:
        folder: The host's folder with `xds/`, `sandboxes/` and `admin/` in it.
        on_host_network: Whether the front binds its port itself; else Docker publishes it.
    """

    address: Address
    image: str
    state: Path
    folder: Path
    on_host_network: bool
    max_message_mib: int

    @property
    def container(self) -> str:
        return front_container(self.address.grpc_port)


ContainerSpec = Union[SandboxSpec, FrontSpec]


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
    return Arguments(
        create={
            **outfit(spec.image, spec.container, SANDBOX_UID, spec.timeouts.drain_s + STOP_GRACE_S),
            "command": sandbox_command(spec),
            "labels": labels("sandbox", spec.name, spec.state),
            "hostname": "sandbox",
        },
        host={
            # No file outgrows /tmp: the one other place to write, the sockets' folder, is on the host's disk.
            **walls(limits.memory_mib, limits.pids, limits.open_files, largest_file=limits.tmp_mib * MIB),
            "network_mode": "none",
            "nano_cpus": round(limits.cpus * NANO),
            "tmpfs": {"/tmp": tmpfs(limits.tmp_mib)},  # noqa: S108 - a path inside the container
            "mounts": [
                read_only(spec.model.folder, MODEL_FOLDER),
                writable(spec.sockets, SOCKETS_FOLDER),
                *(read_only(host, inside) for host, inside in op_library_mounts(spec)),
            ],
        },
    )


def sandbox_command(spec: SandboxSpec) -> list[str]:
    command = [
        "serve",
        f"--name={spec.name}",
        f"--model-version={spec.model.version}",
        f"--workers={spec.limits.workers}",
        f"--threads={spec.limits.threads}",
        f"--tags={','.join(spec.tags)}",
        f"--load-timeout={spec.timeouts.load_s}",
        f"--run-timeout={spec.timeouts.run_s}",
        f"--drain-timeout={spec.timeouts.drain_s}",
        f"--max-message-bytes={spec.max_message_mib * MIB}",
    ]
    return command + [f"--op-library={inside}" for _, inside in op_library_mounts(spec)]


def op_library_mounts(spec: SandboxSpec) -> list[tuple[Path, str]]:
    """Numbered, since two libraries may share a file name."""
    return [
        (library, f"{OP_LIBRARIES_FOLDER}/{index}-{library.name}") for index, library in enumerate(spec.op_libraries)
    ]


def front_arguments(spec: FrontSpec) -> Arguments:
    port = spec.address.grpc_port
    create = {
        **outfit(spec.image, spec.container, FRONT_UID, stop_timeout_s=STOP_GRACE_S),
        "command": [
            "-c",
            f"{XDS_FOLDER}/bootstrap.json",
            "--concurrency",
            "2",
            "--disable-hot-restart",
            "--log-level",
            "warning",
        ],
        "labels": labels("front", str(port), spec.state),
    }
    host = {
        **walls(front_memory_mib(spec.max_message_mib), pids=128, open_files=FRONT_OPEN_FILES, largest_file=0),
        "tmpfs": {"/tmp": tmpfs(1)},  # noqa: S108 - a path inside the container
        "mounts": [
            read_only(spec.folder / "xds", XDS_FOLDER),
            read_only(spec.folder / "sandboxes", SANDBOXES_FOLDER),
            writable(spec.folder / "admin", ADMIN_FOLDER),
        ],
    }
    if spec.on_host_network:
        host["network_mode"] = "host"
    else:
        create["ports"] = [(port, "tcp")]
        host["port_bindings"] = {f"{port}/tcp": (spec.address.bind, port)}
        host["network_mode"] = "bridge"
    return Arguments(create, host)


def front_memory_mib(max_message_mib: int) -> int:
    """Envoy holds whole messages, in and out, for as many callers as fit; the rest is its own."""
    return 512 + 8 * max_message_mib


def outfit(image: str, container: str, uid: int, stop_timeout_s: int) -> dict[str, Any]:
    return {
        "image": image,
        "name": container,
        "user": f"{uid}:{uid}",
        "environment": {},
        # docker-py would otherwise put the proxies of ~/.docker/config.json, passwords and all, into the environment.
        "use_config_proxy": False,
        "working_dir": "/",
        "stop_signal": "SIGTERM",
        "stop_timeout": stop_timeout_s,
    }


def walls(memory_mib: int, pids: int, open_files: int, largest_file: int) -> dict[str, Any]:
    return {
        "read_only": True,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "privileged": False,
        "ipc_mode": "none",  # also takes away /dev/shm, which stays writable in a read-only root
        "cgroupns": "private",
        "init": False,  # the runtime is its own parent process and reaps by itself
        "mem_limit": memory_mib * MIB,
        "memswap_limit": memory_mib * MIB,  # memory and swap together: so, no swap
        "oom_kill_disable": False,
        "oom_score_adj": 500,  # when the machine runs out, these go before what else lives on it
        "pids_limit": pids,
        "ulimits": [
            {"Name": name, "Soft": limit, "Hard": limit}
            for name, limit in (("nofile", open_files), ("core", 0), ("fsize", largest_file))
        ],
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


def labels(role: str, name: str, state: Path) -> dict[str, str]:
    return {"stopgap.role": role, "stopgap.name": name, "stopgap.state": str(state)}
