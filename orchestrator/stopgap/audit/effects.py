"""What a probe tries from inside, and what its findings mean. The runtime has the attempts, by the same names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from stopgap.audit.lines import Kind, Line, Status, Wall
from stopgap.audit.promised import (
    CAPABILITIES,
    CORES,
    DEVICES,
    ENVIRONMENT,
    FILTER,
    FROM_TMP,
    GROUPS,
    HOSTNAME,
    HOSTS_FILES,
    HOSTS_FOLDERS,
    IN_ITS_PLACE,
    KERNEL_SETTINGS,
    KEYRINGS,
    LARGEST_FILE,
    MEMORY,
    MODEL,
    NETWORK,
    NO_PRIVILEGES,
    NOBODY,
    OOM,
    OPEN_FILES,
    OWN_GROUPS,
    PARENT,
    PARENTS_LAYOUT,
    PROCESSES,
    ROOT,
    SHARED,
    SOCKETS_WITHIN,
    TASKS,
    TERMINAL,
    TMP_BYTES,
    TMP_FILES,
    USER_NAMESPACES,
    WORKERS,
)

__all__ = ["EFFECTS", "EXHAUSTION", "Effect", "Finding", "LeftOut", "judged", "judged_exhaustion"]

FILTERS_WORD = "a worker's filter alone"
WALLS_WORD = "the wall"


@dataclass(frozen=True)
class Effect:
    """An attempt of the probe's.

    Attributes:
        promise: What it is held against, for the wall.
        filtered: Whether a worker's filter must refuse it, whatever the wall does.
    """

    name: str
    what: str
    promise: str
    filtered: bool = True


@dataclass(frozen=True)
class Finding:
    """How an attempt went, as the sandbox says.

    Attributes:
        confined: With a worker's filter; else without.
    """

    attempt: str
    confined: bool
    refused: bool
    said: str


@dataclass(frozen=True)
class LeftOut:
    """Why something is not tried.

    Attributes:
        here: Whether it is this time alone that it is not, here and now.
    """

    why: str
    here: bool

    @property
    def status(self) -> Status:
        return Status.UNKNOWN if self.here else Status.NOT_TRIED


EFFECTS: tuple[Effect, ...] = (
    Effect("tcp", "connect to an address outside, the host's, or a cloud's metadata", NETWORK),
    Effect("udp", "send a datagram", NETWORK),
    Effect("dns", "ask a name server", NETWORK),
    Effect("interfaces", "find an interface beside loopback", NETWORK),
    Effect("abstract_sockets", "find an abstract socket of the host's", NETWORK, filtered=False),
    Effect("host_sockets", "reach Docker's socket, or D-Bus", HOSTS_FILES),
    Effect("control_socket", "ask the runtime's parent as stopgap does", WORKERS),
    Effect("raw_sockets", "make a raw or a packet socket", CAPABILITIES),
    Effect("sockets", "make any socket", WORKERS),
    Effect("vsock", "make a socket to the hypervisor", SOCKETS_WITHIN),
    Effect("uncommon_sockets", "make a socket of another unusual kind", SOCKETS_WITHIN),
    Effect("parents_memory", "read or trace the runtime's parent", PARENT, filtered=False),
    Effect("parents_layout", "see what the parent has where, in memory or open", PARENTS_LAYOUT, filtered=False),
    Effect("signals", "signal the runtime's parent, or anybody", WORKERS),
    Effect("other_processes", "see a process that is not the sandbox's", PROCESSES, filtered=False),
    Effect("processes", "start a process", WORKERS),
    Effect("programs", "run another program", WORKERS),
    Effect("user_namespaces", "make a user namespace", USER_NAMESPACES),
    Effect("other_namespaces", "make or join another namespace", CAPABILITIES),
    Effect("mounts", "mount, unmount, or change the root", CAPABILITIES),
    Effect("identity", "become another user, or gain a capability", CAPABILITIES),
    Effect("capabilities", "have a capability left", CAPABILITIES, filtered=False),
    Effect("new_privileges", "gain privileges by a set-uid program", NO_PRIVILEGES, filtered=False),
    Effect("filter", "have a thread that no filter holds", FILTER),
    Effect("own_uid", "be somebody to the kernel", NOBODY, filtered=False),
    Effect("groups", "be in a group", OWN_GROUPS, filtered=False),
    Effect("privileged_calls", "load a module, set the clock, make a device, have real-time priority", CAPABILITIES),
    Effect("hostname", "change the host's name", HOSTNAME),
    Effect("higher_limits", "raise its own limits", OPEN_FILES),
    Effect("cores", "dump its core", CORES, filtered=False),
    Effect("oom_score", "outlast others when memory runs out", OOM),
    Effect("root", "make a folder where its programs are", ROOT),
    Effect("folders", "write anywhere but into /tmp", ROOT),
    Effect("shared_memory", "write into /dev/shm", SHARED),
    Effect("tmp", "write into /tmp", WORKERS),
    Effect("programs_in_tmp", "run what it put into /tmp", FROM_TMP),
    Effect("libraries_in_tmp", "load what it put into /tmp", FROM_TMP),
    Effect("programs_in_memory", "run what it put into memory", WORKERS),
    Effect("model", "change its own model", MODEL),
    Effect("socket_folder", "change the folder of its sockets", HOSTS_FOLDERS),
    Effect("socket_links", "put a link in its socket's place", IN_ITS_PLACE),
    Effect("other_models", "find another model, or another's sockets", HOSTS_FILES, filtered=False),
    Effect("host_files", "read the host's files", HOSTS_FILES, filtered=False),
    Effect("kernel_settings", "write the kernel's settings", KERNEL_SETTINGS),
    Effect("control_groups", "write to a control group", GROUPS),
    Effect("devices", "find a device that not every program needs", DEVICES, filtered=False),
    Effect("terminals", "open a terminal", TERMINAL),
    Effect("environment", "find something of the host's environment", ENVIRONMENT, filtered=False),
    Effect("keyrings", "reach the kernel's keyrings", KEYRINGS),
    Effect("io_uring", "use io_uring", FILTER),
    Effect("tracing", "use ptrace", FILTER),
    Effect("bpf_and_perf", "use bpf or perf events", FILTER),
    Effect("userfaultfd", "use userfaultfd", FILTER),
    Effect("address_layout", "have the layout of addresses fixed", FILTER),
    Effect("kernel_log", "read the kernel's log", FILTER),
)

# In a twin that nobody is served by; what the wall does not promise is not tried there either.
EXHAUSTION: tuple[Effect, ...] = (
    Effect("many_tasks", "start processes or threads without end", TASKS, filtered=False),
    Effect("full_tmp", "fill /tmp", TMP_BYTES, filtered=False),
    Effect("many_files", "make files without end", TMP_FILES, filtered=False),
    Effect("large_file", "make one large file", LARGEST_FILE, filtered=False),
    Effect("many_descriptors", "open files without end", OPEN_FILES, filtered=False),
    Effect("memory", "take memory without end", MEMORY, filtered=False),
)


def judged(findings: Iterable[Finding], wall: Wall) -> Iterator[Line]:
    """A line for each effect, whether the probe said anything of it or not."""
    said = {(each.attempt, each.confined): each for each in findings}
    for effect in EFFECTS:
        yield judged_effect(effect, said.get((effect.name, True)), said.get((effect.name, False)), wall)


def judged_effect(effect: Effect, confined: Finding | None, bare: Finding | None, wall: Wall) -> Line:
    """
    Args:
        confined: With a worker's rights.
        bare: Without a worker's filter.
    """
    if confined is None or bare is None:
        return line_of(effect, Status.BROKEN, "", "the probe did not say")
    if wall.promises(effect.promise) and effect.promise != WORKERS and not bare.refused:
        return line_of(effect, Status.BROKEN, FILTERS_WORD if confined.refused else "", bare.said)
    if effect.filtered and not confined.refused:
        return line_of(effect, Status.BROKEN, "", confined.said)
    if bare.refused:
        return line_of(effect, Status.HELD, WALLS_WORD, bare.said)
    if confined.refused:
        return line_of(effect, Status.HELD, FILTERS_WORD, confined.said)
    return line_of(effect, Status.NOT_PROMISED, "", bare.said)


def judged_exhaustion(findings: Iterable[Finding], left_out: Mapping[str, LeftOut], wall: Wall) -> Iterator[Line]:
    """
    Args:
        left_out: By name, what the twin was not told to try, though it is promised.
    """
    said = {each.attempt: each for each in findings}
    for effect in EXHAUSTION:
        finding = said.get(effect.name)
        if not wall.promises(effect.promise):
            yield line_of(effect, Status.NOT_PROMISED, "", "not tried")
        elif why := left_out.get(effect.name):
            yield line_of(effect, why.status, "", why.why)
        elif finding is None:
            yield line_of(effect, Status.BROKEN, "", "the probe did not say")
        else:
            status = Status.HELD if finding.refused else Status.BROKEN
            yield line_of(effect, status, WALLS_WORD if finding.refused else "", finding.said)


def line_of(effect: Effect, status: Status, by: str, seen: str) -> Line:
    return Line(Kind.EFFECT, effect.name, effect.what, effect.promise, status, by, seen)
