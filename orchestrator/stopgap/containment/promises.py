"""What containment promises, and what keeps each promise on each engine, or that nothing does: data alone.

`docs/containment.md` is this, for people. `tests/unit/test_promises.py` holds it against what engines are told, and
tries it out from within bubblewrap's walls.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Union

__all__ = ["LIMITS", "LIVES", "WALLS", "Answer", "Held", "Limit", "NotPromised", "Promise"]


@dataclass(frozen=True)
class Held:
    """The promise is kept.

    Attributes:
        by: What keeps it.
        told: What the engine is told for it, where it is told anything. For Docker: one of a container's settings. For
            bubblewrap: neighbouring words of the whole command line, `*` for anything. For control groups made by hand:
            a file of version 1 and one of version 2.
    """

    by: str
    told: tuple[str, ...] = ()


@dataclass(frozen=True)
class NotPromised:
    """It is not kept.

    Attributes:
        but: What there is instead.
    """

    but: str


Answer = Union[Held, NotPromised]


@dataclass(frozen=True)
class Promise:
    """One that depends on the engine, and with bubblewrap on who runs stopgap.

    Attributes:
        docker, root, user: Docker; bubblewrap as root; bubblewrap as a user without rights.
        front: What is otherwise for a front; empty where all of it holds for a front as well.
        gvisor: Docker with gVisor, for a sandbox; None where it is as with Docker alone. Fronts never run there.
        podman: Root's Podman; None where it is as with Docker.
    """

    what: str
    docker: Answer
    root: Answer
    user: Answer
    front: str = ""
    gvisor: Answer | None = None
    podman: Answer | None = None


@dataclass(frozen=True)
class Limit:
    """One that depends on what there is to hold it, which `limits_by` names.

    Attributes:
        docker: Docker.
        groups: Control groups made by hand: bubblewrap as root.
        scope: A scope of the user's own systemd: bubblewrap as a user.
        rlimits: Limits of each process, for want of both: bubblewrap as root or as a user.
        front: What is otherwise for a front; empty where all of it holds for a front as well.
        gvisor: Docker with gVisor, for a sandbox; None where it is as with Docker alone.
        podman: Root's Podman; None where it is as with Docker.
    """

    what: str
    docker: Answer
    groups: Answer
    scope: Answer
    rlimits: Answer
    front: str = ""
    gvisor: Answer | None = None
    podman: Answer | None = None


WORKERS_CANNOT = "only a worker's own filter stands before that"
HOSTS_PROGRAMS = NotPromised("/usr is the host's, read-only, with everything that is installed there")
CANNOT_BE_NOEXEC = NotPromised(f"bubblewrap cannot mount it so; {WORKERS_CANNOT}")
FILES_UNCOUNTED = NotPromised(f"bubblewrap cannot limit it; a control group counts them as memory; {WORKERS_CANNOT}")
EMPTY_ROOT = "an empty root, and what is mounted by name: the loader's cache, and Python where it is in a home"
READ_ONLY_MODEL = Held("a read-only mount; what the host has mounted below comes along", ("--ro-bind", "*", "/model"))
FEW_DEVICES = Held("five of them, and no right to make others", ("--dev-bind", "/dev/null", "/dev/null"))
SIZED_TMP = Held("the size of a file system in memory", ("--size", "*", "--perms", "1777", "--tmpfs", "/tmp"))  # noqa: S108
PROFILE = Held("a profile of system calls, of ours and not Docker's", ("security_opt",))
SAME_PROFILE = Held("the same profile as a filter, which bubblewrap puts on before anything runs", ("--seccomp", "*"))
SAME_PROFILE_AS_ROOT = Held(
    "the same profile as a filter, which bubblewrap puts on before anything runs; it has the calls besides by which "
    "setpriv gives up uid 0, and which lead back to nothing",
    SAME_PROFILE.told,
)
NO_OTHER_SOCKETS = Held(
    "a profile of system calls: Unix sockets alone, and none connects; none to a hypervisor", SAME_PROFILE.told
)
WORKERS_LIST = Held("the runtime itself: each worker gives up the rest before it loads its model")
PARENT_IS_CLOSED = Held("the runtime itself: its parent can be neither traced nor dumped")
UNLESS_UNCOUNTED = "a control group, where the kernel counts swap"
HOSTS_KERNEL = NotPromised("it is the host's kernel that all of these walls are made of")
REFUSED_MEMORY = Held(
    "the runtime itself: each worker's own limit, below the sandbox's; the request fails, or where TensorFlow does not "
    "expect to be refused, the worker, which is replaced"
)
IF_THE_KERNEL_HAS_ONE = "a control group; where the kernel has none for it, as with rlimits"
ENDS_WITH_MONITOR = "it ends with its monitor; `stopgap status` says so, and the next command brings it back"
KILLED_BY_KERNEL = Held("the kernel ends one of its processes; a worker is replaced, a container brought back")
MONITOR_BRINGS_BACK = Held("its monitor, after pauses that grow")
MONITOR_KEEPS_QUEUES = Held("its monitor keeps the listening sockets, and so their queues")
DOWN_SINCE_REBOOT = NotPromised("`stopgap status` says that it is down since then, `stopgap resume` brings it back")
NOT_BROUGHT_BACK = "not before Podman 5.1: `stopgap status` says that it is down, `stopgap resume` brings it back"
MONITOR_SCORES = Held("an out-of-memory score of 500, which its monitor sets")
MONITOR_LOGS = Held("two files of 5 MB, which its monitor writes")

WALLS: tuple[Promise, ...] = (
    Promise(
        "It has no network",
        docker=Held("network mode `none`", ("network_mode",)),
        root=Held("a network namespace with nothing but loopback", ("--unshare-net",)),
        user=Held("a network namespace with nothing but loopback", ("--unshare-net",)),
        front="It listens for callers, so it has the host's network; where Docker does not share that, a bridge.",
    ),
    Promise(
        "Its root is read-only",
        docker=Held("a read-only root", ("read_only",)),
        root=Held("read-only mounts, and the root that they are in", ("--remount-ro", "/")),
        user=Held("read-only mounts, and the root that they are in", ("--remount-ro", "/")),
    ),
    Promise(
        "It can write to no folder of the host's",
        docker=NotPromised(f"to that of its own sockets it can, files no larger than /tmp; {WORKERS_CANNOT}"),
        root=Held("none is mounted to be written to: its sockets are handed in"),
        user=Held("none is mounted to be written to: its sockets are handed in"),
        front="It can write to the folder of its admin socket, though no file there can have contents.",
    ),
    Promise(
        "It can put nothing in its socket's place that would lead the front elsewhere",
        docker=Held(
            "a profile of system calls without any that makes a link or a device; and if there were one, it would lead "
            "to no more than the front itself sees: the sandboxes' sockets and its own",
            ("security_opt",),
        ),
        root=Held("its sockets are handed in, and no folder is"),
        user=Held("its sockets are handed in, and no folder is"),
        front="It has no folder of sockets that is its own.",
    ),
    Promise(
        "It makes no sockets but such as stay within it",
        docker=Held(
            "a profile of system calls: Unix sockets alone, and none connects; none to a hypervisor", ("security_opt",)
        ),
        root=NO_OTHER_SOCKETS,
        user=NO_OTHER_SOCKETS,
        front="It makes those of the network and connects; none to a hypervisor.",
    ),
    Promise(
        "It cannot change its model",
        docker=Held("a read-only mount; what the host has mounted below stays outside", ("mounts",)),
        root=READ_ONLY_MODEL,
        user=READ_ONLY_MODEL,
        front="It has none.",
    ),
    Promise(
        "It can run nothing from /tmp",
        docker=Held("mounted `noexec`", ("tmpfs",)),
        root=CANNOT_BE_NOEXEC,
        user=CANNOT_BE_NOEXEC,
        gvisor=NotPromised(f"no program, but a library that is there can be loaded; {WORKERS_CANNOT}"),
    ),
    Promise(
        "Bytes in /tmp are limited",
        docker=Held("the size of a file system in memory", ("tmpfs",)),
        root=SIZED_TMP,
        user=SIZED_TMP,
    ),
    Promise(
        "Files in /tmp are limited",
        docker=Held("1,024 in a file system in memory", ("tmpfs",)),
        root=FILES_UNCOUNTED,
        user=FILES_UNCOUNTED,
        front="Nothing keeps Envoy from making more, with bubblewrap.",
        gvisor=NotPromised(f"gVisor takes no notice of that limit; they count as memory; {WORKERS_CANNOT}"),
        podman=NotPromised(f"Podman passes that limit on to nobody; they count as memory; {WORKERS_CANNOT}"),
    ),
    Promise(
        "No file can outgrow /tmp",
        docker=Held("a limit of each process", ("ulimits",)),
        root=Held("a limit of each process", ("--fsize=*",)),
        user=Held("a limit of each process", ("--fsize=*",)),
        front="None can have contents at all.",
    ),
    Promise(
        "Open files are limited",
        docker=Held("a limit of each process", ("ulimits",)),
        root=Held("a limit of each process", ("--nofile=*",)),
        user=Held("a limit of each process", ("--nofile=*",)),
    ),
    Promise(
        "It dumps no core",
        docker=Held("a limit of each process", ("ulimits",)),
        root=Held("a limit of each process", ("--core=0:0",)),
        user=Held("a limit of each process", ("--core=0:0",)),
    ),
    Promise(
        "It has no capabilities",
        docker=Held("all are dropped", ("cap_drop",)),
        root=Held("setpriv drops the last ones, and whatever could be gained again", ("--bounding-set=-all",)),
        user=Held("all are dropped, those over its own namespaces as well", ("--cap-drop", "ALL")),
    ),
    Promise(
        "It gains no privileges",
        docker=Held("`no-new-privileges`", ("security_opt",)),
        root=Held("`no_new_privs`, and mounts on which set-uid bits mean nothing", ("--no-new-privs",)),
        user=Held("`no_new_privs`, which bubblewrap always sets, and mounts on which set-uid bits mean nothing"),
    ),
    Promise(
        "To the kernel it is nobody in particular",
        docker=Held("uid 65534; with a rootless engine, one of the user's subordinate uids", ("user",)),
        root=Held("uid 65534, as all sandboxes", ("--reuid=*", "--regid=*")),
        user=NotPromised("it is 65534 to itself alone; to the kernel it is the user who ran stopgap"),
        front="Its uid is 65533.",
        gvisor=Held(
            "uid 65534 in gVisor's kernel; to the host's, gVisor's own program, which gives up its rights", ("user",)
        ),
    ),
    Promise(
        "It is in no other groups",
        docker=Held("none are given to it", ("user",)),
        root=Held("setpriv clears them", ("--clear-groups",)),
        user=NotPromised("nobody without rights can leave a group: it stays in those of the user who ran stopgap"),
    ),
    Promise(
        "It sees no other processes",
        docker=Held("a pid namespace"),
        root=Held("a pid namespace", ("--unshare-pid",)),
        user=Held("a pid namespace", ("--unshare-pid",)),
    ),
    Promise(
        "It shares no memory and no queues with others",
        docker=Held("an IPC namespace, and no /dev/shm", ("ipc_mode",)),
        root=Held("an IPC namespace, and no /dev/shm", ("--unshare-ipc",)),
        user=Held("an IPC namespace, and no /dev/shm", ("--unshare-ipc",)),
        gvisor=Held("gVisor's own kernel, and a /dev/shm that it cannot write to", ("ipc_mode",)),
    ),
    Promise(
        "It neither knows nor changes the host's name",
        docker=Held("a UTS namespace", ("hostname",)),
        root=Held("a UTS namespace", ("--unshare-uts",)),
        user=Held("a UTS namespace", ("--unshare-uts",)),
        front="With Docker, on the host's network, it knows it.",
    ),
    Promise(
        "It sees no control groups but its own",
        docker=Held("a cgroup namespace", ("cgroupns",)),
        root=Held("a cgroup namespace, and no /sys", ("--unshare-cgroup",)),
        user=Held("a cgroup namespace, and no /sys", ("--unshare-cgroup",)),
        podman=NotPromised("on cgroup v1 it can read where its own is, and change nothing there"),
    ),
    Promise(
        "It can make no user namespaces",
        docker=PROFILE,
        root=SAME_PROFILE,
        user=Held(
            "bubblewrap leaves none to be made in its own, and the profile lets none be made", ("--disable-userns",)
        ),
    ),
    Promise(
        "System calls are filtered for all that is inside",
        docker=PROFILE,
        root=SAME_PROFILE_AS_ROOT,
        user=SAME_PROFILE,
        gvisor=Held(
            "the same profile, which gVisor's kernel heeds; but not for what `docker exec` lets in", ("security_opt",)
        ),
    ),
    Promise(
        "Its system calls reach another kernel than the host's",
        docker=HOSTS_KERNEL,
        root=HOSTS_KERNEL,
        user=HOSTS_KERNEL,
        gvisor=Held("gVisor's, a program that is under a filter of its own", ("runtime",)),
    ),
    Promise(
        "Who reads models and requests can start no program and no process, make no socket, write no file, "
        "signal nobody",
        docker=WORKERS_LIST,
        root=WORKERS_LIST,
        user=WORKERS_LIST,
        front="Envoy has no such list.",
    ),
    Promise(
        "Who reads models and requests cannot look into the runtime's parent",
        docker=PARENT_IS_CLOSED,
        root=PARENT_IS_CLOSED,
        user=PARENT_IS_CLOSED,
        front="There is no parent.",
    ),
    Promise(
        "Who reads models and requests cannot tell what the runtime's parent has where, in memory or open",
        docker=PARENT_IS_CLOSED,
        root=PARENT_IS_CLOSED,
        user=PARENT_IS_CLOSED,
        front="There is no parent.",
        gvisor=NotPromised(
            "gVisor shows each process's map of memory and environment to its user, though not what is in memory"
        ),
    ),
    Promise(
        "Nothing of the host's environment gets in",
        docker=Held("PATH, HOME and HOSTNAME, of the image's own", ("environment",)),
        root=Held("emptied, but for PWD", ("--clearenv",)),
        user=Held("emptied, but for PWD", ("--clearenv",)),
    ),
    Promise(
        "It has no devices but those that every program needs",
        docker=Held("Docker's own few, and no right to make others"),
        root=FEW_DEVICES,
        user=FEW_DEVICES,
        gvisor=NotPromised("gVisor's kernel has /dev/fuse and /dev/net besides, which lead to nothing of the host's"),
    ),
    Promise(
        "It can type into no terminal",
        docker=Held("it is given none"),
        root=Held("a session of its own, and no terminals", ("--new-session",)),
        user=Held("a session of its own, and no terminals", ("--new-session",)),
    ),
    Promise(
        "It sees nothing of the host's /etc, /home, /root, /run and /var",
        docker=Held("the image's root, and what is mounted by name", ("image",)),
        root=Held(EMPTY_ROOT),
        user=Held(EMPTY_ROOT),
        front="It sees the sockets of the sandboxes behind it.",
    ),
    Promise(
        "It sees no programs of the host's",
        docker=Held("the image's root", ("image",)),
        root=HOSTS_PROGRAMS,
        user=HOSTS_PROGRAMS,
    ),
    Promise(
        "It reaches no keys in the kernel's keyrings",
        docker=PROFILE,
        root=SAME_PROFILE,
        user=SAME_PROFILE,
    ),
    Promise(
        "It changes no settings of the kernel's",
        docker=Held("they are root's, and mounted read-only"),
        root=Held("they are root's"),
        user=Held("they are root's"),
    ),
)

LIMITS: tuple[Limit, ...] = (
    Limit(
        "Memory",
        docker=Held("a control group", ("mem_limit",)),
        groups=Held("a control group", ("memory.limit_in_bytes", "memory.max")),
        scope=Held("the scope's control group", ("--property=MemoryMax=*",)),
        rlimits=NotPromised(
            "each process may have as much of its own; what processes share, and what is in /tmp, nobody counts"
        ),
        front="With rlimits, a soft limit of one process, which larger messages may raise later.",
    ),
    Limit(
        "Where memory runs out, it alone suffers",
        docker=KILLED_BY_KERNEL,
        groups=KILLED_BY_KERNEL,
        scope=KILLED_BY_KERNEL,
        rlimits=NotPromised(
            "what goes beyond a process's own limit is refused, and the request or the worker fails; "
            "what nobody counts can take the machine's last"
        ),
        gvisor=Held("the kernel ends the whole sandbox, and Docker brings it back"),
    ),
    Limit(
        "A worker that asks for more memory than its sandbox has is refused it",
        docker=REFUSED_MEMORY,
        groups=REFUSED_MEMORY,
        scope=REFUSED_MEMORY,
        rlimits=REFUSED_MEMORY,
        front="It has no workers.",
        gvisor=Held(
            "the same for what is asked for at once; what comes in small pieces ends the sandbox, which is brought back"
        ),
    ),
    Limit(
        "No swap",
        docker=Held(UNLESS_UNCOUNTED, ("memswap_limit",)),
        groups=Held(UNLESS_UNCOUNTED, ("memory.memsw.limit_in_bytes", "memory.swap.max")),
        scope=Held("the scope's control group, where the kernel counts swap", ("--property=MemorySwapMax=0",)),
        rlimits=NotPromised("the kernel swaps it out as it does others"),
    ),
    Limit(
        "Processor time",
        docker=Held("a control group", ("nano_cpus",)),
        groups=Held(IF_THE_KERNEL_HAS_ONE, ("cpu.cfs_quota_us", "cpu.max")),
        scope=Held("the scope's control group, and as with rlimits", ("--property=CPUQuota=*",)),
        rlimits=Held("bound to as many processors, rounded up; a worker's own filter keeps it from others"),
        front="It has no such limit.",
    ),
    Limit(
        "Processes and threads",
        docker=Held("a control group", ("pids_limit",)),
        groups=Held("a control group", ("pids.max", "pids.max")),
        scope=Held("the scope's control group", ("--property=TasksMax=*",)),
        rlimits=Held("for a user, a limit of each sandbox; for root, one that all sandboxes share", ("--nproc=*",)),
        gvisor=Held(
            "a limit of its user, which gVisor's kernel counts; its own threads have one of 4,096", ("ulimits",)
        ),
        front="With rlimits and root, one that all fronts share.",
    ),
)

LIVES: tuple[Promise, ...] = (
    Promise(
        "It is brought back whenever it ends of its own accord, whatever its exit code",
        docker=Held("Docker, after pauses that grow"),
        podman=NotPromised(NOT_BROUGHT_BACK),
        root=MONITOR_BRINGS_BACK,
        user=MONITOR_BRINGS_BACK,
    ),
    Promise(
        "It is brought back when the machine starts again",
        docker=Held("Docker, where that is started with the machine"),
        podman=NotPromised(NOT_BROUGHT_BACK),
        root=DOWN_SINCE_REBOOT,
        user=DOWN_SINCE_REBOOT,
    ),
    Promise(
        "It goes on when whoever started it logs out",
        docker=Held("it belongs to Docker, and to no login"),
        root=Held("logind leaves root's processes alone, unless it was told otherwise"),
        user=NotPromised(
            "with a systemd scope it ends with the user's last login, unless `loginctl enable-linger` was typed; "
            "without one, only where logind was told KillUserProcesses=yes"
        ),
    ),
    Promise(
        "Callers wait while all of it is replaced",
        docker=NotPromised("while a worker is, they wait; while a container is, they are refused"),
        root=MONITOR_KEEPS_QUEUES,
        user=MONITOR_KEEPS_QUEUES,
        front="It binds its own ports: while it is replaced, callers are refused.",
    ),
    Promise(
        "It never runs without what keeps and watches it",
        docker=NotPromised("it goes on without Docker's daemon, behind the same walls"),
        root=Held(ENDS_WITH_MONITOR, ("--die-with-parent",)),
        user=Held(ENDS_WITH_MONITOR, ("--die-with-parent",)),
    ),
    Promise(
        "Where the machine runs out of memory, it goes before others",
        docker=Held("an out-of-memory score of 500", ("oom_score_adj",)),
        root=MONITOR_SCORES,
        user=MONITOR_SCORES,
    ),
    Promise(
        "What it prints takes no more than 10 MB of the disk",
        docker=Held("two files of 5 MB", ("log_config",)),
        podman=Held("one file of 5 MB, which begins anew when it is full", ("log_config",)),
        root=MONITOR_LOGS,
        user=MONITOR_LOGS,
    ),
)
