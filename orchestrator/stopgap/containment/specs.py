"""What a container is to be: its parts, its limits, what runs in it. Engines turn that into their own words.

Two kinds of container exist: a sandbox, in which a hostile model runs, and a front, which faces the network.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Union

from stopgap.models import Model
from stopgap.overlay import GivenSignatures
from stopgap.settings import Address, Limits, Timeouts

__all__ = [
    "ADMIN_FOLDER",
    "CONTROL_SOCKET",
    "FRONT_OPEN_FILES",
    "FRONT_PIDS",
    "FRONT_UID",
    "MIB",
    "MODEL_FOLDER",
    "OBSERVERS_FOLDER",
    "SANDBOXES_FOLDER",
    "SOCKETS_FOLDER",
    "STOP_GRACE_S",
    "XDS_FOLDER",
    "ContainerSpec",
    "FrontSpec",
    "SandboxSpec",
    "front_container",
    "front_memory_mib",
    "op_library_paths",
    "sandbox_container",
]

FRONT_UID = 65533  # not the sandboxes': who breaks out of one must not own the other's files

MODEL_FOLDER = "/model"
OP_LIBRARIES_FOLDER = "/op-libraries"
SOCKETS_FOLDER = "/run/stopgap"
LANE_SOCKET = "lane.sock"
ASIDE_SOCKET = "aside.sock"
CONTROL_SOCKET = "control.sock"
XDS_FOLDER = "/etc/stopgap/xds"
SANDBOXES_FOLDER = "/run/stopgap/sandboxes"
ADMIN_FOLDER = "/run/stopgap/admin"
OBSERVERS_FOLDER = "/run/stopgap/observers"

MIB = 1 << 20
FRONT_OPEN_FILES = 16384  # callers' and workers' connections; engines that are contained themselves allow no 65536
FRONT_PIDS = 128
STOP_GRACE_S = 5  # on top of the drain that the runtime itself keeps to


def sandbox_container(name: str) -> str:
    return f"stopgap-{name}"


def front_container(grpc_port: int) -> str:
    return f"stopgap-front-{grpc_port}"


def op_library_paths(libraries: tuple[Path, ...]) -> list[tuple[Path, str]]:
    """Host file and the path inside: numbered, since two libraries may share a file name."""
    return [(library, f"{OP_LIBRARIES_FOLDER}/{index}-{library.name}") for index, library in enumerate(libraries)]


@dataclass(frozen=True)
class SandboxSpec:
    """One model's sandbox.

    Attributes:
        image: The runtime's image with the bundle in it.
        state: The state folder that it belongs to, for its label.
        sockets: The host's folder in which the runtime binds its sockets.
        isolation: How hard its wall is, where its engine has more than one.
        also_called: Further names that the model answers to.
        exhaust: What an audit may use up in it; nothing where anybody is to be served.
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
    signatures: GivenSignatures = field(default_factory=dict)
    tensors_allowed: bool = False
    requests_kept: bool = False
    also_called: tuple[str, ...] = ()
    isolation: str = ""
    exhaust: tuple[str, ...] = ()

    @property
    def container(self) -> str:
        return sandbox_container(self.name)

    @property
    def command(self) -> list[str]:
        """The runtime's arguments."""
        return [
            "serve",
            f"--name={self.name}",
            f"--model-version={self.model.version}",
            f"--workers={self.limits.workers}",
            f"--threads={self.limits.threads}",
            f"--tags={','.join(self.tags)}",
            f"--load-timeout={self.timeouts.load_s}",
            f"--run-timeout={self.timeouts.run_s}",
            f"--drain-timeout={self.timeouts.drain_s}",
            f"--max-message-bytes={self.max_message_mib * MIB}",
            f"--worker-memory-bytes={self.limits.worker_memory_mib * MIB}",
            *(f"--op-library={inside}" for _, inside in self.op_library_mounts),
            *([f"--signatures={json.dumps(self.signatures)}"] if self.signatures else []),
            *(["--allow-tensors"] if self.tensors_allowed else []),
            *(["--keep-requests"] if self.requests_kept else []),
            *(f"--also-called={name}" for name in self.also_called),
            *(self._exhausted if self.exhaust else []),
        ]

    @property
    def _exhausted(self) -> list[str]:
        limits = self.limits
        return [
            f"--exhaust={','.join(self.exhaust)}",
            f"--memory-bytes={limits.memory_mib * MIB}",
            f"--tmp-bytes={limits.tmp_mib * MIB}",
            f"--tasks={limits.pids}",
            f"--open-files={limits.open_files}",
        ]

    @property
    def op_library_mounts(self) -> list[tuple[Path, str]]:
        """Host file and the path inside: numbered, since two libraries may share a file name."""
        return op_library_paths(self.op_libraries)

    @property
    def listeners(self) -> tuple[str, ...]:
        """The names of its sockets: the workers', the lane's, observers', and that on which its parent is asked."""
        workers = (f"worker-{index}.sock" for index in range(self.limits.workers))
        return *workers, LANE_SOCKET, ASIDE_SOCKET, CONTROL_SOCKET

    @property
    def labels(self) -> dict[str, str]:
        """By which an engine finds it again."""
        return labels("sandbox", self.name, self.state)

    @property
    def stop_timeout_s(self) -> int:
        """How long it may take to end after SIGTERM."""
        return self.timeouts.drain_s + STOP_GRACE_S


@dataclass(frozen=True)
class FrontSpec:
    """One address's front.

    Attributes:
        folder: The host's folder with `xds/`, `sandboxes/`, `observers/` and `admin/` in it.
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

    @property
    def command(self) -> list[str]:
        """Envoy's arguments."""
        return [
            "-c",
            f"{XDS_FOLDER}/bootstrap.json",
            "--concurrency",
            "2",
            "--disable-hot-restart",
            "--log-level",
            "warning",
        ]

    @property
    def labels(self) -> dict[str, str]:
        """By which an engine finds it again."""
        return labels("front", str(self.address.grpc_port), self.state)

    @property
    def stop_timeout_s(self) -> int:
        """How long it may take to end after SIGTERM."""
        return STOP_GRACE_S

    @property
    def memory_mib(self) -> int:
        """Its limit."""
        return front_memory_mib(self.max_message_mib)


ContainerSpec = Union[SandboxSpec, FrontSpec]


def front_memory_mib(max_message_mib: int) -> int:
    """Envoy holds whole messages, in and out, for as many callers as fit; the rest is its own."""
    return 512 + 8 * max_message_mib


def labels(role: str, name: str, state: Path) -> dict[str, str]:
    return {"stopgap.role": role, "stopgap.name": name, "stopgap.state": str(state)}
