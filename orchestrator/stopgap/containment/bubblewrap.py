"""Promises as bubblewrap's arguments: pure.

`bwrap` stays outside; a child of its builds the walls, stays as the first process within them, and starts what becomes
one program after the other. All of them are behind the filter of system calls, which bwrap puts on last:

    setpriv   as root alone: gives up uid 0 and every capability
    sh        the gate: says that the walls stand, and waits to be let through
    prlimit   what the kernel limits for each process
    …         the runtime, or Envoy

With the first process everything inside ends, whoever it belongs to. It is bwrap's own and not the program, because it
is to end with bwrap: as root, bwrap has no right any more to end a process of another uid.

A container gets nothing that it does not need; what sandboxes and fronts share is in `walls`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from stopgap.containment import seccomp
from stopgap.containment.descriptors import FILTER, FIRST_LISTENER, GATE, INFO, READY
from stopgap.containment.specs import (
    ADMIN_FOLDER,
    FRONT_OPEN_FILES,
    FRONT_PIDS,
    FRONT_UID,
    MIB,
    MODEL_FOLDER,
    OBSERVERS_FOLDER,
    SANDBOXES_FOLDER,
    XDS_FOLDER,
    ContainerSpec,
    FrontSpec,
    SandboxSpec,
)
from stopgap.interpreter import Interpreter
from stopgap.models import SANDBOX_UID

__all__ = ["Arguments", "Host", "Tools", "arguments", "sandbox_profile", "trial"]

APP_FOLDER = "/opt/stopgap/app"
BUNDLE_FOLDER = "/opt/stopgap/bundle"
ENVOY = "/opt/stopgap/envoy"

NAMESPACES = ("--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup")
DEVICES = ("null", "zero", "full", "random", "urandom")  # no terminals, no shared memory
LOADER_CACHE = "/etc/ld.so.cache"

# Of each thread, where a process's memory is limited: there, a stack counts whole, and each caller has a thread of its
# own. It is what the C library takes where nobody says anything.
STACK = 2 * MIB

# Until it is through, nobody could end what has lost its monitor; but then it finds the gate shut, and ends by itself.
THROUGH_THE_GATE = f'echo >&{GATE} && read -r go <&{GATE} && exec "$@" {GATE}>&-'


@dataclass(frozen=True)
class Tools:
    """The programs that stand between bwrap and the container's own, each at its place below /usr."""

    bwrap: Path
    setpriv: Path
    prlimit: Path
    shell: Path


@dataclass(frozen=True)
class Host:
    """What of this machine the walls are made of.

    Attributes:
        privileged: Whether stopgap runs as root; else the walls stand in a user namespace.
        links: What leads into /usr where all programs and libraries are there: `/lib` → `usr/lib`.
        folders: What does not: `/lib`, where it is a folder of its own.
        ceilings: The most that stopgap itself may ask for, by `prlimit`'s names; where one is absent, anything.
    """

    privileged: bool
    tools: Tools
    links: Mapping[str, str]
    folders: tuple[str, ...]
    ceilings: Mapping[str, int]


@dataclass(frozen=True)
class Arguments:
    """A container's command line, in the parts that are joined when it is started.

    Attributes:
        before: Everything up to `prlimit`.
        rlimits: What `prlimit` is told: `nofile` → `400:400`, soft and hard.
        stand_ins: What it is told besides where no control group holds memory and tasks as a whole.
        program: What runs in the end.
        profile: The system calls that everything inside may make, of which the descriptor FILTER has the program.
    """

    before: tuple[str, ...]
    rlimits: Mapping[str, str]
    stand_ins: Mapping[str, str]
    program: tuple[str, ...]
    profile: str


@dataclass(frozen=True)
class Mount:
    """Something of the host's that a container sees."""

    source: Path | str
    target: str
    option: str = "--ro-bind"


def arguments(spec: ContainerSpec, host: Host, interpreter: Interpreter | None) -> Arguments:
    """The container of `spec`, in bubblewrap's words; a sandbox needs an interpreter, a front none."""
    if isinstance(spec, FrontSpec):
        return front_arguments(spec, host)
    if interpreter is None:
        raise ValueError("a sandbox needs an interpreter")
    return sandbox_arguments(spec, host, interpreter)


def sandbox_arguments(spec: SandboxSpec, host: Host, interpreter: Interpreter) -> Arguments:
    limits, root = spec.limits, Path(spec.image)
    mounts = [
        *prefix_mounts(interpreter),
        Mount(root / "app", APP_FOLDER),
        Mount(root / "bundle", BUNDLE_FOLDER),
        Mount(spec.model.folder, MODEL_FOLDER),
        *(Mount(library, inside) for library, inside in spec.op_library_mounts),
    ]
    listeners = range(FIRST_LISTENER, FIRST_LISTENER + len(spec.listeners))
    return Arguments(
        before=(
            *walls(host, SANDBOX_UID, "sandbox", mounts, tmp_mib=limits.tmp_mib),
            *prelude(host, SANDBOX_UID),
        ),
        # No file outgrows /tmp, which is the one place to write.
        rlimits=rlimits(host, nofile=limits.open_files, core=0, fsize=limits.tmp_mib * MIB),
        stand_ins=rlimits(host, data=limits.memory_mib * MIB, nproc=limits.pids, stack=STACK),
        program=(
            str(interpreter.executable),
            "-I",
            APP_FOLDER,
            *spec.command,
            f"--listen-fds={','.join(map(str, listeners))}",
            f"--ready-fd={READY}",
        ),
        profile=sandbox_profile(host),
    )


def front_arguments(spec: FrontSpec, host: Host) -> Arguments:
    mounts = [
        Mount(Path(spec.image) / "envoy", ENVOY),
        Mount(spec.folder / "xds", XDS_FOLDER),
        Mount(spec.folder / "sandboxes", SANDBOXES_FOLDER),
        Mount(spec.folder / "observers", OBSERVERS_FOLDER),
        Mount(spec.folder / "admin", ADMIN_FOLDER, "--bind"),
    ]
    return Arguments(
        before=(
            *walls(host, FRONT_UID, "front", mounts, tmp_mib=1, own_network=False),
            *prelude(host, FRONT_UID),
        ),
        rlimits=rlimits(host, nofile=FRONT_OPEN_FILES, core=0, fsize=0),
        # Its memory's hard limit is as high as can be: it may have to be raised while it runs.
        stand_ins={**rlimits(host, nproc=FRONT_PIDS), "data": raisable(host, "data", spec.memory_mib * MIB)},
        program=(ENVOY, *spec.command),
        profile=profile_for(host, FRONT_UID, seccomp.FRONT),
    )


def sandbox_profile(host: Host) -> str:
    """Of system calls, for a sandbox and for what it begins with."""
    return profile_for(host, SANDBOX_UID, seccomp.SANDBOX)


def profile_for(host: Host, uid: int, profile: str) -> str:
    return seccomp.from_root_to(uid, profile) if host.privileged else profile


def trial(host: Host, program: tuple[str, ...], filter_at: int) -> tuple[str, ...]:
    """A command line that builds a sandbox's walls, gives up all rights, and runs `program`: does that work here?

    Args:
        filter_at: The descriptor that has the program of a sandbox's profile.
    """
    return (
        *walls(host, SANDBOX_UID, "sandbox", (), tmp_mib=1, info=False, filter_at=filter_at),
        *privileges_dropped(host, SANDBOX_UID),
        str(host.tools.prlimit),
        "--core=0:0",
        *program,
    )


def prefix_mounts(interpreter: Interpreter) -> Iterator[Mount]:
    """Nothing, where /usr holds it already."""
    if not interpreter.prefix.is_relative_to("/usr"):
        yield Mount(interpreter.prefix, str(interpreter.prefix))


def walls(
    host: Host,
    uid: int,
    hostname: str,
    mounts: Iterable[Mount],
    *,
    tmp_mib: int,
    own_network: bool = True,
    info: bool = True,
    filter_at: int = FILTER,
) -> tuple[str, ...]:
    return (
        str(host.tools.bwrap),
        *NAMESPACES,
        *(("--unshare-net",) if own_network else ()),
        *identity(host, uid),
        "--die-with-parent",
        "--new-session",
        "--clearenv",
        "--hostname",
        hostname,
        *(("--info-fd", str(INFO)) if info else ()),
        "--seccomp",
        str(filter_at),
        # First of all, so that what is mounted below /tmp is not hidden by it.
        "--size",
        str(tmp_mib * MIB),
        "--perms",
        "1777",
        "--tmpfs",
        "/tmp",  # noqa: S108 - a path inside the container
        *mounted([*system_mounts(host), *mounts]),
        *(word for link, target in host.links.items() for word in ("--symlink", target, link)),
        "--proc",
        "/proc",
        "--remount-ro",
        "/",
        "--chdir",
        "/",
        "--",
    )


def identity(host: Host, uid: int) -> tuple[str, ...]:
    """As root the kernel's own uid is to change, which it does not in a user namespace: setpriv does it, inside."""
    if host.privileged:
        return ("--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID", "--cap-add", "CAP_SETPCAP")
    return ("--unshare-user", "--uid", str(uid), "--gid", str(uid), "--disable-userns", "--cap-drop", "ALL")


def system_mounts(host: Host) -> Iterator[Mount]:
    yield Mount("/usr", "/usr")
    for folder in host.folders:
        yield Mount(folder, folder)
    yield Mount(LOADER_CACHE, LOADER_CACHE, "--ro-bind-try")
    for device in DEVICES:
        yield Mount(f"/dev/{device}", f"/dev/{device}", "--dev-bind")


def mounted(mounts: Iterable[Mount]) -> Iterator[str]:
    """With the folders above each: those that bwrap makes of its own accord are closed to everyone but root."""
    made = {"/", "/tmp"}  # noqa: S108 - a path inside the container
    for mount in mounts:
        for parent in reversed(PurePosixPath(mount.target).parents):
            if str(parent) not in made:
                made.add(str(parent))
                yield from ("--dir", str(parent))
        made.add(mount.target)
        yield from (mount.option, str(mount.source), mount.target)


def prelude(host: Host, uid: int) -> tuple[str, ...]:
    gate = (str(host.tools.shell), "-c", THROUGH_THE_GATE, "gate")
    return (*privileges_dropped(host, uid), *gate, str(host.tools.prlimit))


def privileges_dropped(host: Host, uid: int) -> tuple[str, ...]:
    """Nothing in a user namespace, where bwrap has dropped them all already."""
    if not host.privileged:
        return ()
    return (
        str(host.tools.setpriv),
        f"--reuid={uid}",
        f"--regid={uid}",
        "--clear-groups",
        "--no-new-privs",
        "--bounding-set=-all",
        "--inh-caps=-all",
        "--ambient-caps=-all",
    )


def rlimits(host: Host, **wanted: int) -> dict[str, str]:
    """By `prlimit`'s names; soft and hard alike, none above the ceilings."""
    allowed = {name: min(limit, host.ceilings.get(name, limit)) for name, limit in wanted.items()}
    return {name: f"{limit}:{limit}" for name, limit in allowed.items()}


def raisable(host: Host, name: str, limit: int) -> str:
    """A soft limit that may be raised later, as far as a ceiling lets it."""
    ceiling = host.ceilings.get(name)
    return f"{limit}:unlimited" if ceiling is None else f"{min(limit, ceiling)}:{ceiling}"
