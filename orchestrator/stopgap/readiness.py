"""Waiting for a sandbox: until it is ready or dead, whichever comes first. All that it says is hostile."""

from __future__ import annotations

import json
import os
import stat
import time
from dataclasses import dataclass
from pathlib import Path

from stopgap.containment.specs import SandboxSpec
from stopgap.engines.protocol import Engine, Observed, State
from stopgap.errors import ModelError, SandboxError, StopgapError
from stopgap.printable import printable
from stopgap.progress import Progress

__all__ = ["Ready", "death", "read_ready", "wait_until_loaded"]

READY_FILE = "ready.json"
LARGEST_READY_FILE = 64 << 10
EXIT_LOAD_FAILED = 3
LOAD_FAILED = "[parent] load failed: "
CRASHED = "INTERNAL"  # the worker died over the model, so what it said before is the best there is to know
LOG_TAIL = 20

# The runtime ends a load by itself, and says why; only a runtime that hangs as a whole needs more than this on top.
LOAD_GRACE_S = 15.0
READY_EVERY_S = 0.02
OBSERVE_EVERY_S = 0.25

REMEDIES = {
    "DEADLINE_EXCEEDED": "Give it longer: --load-timeout SECONDS",
    "RESOURCE_EXHAUSTED": "Give it more memory: --memory MIB",
}


@dataclass(frozen=True)
class Ready:
    """What a runtime says once all its workers have loaded the model."""

    workers: int
    changes_state: bool
    tensorflow: str


def wait_until_loaded(engine: Engine, spec: SandboxSpec, progress: Progress) -> Ready:
    """
    Raises:
        ModelError: The runtime says that the model cannot be loaded.
        SandboxError: It died, or was not ready in time; carries its last log lines.
    """
    started = time.monotonic()
    deadline = started + spec.timeouts.load_s + LOAD_GRACE_S
    next_look = started
    while True:
        ready = read_ready(spec.sockets, most_workers=spec.limits.workers)
        if ready is not None:
            return ready
        now = time.monotonic()
        if now >= next_look:
            next_look = now + OBSERVE_EVERY_S
            observed = engine.observe(spec.container)
            if observed is None or observed.ended or brought_back(observed):
                raise death(engine, spec, observed)
            progress("loading the model", min(1.0, (now - started) / spec.timeouts.load_s))
        if now > deadline:
            raise SandboxError(
                f"The model was not loaded after {now - started:.0f} s.",
                REMEDIES["DEADLINE_EXCEEDED"],
                last_lines(engine, spec),
            )
        time.sleep(READY_EVERY_S)


def brought_back(observed: Observed) -> bool:
    """Whether it has ended once already: an engine may bring it back before it is told to."""
    return observed.state is State.RESTARTING or observed.restarts > 0


def read_ready(folder: Path, most_workers: int) -> Ready | None:
    """The runtime's announcement, or None while there is none.

    Raises:
        SandboxError: There is something, but not what a runtime writes.
    """
    content = bounded_content(folder / READY_FILE)
    if content is None:
        return None
    try:
        fields = json.loads(content)
        workers, changes_state, tensorflow = fields["workers"], fields["changes_state"], fields["tensorflow"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise forged() from error
    sound = (
        type(workers) is int
        and 1 <= workers <= most_workers
        and type(changes_state) is bool
        and type(tensorflow) is str
        and not (changes_state and workers != 1)
    )
    if not sound:
        raise forged()
    return Ready(workers, changes_state, printable(tensorflow, longest=32))


def bounded_content(path: Path) -> bytes | None:
    """A small plain file's content; no link is followed, and nothing that could block is waited for."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise forged() from error
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise forged()
        content = os.read(descriptor, LARGEST_READY_FILE + 1)
    finally:
        os.close(descriptor)
    if len(content) > LARGEST_READY_FILE:
        raise forged()
    return content


def forged() -> SandboxError:
    return SandboxError(
        f"The sandbox's {READY_FILE} is not what the runtime writes.",
        "Something in the sandbox forged it: do not trust this model.",
    )


def death(engine: Engine, spec: SandboxSpec, observed: Observed | None) -> StopgapError:
    """Why a sandbox ended before the model answered."""
    if observed is None:
        return SandboxError(
            f"The container {spec.container} vanished while the model was being loaded.",
            "Somebody removed it, or stopped it from another terminal.",
        )
    lines = last_lines(engine, spec)
    too_little_memory = f"It reached its limit of {spec.limits.memory_mib} MiB: give it more with --memory MIB"
    told = [number for number, line in enumerate(lines) if line.startswith(LOAD_FAILED)]
    ended_by_itself = observed.exit_code == EXIT_LOAD_FAILED or brought_back(observed)  # then its next life prints too
    if told and ended_by_itself:
        lines = lines[: told[-1] + 1]
        text = lines[-1][len(LOAD_FAILED) :]
        code = text.partition(":")[0]
        remedy = too_little_memory if observed.out_of_memory else REMEDIES.get(code, "")
        problem = f"The model cannot be loaded: {printable(text)}"
        if code == CRASHED:
            return SandboxError(problem, remedy, lines[:-1])
        return ModelError(problem, remedy)
    code_known = "" if observed.exit_code is None else f" with exit code {observed.exit_code}"
    return SandboxError(
        f"The sandbox ended{code_known} before the model answered.",
        too_little_memory if observed.out_of_memory else "",
        lines,
    )


def last_lines(engine: Engine, spec: SandboxSpec) -> tuple[str, ...]:
    return engine.logs(spec.container, LOG_TAIL)
