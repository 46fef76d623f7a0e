"""The Docker engine: whether it answers, what it is, whether its limits hold, and what is seen from inside."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

from stopgap.bundle_rows import check_machine
from stopgap.containment import gvisor
from stopgap.doctor.check import Check
from stopgap.doctor.docker_seen import DockerSeen
from stopgap.doctor.finding import Finding, absent, broken, ok, unknown
from stopgap.doctor.inside import MEMORY_BYTES, TASKS
from stopgap.doctor.machine import Machine
from stopgap.doctor.once import given
from stopgap.errors import EngineError, ImageError
from stopgap.isolations import GVISOR

__all__ = ["TOPIC", "checks"]

TOPIC = "Docker"
INSIDE_LIMIT_S = 45.0
NOT_BUILT = "the next serve builds it"

# What the engine's `/info` calls what a sandbox needs.
LIMITS = {"MemoryLimit": "memory", "PidsLimit": "tasks", "CpuCfsQuota": "processors"}

DELEGATE = (
    "sudo mkdir -p /etc/systemd/system/user@.service.d\n"
    "printf '[Service]\\nDelegate=cpu memory pids\\n' | sudo tee /etc/systemd/system/user@.service.d/delegate.conf\n"
    "sudo systemctl daemon-reload   # then log in again, and: systemctl --user restart docker"
)
COUNT_MEMORY = (
    "sudo sed -i 's/^GRUB_CMDLINE_LINUX=\"/&cgroup_enable=memory swapaccount=1 /' /etc/default/grub\n"
    "sudo update-grub && sudo reboot"
)


def checks(_machine: Machine) -> Iterator[Check]:
    yield Check(TOPIC, "engine", engine)
    yield Check(TOPIC, "architecture", architecture)
    yield Check(TOPIC, "limits", limits, INSIDE_LIMIT_S)
    yield Check(TOPIC, "gVisor", gvisor_registered)
    yield Check(TOPIC, "AVX inside", avx_inside, INSIDE_LIMIT_S)
    yield Check(TOPIC, "sandbox's image", sandbox_image, INSIDE_LIMIT_S)
    yield Check(TOPIC, "front's image", front_image)


def engine(machine: Machine) -> Finding:
    seen = machine.docker()
    rights = "rootless" if "rootless" in seen.security else "as root"
    return ok(f"{seen.info.get('ServerVersion', 'unknown version')} answers at {seen.address} ({origin()}), {rights}")


def origin() -> str:
    """What has chosen the address."""
    if os.environ.get("DOCKER_HOST"):
        return "DOCKER_HOST"
    name = os.environ.get("DOCKER_CONTEXT")
    return f"DOCKER_CONTEXT, {name}" if name else "Docker's current context"


def architecture(machine: Machine) -> Finding:
    told = given(machine.docker).engine.limits()
    if told.system != "linux":
        raise EngineError(
            f"The engine runs {told.system} containers; TensorFlow 1.15 has Linux alone.", "docker context use default"
        )
    check_machine(machine.row, told.machine, None)
    return ok(f"{told.machine}, as {machine.row.name} needs it")


def limits(machine: Machine) -> Finding:
    seen = given(machine.docker)
    by = seen.engine.limits_by
    missing = [what for field, what in LIMITS.items() if not seen.info.get(field)]
    if missing:
        return broken(f"{by} does not hold {', '.join(missing)} here", remedy_for_limits(seen))
    inside = given(machine.inside_docker)
    if not (inside.memory and inside.tasks):
        return unknown(f"by {by}, the engine says; a container cannot read its own")
    if (inside.memory, inside.tasks) != (str(MEMORY_BYTES), str(TASKS)):
        return broken(
            f"a container that was to have {MEMORY_BYTES} bytes and {TASKS} tasks has {inside.memory}, {inside.tasks}",
            remedy_for_limits(seen),
        )
    return ok(f"by {by}, seen from inside")


def gvisor_registered(machine: Machine) -> Finding:
    """Nothing is broken where nobody has asked for it, but what it takes is worth knowing."""
    trouble = gvisor.trouble(given(machine.docker).info.get("Runtimes") or {})
    if not trouble:
        return ok("serve --isolation gvisor works: for models of unknown origin")
    behind_it = [each.name for each in machine.deployments() if each.isolation == GVISOR]
    if behind_it:
        return broken(f"{trouble} {', '.join(behind_it)} cannot start again without it", gvisor.REGISTER)
    return absent(f"{trouble} For --isolation gvisor, type:", gvisor.REGISTER)


def remedy_for_limits(seen: DockerSeen) -> str:
    return DELEGATE if "rootless" in seen.security else COUNT_MEMORY


def avx_inside(machine: Machine) -> Finding:
    inside = given(machine.inside_docker)
    check_machine(machine.row, given(machine.docker).engine.limits().machine, inside.flags)
    return ok("a container sees it")


def sandbox_image(machine: Machine) -> Finding:
    seen, bundle = given(machine.docker), machine.bundle()
    if bundle is None:
        return absent(f"{machine.row.name} has not been fetched; the first serve does, and builds the image")
    tag = seen.image(machine.row.kind, bundle)
    if tag is None:
        return absent(NOT_BUILT)
    check_labels(seen, tag, {"stopgap.image": machine.row.kind, "stopgap.bundle": bundle.name})
    inside = given(machine.inside_docker)
    wrong = inside.wrong if inside.bundle == bundle.digest else ("bundle.json", *inside.wrong)
    if wrong:
        raise ImageError(f"{tag} has been altered: {', '.join(wrong)}.", remove(tag))
    return ok(f"{tag}, the bundle in it unchanged")


def front_image(machine: Machine) -> Finding:
    seen = given(machine.docker)
    tag = seen.image("front", None)
    if tag is None:
        return absent(NOT_BUILT)
    check_labels(seen, tag, {"stopgap.image": "front"})
    return ok(tag)


def check_labels(seen: DockerSeen, tag: str, built_with: Mapping[str, str]) -> None:
    """An image's contents go by its own digest; what may have been changed is which image a tag stands for.

    Raises:
        ImageError: The tag stands for an image that stopgap has not built as that.
    """
    labels = seen.labels(tag) or {}
    if any(labels.get(name) != value for name, value in built_with.items()):
        raise ImageError(f"{tag} stands for an image that stopgap did not build as that.", remove(tag))


def remove(tag: str) -> str:
    return f"docker image rm --force {tag}   # the next serve builds it anew"
