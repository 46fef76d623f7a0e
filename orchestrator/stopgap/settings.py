"""What a person may ask of a deployment: frozen values with their units, validated once, when they are made."""

from __future__ import annotations

import ipaddress
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import platformdirs

from stopgap.errors import DeploymentError
from stopgap.overlay import GivenSignatures

__all__ = [
    "LONGEST_TIMEOUT_S",
    "Address",
    "Limits",
    "ServeSettings",
    "Timeouts",
    "check_name",
    "check_tag",
    "state_folder",
]

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,39}")
# `stopgap-front-<port>` is what a front's container is called, so a model of that name would collide with it.
RESERVED = re.compile(r"front-[0-9]+")
TAG = re.compile(r"[!-+\--~]{1,100}")  # printable ASCII without the comma, which separates tags

FIRST_UNPRIVILEGED_PORT = 1024  # the front has no capabilities, so it cannot bind below
LAST_PORT = 65535

SMALLEST_MEMORY_MIB = 128  # the library maps 137 MB of data before a model is there; half of it stays untouched
MOST_WORKERS = 64
PARENT_MIB = 48
WORKER_MIB = 16
LARGEST_MESSAGE_MIB = 1024  # gRPC's own length field ends at 4 GiB, Envoy's buffers are sized from this
LONGEST_TIMEOUT_S = 24 * 3600


def state_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Where deployments are remembered. The only place that reads the environment for it."""
    chosen = environment.get("STOPGAP_STATE")
    return Path(chosen).absolute() if chosen else platformdirs.user_state_path("stopgap")


def check_name(name: str) -> str:
    """Returns `name`, which then is safe as a file name, a container's name and a gRPC model name.

    Raises:
        DeploymentError: It is not.
    """
    if not NAME.fullmatch(name):
        raise DeploymentError(
            f"{name!r} cannot be a name.",
            "A name has up to 40 of a-z, 0-9, '.', '_' and '-', and begins with a letter or a digit.",
        )
    if RESERVED.fullmatch(name):
        raise DeploymentError(f"{name!r} cannot be a name.", "front-<number> is what stopgap calls its own containers.")
    return name


def check_tag(tag: str) -> str:
    """Returns `tag`.

    Raises:
        DeploymentError: No graph can have been saved under it.
    """
    require(TAG.fullmatch(tag) is not None, f"{tag!r} cannot be a tag.", "Tags are words such as serve or gpu.")
    return tag


@dataclass(frozen=True)
class Address:
    """Where clients reach a front: one IP address, a port for gRPC and one for REST."""

    bind: str = "127.0.0.1"
    grpc_port: int = 8500
    rest_port: int = 8501

    def __post_init__(self) -> None:
        try:
            ipaddress.ip_address(self.bind)
        except ValueError as error:
            raise DeploymentError(
                f"{self.bind!r} is not an IP address.", "Bind 127.0.0.1 for this machine alone, 0.0.0.0 for everyone."
            ) from error
        for port in self.ports:
            require(
                FIRST_UNPRIVILEGED_PORT <= port <= LAST_PORT,
                f"Port {port} cannot be used.",
                f"Choose one from {FIRST_UNPRIVILEGED_PORT} to {LAST_PORT}: the front runs without privileges.",
            )
        require(
            self.grpc_port != self.rest_port,
            f"gRPC and REST cannot share port {self.grpc_port}.",
            "Choose another: --rest-port PORT",
        )

    def __str__(self) -> str:
        return written(self.bind, self.grpc_port)

    @property
    def ports(self) -> tuple[int, int]:
        """First gRPC's, then REST's."""
        return self.grpc_port, self.rest_port

    @property
    def grpc(self) -> str:
        """What a gRPC client on this machine dials, e.g. `127.0.0.1:8500`."""
        return written(self._dialled, self.grpc_port)

    @property
    def rest(self) -> str:
        """What a REST client on this machine puts before a path, e.g. `http://127.0.0.1:8501`."""
        return f"http://{written(self._dialled, self.rest_port)}"

    @property
    def _dialled(self) -> str:
        """Nobody can dial 0.0.0.0."""
        address = ipaddress.ip_address(self.bind)
        if not address.is_unspecified:
            return self.bind
        return "::1" if address.version == 6 else "127.0.0.1"


def written(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@dataclass(frozen=True)
class Limits:
    """What one sandbox may use of the machine."""

    memory_mib: int = 2048
    cpus: float = 2.0
    workers: int = 1
    tmp_mib: int = 16

    def __post_init__(self) -> None:
        require(
            self.memory_mib >= SMALLEST_MEMORY_MIB,
            f"{self.memory_mib} MiB of memory is too little for TensorFlow.",
            f"Give it at least {SMALLEST_MEMORY_MIB} MiB.",
        )
        require(
            math.isfinite(self.cpus) and self.cpus >= 0.1,
            f"{self.cpus} CPUs cannot serve a model.",
            "Give it at least 0.1.",
        )
        require(1 <= self.workers <= MOST_WORKERS, f"{self.workers} workers cannot be.", f"Choose 1 to {MOST_WORKERS}.")

    @property
    def worker_memory_mib(self) -> int:
        """What one worker may take beyond what it starts with, so that it is refused more before the sandbox is full.

        Not divided among the workers: one that needs much gets what the others leave, and where all want it at once,
        the sandbox's own limit holds. The rest is /tmp's, the parent's, and what each worker has resident at its start.
        """
        rest = self.tmp_mib + PARENT_MIB + self.workers * WORKER_MIB
        return max(self.memory_mib // 2, self.memory_mib - rest)

    @property
    def threads(self) -> int:
        """For each of a worker's two pools. TensorFlow would size them from the host's cores, not from the limit."""
        return max(1, math.ceil(self.cpus))

    @property
    def connections(self) -> int:
        """That may meet on one worker: the front opens 64 for each, and all of them may choose the same."""
        return 64 * self.workers + 16

    @property
    def open_files(self) -> int:
        """For one process: its connections, and what a library and a model keep open."""
        return self.connections + 256

    @property
    def pids(self) -> int:
        """Enough tasks for all pools: TensorFlow aborts when it cannot start a thread.

        A worker has its main thread, two pools of `threads`, what a graph starts of its own (tf.data, queue runners;
        11 were seen on two cores), and a thread for each connection. Three workers more than asked for: the retry
        lane, observers', and one being replaced.
        """
        per_worker = 32 + 4 * self.threads + self.connections
        return 16 + (self.workers + 3) * per_worker


@dataclass(frozen=True)
class Timeouts:
    """How long is too long, in seconds."""

    load_s: int = 120
    run_s: int = 60
    drain_s: int = 30

    def __post_init__(self) -> None:
        for what, seconds in (("load", self.load_s), ("run", self.run_s), ("drain", self.drain_s)):
            require(
                1 <= seconds <= LONGEST_TIMEOUT_S,
                f"A {what} timeout of {seconds} s cannot be.",
                f"Choose 1 to {LONGEST_TIMEOUT_S} seconds.",
            )


@dataclass(frozen=True)
class ServeSettings:
    """All that `stopgap serve` can be told.

    Attributes:
        until: None for what was agreed upon when the model was first served; the default, if it never was.
        reason: Why that is later than what was agreed upon.
        signatures: Given ones, beside the model's own or in their place; see `overlay`.
        tensors_allowed: Whether a request may name the graph's own tensors; it widens what callers can touch.
        requests_kept: Whether the sandbox keeps the request that has ended a worker alone, to be looked at.
        shared: Whether it was started for whoever loads the model, and ends with the last of them.
        also_called: Names of models whose place it may take: it answers to them once its front sends it their requests.
        isolation: How hard the sandbox's wall is to be; empty for its engine's own.
    """

    name: str
    model: Path
    until: date | None = None
    reason: str = ""
    bundle: str = "tf-1.15.5"
    tags: tuple[str, ...] = ("serve",)
    op_libraries: tuple[Path, ...] = ()
    address: Address = field(default_factory=Address)
    limits: Limits = field(default_factory=Limits)
    timeouts: Timeouts = field(default_factory=Timeouts)
    max_message_mib: int = 128
    signatures: GivenSignatures = field(default_factory=dict)
    tensors_allowed: bool = False
    requests_kept: bool = False
    shared: bool = False
    also_called: tuple[str, ...] = ()
    isolation: str = ""

    def __post_init__(self) -> None:
        check_name(self.name)
        require(
            1 <= self.max_message_mib <= LARGEST_MESSAGE_MIB,
            f"Messages of {self.max_message_mib} MiB cannot be.",
            f"Choose 1 to {LARGEST_MESSAGE_MIB} MiB.",
        )
        for tag in self.tags:
            check_tag(tag)
        for name in self.also_called:
            check_name(name)
            require(
                name != self.name and self.also_called.count(name) == 1,
                f"{self.name} cannot be called {name} a second time.",
                "Leave out --also-called with a name that it has already.",
            )


def require(holds: bool, problem: str, remedy: str) -> None:
    if not holds:
        raise DeploymentError(problem, remedy)
