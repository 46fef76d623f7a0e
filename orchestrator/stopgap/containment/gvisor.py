"""gVisor as Docker has it: how its runtime must be registered with the engine, and what mends it: pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["MOST_TASKS", "REGISTER", "RUNSC", "trouble"]

RUNSC = "runsc"  # the name under which gVisor's own `runsc install` registers it

# Its own threads on the host count for the container's limit of tasks, so that must not be what holds the sandbox: a
# limit of the sandbox's user does, which gVisor's own kernel counts.
MOST_TASKS = 4096

# What it must be told of each option, or else: a network of its own cannot be made for a container without one; without
# host-uds the front cannot reach the sockets that a sandbox binds; without oci-seccomp no profile of ours is heeded.
OPTIONS: Mapping[str, tuple[str, ...]] = {
    "network": ("none",),
    "host-uds": ("all",),  # with create alone, a sandbox can bind a socket and then not even look at it
    "oci-seccomp": ("true",),
}

REGISTER = (
    "sudo apt-get install runsc   # elsewhere: https://gvisor.dev/docs/user_guide/install\n"
    "sudo runsc install -- --network=none --host-uds=all --oci-seccomp\n"
    "sudo systemctl reload docker"
)


def trouble(runtimes: Mapping[str, Any]) -> str:
    """What keeps sandboxes from gVisor, in a sentence; empty where nothing does.

    Args:
        runtimes: As the engine's `/info` lists them.
    """
    if RUNSC not in runtimes:
        return f"The engine knows no runtime {RUNSC}: it has {', '.join(sorted(runtimes)) or 'none'}."
    told = options(runtimes[RUNSC].get("runtimeArgs") or ())
    missing = [f"--{name}={wanted[0]}" for name, wanted in OPTIONS.items() if told.get(name) not in wanted]
    return f"The engine's runtime {RUNSC} is registered without {', '.join(missing)}." if missing else ""


def options(words: Sequence[str]) -> dict[str, str]:
    """`--name=value` and `-name`, as Go's programs take them."""
    split = (word.lstrip("-").partition("=") for word in words)
    return {name: value if equals else "true" for name, equals, value in split}
