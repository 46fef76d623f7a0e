"""Settings of a sandbox as Docker and Podman tell of them, by the words of its inspection."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from stopgap.audit import promised
from stopgap.audit.outside import Look, Seen, Setting, View, in_mib, missed, same
from stopgap.containment import seccomp
from stopgap.containment.docker import SECCOMP
from stopgap.containment.gvisor import RUNSC
from stopgap.containment.specs import MIB
from stopgap.models import SANDBOX_UID

__all__ = ["OF_DOCKER", "OF_PODMAN", "TOLD_OTHERWISE"]

NANO = 10**9
OWN = ("", "private")  # what Docker and Podman call a namespace of its own
IMAGES_OWN = ("PATH", "HOME", "HOSTNAME", "LANG", "GPG_KEY", "TERM", "container")
LOG = {"max-size": "5m", "max-file": "2"}
LARGEST_LOGS = 10_000_000  # bytes
IPC, GROUPS, LOG_SIZE = "ipc", "cgroup_namespace", "log"


def host(look: Callable[[dict[str, Any], View], Seen]) -> Look:
    """For what stands in `HostConfig`."""
    return lambda view: look(view.told["HostConfig"], view)


def is_own(key: str) -> Look:
    return host(lambda settings, _: Seen(settings.get(key) or "its own", (settings.get(key) or "") in OWN))


def limit(key: str, wanted: Callable[[View], int]) -> Look:
    return host(lambda settings, view: same(settings.get(key) or 0, wanted(view)))


def bytes_of(key: str) -> Look:
    return host(lambda settings, view: in_mib(settings.get(key) or None, view.limits.memory_mib))


def ulimit(name: str, wanted: Callable[[View], int]) -> Look:
    """Podman calls it RLIMIT_NOFILE, Docker nofile."""

    def look(settings: dict[str, Any], view: View) -> Seen:
        ulimits = {each["Name"].lower().replace("rlimit_", ""): each["Hard"] for each in settings.get("Ulimits") or ()}
        return same(ulimits.get(name, "none"), wanted(view))

    return host(look)


def tmpfs(option: str, wanted: Callable[[View], str]) -> Look:
    def look(settings: dict[str, Any], view: View) -> Seen:
        options = (settings.get("Tmpfs") or {}).get("/tmp", "").split(",")  # noqa: S108 - a path inside the container
        found = [each for each in options if each.partition("=")[0] == option]
        return Seen(", ".join(found) or f"no {option}", found == [wanted(view)])

    return host(look)


def network(view: View) -> Seen:
    mode = view.told["HostConfig"].get("NetworkMode")
    joined = {*((view.told.get("NetworkSettings") or {}).get("Networks") or {})} - {"none"}
    return Seen(", ".join([str(mode), *sorted(joined)]), mode == "none" and not joined)


def capabilities(settings: dict[str, Any], view: View) -> Seen:
    """Podman lists those that it has dropped one by one."""
    del view
    dropped, added = settings.get("CapDrop") or [], settings.get("CapAdd") or []
    privileged = bool(settings.get("Privileged"))
    said = f"dropped: {', '.join(dropped) or 'none'}" + (f"; added: {', '.join(added)}" if added else "")
    if privileged or added or not dropped:
        return Seen("privileged" if privileged else said, False)
    return Seen(said, True if "ALL" in dropped else None)


def no_new_privileges(settings: dict[str, Any], view: View) -> Seen:
    del view
    holds = bool({"no-new-privileges", "no-new-privileges:true"} & {*(settings.get("SecurityOpt") or ())})
    return Seen("no-new-privileges" if holds else "not asked for", holds)


def profile(settings: dict[str, Any], view: View) -> Seen:
    """Docker tells the profile itself, Podman the file that it is in."""
    ours = seccomp.SANDBOX_IN_GVISOR if is_in_gvisor(settings) else seccomp.SANDBOX
    del view
    for option in settings.get("SecurityOpt") or ():
        if option.startswith(SECCOMP):
            told = option[len(SECCOMP) :]
            holds = told == ours or told.startswith("/")
            return Seen("stopgap's" if holds else "another" if told != "unconfined" else "none", holds)
    return Seen("the engine's own", False)


def is_in_gvisor(settings: dict[str, Any]) -> bool:
    return settings.get("Runtime") == RUNSC


def kernel(settings: dict[str, Any], view: View) -> Seen:
    del view
    return Seen("gVisor's" if is_in_gvisor(settings) else "the host's", is_in_gvisor(settings))


def tasks(settings: dict[str, Any], view: View) -> Seen:
    """In gVisor's kernel a limit of the user's counts."""
    if is_in_gvisor(settings):
        return ulimit("nproc", lambda each: each.limits.pids)(view)
    return same(settings.get("PidsLimit") or 0, view.limits.pids)


def user(view: View) -> Seen:
    return same(view.told["Config"].get("User"), f"{SANDBOX_UID}:{SANDBOX_UID}")


def groups(settings: dict[str, Any], view: View) -> Seen:
    del view
    added = settings.get("GroupAdd") or []
    return Seen(", ".join(added) or "none", not added)


def mounted(view: View) -> dict[str, tuple[str, bool]]:
    return {each["Destination"]: (each["Source"], bool(each["RW"])) for each in view.told.get("Mounts") or ()}


def mounts(view: View) -> Seen:
    """Of what else than a folder or a file of the host's there is none."""
    found = mounted(view)
    return Seen(", ".join(sorted(found)), found.keys() == view.mounts.keys() and sources(found) == sources(view.mounts))


def sources(mounts: Any) -> dict[str, str]:
    return {target: source for target, (source, _) in mounts.items()}


def model_mount(view: View) -> Seen:
    _, writable = mounted(view).get("/model", ("", True))
    return Seen("read and write" if writable else "read only", not writable)


def writable_mounts(view: View) -> Seen:
    writable = sorted(target for target, (_, writable) in mounted(view).items() if writable)
    return Seen(", ".join(writable) or "none", not writable)


def others_writable(view: View) -> Seen:
    """Beside the one that must be: where nothing is handed in, a sandbox binds its sockets in a folder of its own."""
    allowed = {target for target, (_, writable) in view.mounts.items() if writable} | {"/model"}
    others = sorted(target for target, (_, writable) in mounted(view).items() if writable and target not in allowed)
    return Seen(", ".join(others) or "none", not others)


def devices(settings: dict[str, Any], view: View) -> Seen:
    del view
    given = [str(each.get("PathOnHost", each)) for each in settings.get("Devices") or ()]
    given += [str(each) for each in settings.get("DeviceRequests") or ()]
    return Seen(", ".join(given) or "none", not given)


def own_ipc(told_as: str) -> Callable[[dict[str, Any], View], Seen]:
    return lambda settings, _: same(settings.get("IpcMode"), told_as)


def own_groups(settings: dict[str, Any], view: View) -> Seen:
    del view
    return same(settings.get("CgroupnsMode") or "the host's", "private")


def terminal(view: View) -> Seen:
    given = bool(view.told["Config"].get("Tty"))
    return Seen("given" if given else "none", not given)


def environment(view: View) -> Seen:
    names = [each.partition("=")[0] for each in view.told["Config"].get("Env") or ()]
    others = [name for name in names if name not in IMAGES_OWN and not name.startswith("PYTHON")]
    return Seen(", ".join(others) or "the image's", not others)


def log(settings: dict[str, Any], view: View) -> Seen:
    del view
    told = settings.get("LogConfig") or {}
    kept = told.get("Config") or {}
    return Seen(", ".join(f"{name}={value}" for name, value in sorted(kept.items())) or "no limit", kept == LOG)


def log_so_far(view: View) -> Seen:
    """Podman limits it as it was told, but does not tell by how much: so what there is of it is looked at."""
    try:
        size = Path(view.told["LogPath"]).stat().st_size
    except OSError as error:
        return missed(f"cannot be seen: {error.strerror}")
    return Seen("within 10 MB so far", True) if size <= LARGEST_LOGS else Seen(f"{size} bytes", False)


def restart(settings: dict[str, Any], view: View) -> Seen:
    del view
    return same((settings.get("RestartPolicy") or {}).get("Name"), "unless-stopped")


OF_DOCKER: tuple[Setting, ...] = (
    Setting("network", "network", promised.NETWORK, network),
    Setting(
        "read_only_root", "read-only root", promised.ROOT, host(lambda told, _: same(told.get("ReadonlyRootfs"), True))
    ),
    Setting("writable_mounts", "folders of the host's to write to", promised.HOSTS_FOLDERS, writable_mounts),
    Setting("other_writable_mounts", "such folders beside its sockets'", promised.ROOT, others_writable),
    Setting("model_mount", "mount of its model", promised.MODEL, model_mount),
    Setting("mounts", "what is mounted of the host's", promised.HOSTS_FILES, mounts),
    Setting("tmp_noexec", "programs in /tmp", promised.FROM_TMP, tmpfs("noexec", lambda _: "noexec")),
    Setting(
        "tmp_size", "bytes in /tmp", promised.TMP_BYTES, tmpfs("size", lambda view: f"size={view.limits.tmp_mib}m")
    ),
    Setting("tmp_files", "files in /tmp", promised.TMP_FILES, tmpfs("nr_inodes", lambda _: "nr_inodes=1024")),
    Setting(
        "largest_file", "largest file", promised.LARGEST_FILE, ulimit("fsize", lambda view: view.limits.tmp_mib * MIB)
    ),
    Setting("open_files", "open files", promised.OPEN_FILES, ulimit("nofile", lambda view: view.limits.open_files)),
    Setting("core", "core dumps", promised.CORES, ulimit("core", lambda _: 0)),
    Setting("capabilities", "capabilities", promised.CAPABILITIES, host(capabilities)),
    Setting("new_privileges", "new privileges", promised.NO_PRIVILEGES, host(no_new_privileges)),
    Setting("seccomp", "profile of system calls", promised.FILTER, host(profile)),
    Setting("kernel", "kernel", promised.ANOTHER_KERNEL, host(kernel)),
    Setting("user", "user", promised.NOBODY, user),
    Setting("other_groups", "other groups", promised.OWN_GROUPS, host(groups)),
    Setting("pid_namespace", "pid namespace", promised.PROCESSES, is_own("PidMode")),
    Setting(IPC, "IPC namespace, without /dev/shm", promised.SHARED, host(own_ipc("none"))),
    Setting("uts_namespace", "UTS namespace", promised.HOSTNAME, is_own("UTSMode")),
    Setting(GROUPS, "cgroup namespace", promised.GROUPS, is_own("CgroupnsMode")),
    Setting("devices", "devices beside Docker's own", promised.DEVICES, host(devices)),
    Setting("terminal", "terminal", promised.TERMINAL, terminal),
    Setting("environment", "environment", promised.ENVIRONMENT, environment),
    Setting("memory", "memory", promised.MEMORY, bytes_of("Memory")),
    Setting("swap", "memory and swap", promised.SWAP, bytes_of("MemorySwap")),
    Setting(
        "cpus",
        "billionths of a processor",
        promised.CPUS,
        limit("NanoCpus", lambda view: round(view.limits.cpus * NANO)),
    ),
    Setting("tasks", "processes and threads", promised.TASKS, host(tasks)),
    Setting("oom_score", "out-of-memory score", promised.OOM, host(lambda told, _: same(told.get("OomScoreAdj"), 500))),
    Setting(LOG_SIZE, "size of its log", promised.LOG, host(log)),
    Setting("restart", "what brings it back", promised.BROUGHT_BACK, host(restart)),
)

# What Podman tells otherwise of the same. Its word for an IPC namespace without /dev/shm is the one for a namespace
# with it, which is tried from inside; where it does not speak of a cgroup namespace, there is none.
TOLD_OTHERWISE = {
    GROUPS: Setting(GROUPS, "cgroup namespace", promised.GROUPS, host(own_groups)),
    IPC: Setting(IPC, "IPC namespace", promised.SHARED, host(own_ipc("shareable"))),
    LOG_SIZE: Setting(LOG_SIZE, "size of its log", promised.LOG, log_so_far),
}
OF_PODMAN: tuple[Setting, ...] = tuple(TOLD_OTHERWISE.get(setting.name, setting) for setting in OF_DOCKER)
