"""What the world looks like from inside a Docker container of ours: processor, limits in force, the bundle's files."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from stopgap.containment.specs import MIB
from stopgap.doctor.docker_socket import DockerSocket
from stopgap.doctor.finding import Untold
from stopgap.models import SANDBOX_UID
from stopgap.printable import printable

__all__ = ["MEMORY_BYTES", "TASKS", "Inside", "look_inside"]

MEMORY_BYTES = 128 * MIB
TASKS = 32
HASHING_TIMEOUT_S = 30.0

# Run by the image's own Python. The files of limits are cgroup v2's, then v1's.
PROGRAM = """
import hashlib, json, pathlib

def text(*paths):
    there = [path for path in map(pathlib.Path, paths) if path.is_file()]
    return there[0].read_text() if there else ""

def digest(path):
    if not path.is_file():
        return ""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()

cpuinfo = text("/proc/cpuinfo").splitlines()
bundle = pathlib.Path("/opt/stopgap/bundle")
files = json.loads((bundle / "bundle.json").read_text())["files"]
print(json.dumps({
    "flags": next((line.partition(":")[2] for line in cpuinfo if line.startswith("flags")), ""),
    "memory": text("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes").strip(),
    "tasks": text("/sys/fs/cgroup/pids.max", "/sys/fs/cgroup/pids/pids.max").strip(),
    "bundle": digest(bundle / "bundle.json"),
    "wrong": [name for name in files if digest(bundle / name) != files[name]],
}))
"""


@dataclass(frozen=True)
class Inside:
    """What the container said.

    Attributes:
        flags: Of the first processor, as in /proc/cpuinfo.
        memory, tasks: The limits as the kernel has them, in bytes and in processes; empty where it does not tell.
        bundle: The SHA-256 of the image's `bundle.json`.
        wrong: The bundle's files that are not what it promises.
    """

    flags: frozenset[str]
    memory: str
    tasks: str
    bundle: str
    wrong: tuple[str, ...]


def look_inside(docker: DockerSocket, image: str) -> Inside:
    """Starts a container of that image, as contained as a sandbox, which is gone again when this returns.

    Raises:
        Untold: It could not be started, or did not say what was asked.
    """
    try:
        said = DockerSocket(docker.path, HASHING_TIMEOUT_S).run(container(image))
    except OSError as error:
        raise Untold(f"no container could be started to look from inside: {error}") from error
    try:
        return read(json.loads(said))
    except (ValueError, KeyError, TypeError) as error:
        raise Untold(f"a container of {image} says {printable(said.strip(), longest=300)!r}") from error


def container(image: str) -> dict[str, Any]:
    return {
        "Image": image,
        "Entrypoint": ["python3.11", "-I", "-c", PROGRAM],
        "User": f"{SANDBOX_UID}:{SANDBOX_UID}",
        "Labels": {"stopgap.role": "doctor"},
        "HostConfig": {
            "NetworkMode": "none",
            "ReadonlyRootfs": True,
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges:true"],
            "Memory": MEMORY_BYTES,
            "MemorySwap": MEMORY_BYTES,
            "PidsLimit": TASKS,
        },
    }


def read(said: dict[str, Any]) -> Inside:
    """Every value as a harmless text: an image may have been changed."""
    return Inside(
        flags=frozenset(str(said["flags"]).split()),
        memory=printable(str(said["memory"]), longest=100),
        tasks=printable(str(said["tasks"]), longest=100),
        bundle=str(said["bundle"]),
        wrong=tuple(printable(str(name), longest=200) for name in said["wrong"]),
    )
