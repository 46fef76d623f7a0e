"""Ways to files: what can be written, what can be read that is not the sandbox's, what can be run."""

from __future__ import annotations

import errno
import mmap
import os
import socket
import struct
from functools import partial
from pathlib import Path
from typing import Final

from .attempt import NOT_THERE, Attempt, Scene, created, nothing_in, opened

__all__ = ["FILES"]

# A mode that keeps us out proves nothing of the mount, and the kernel looks at the mount first.
_READ_ONLY: Final = frozenset({errno.EROFS, errno.EPERM, errno.ENOENT})
_FOLDERS: Final = (
    *("/", "/bin", "/etc", "/home", "/lib", "/opt", "/root", "/run", "/srv", "/sys", "/usr", "/usr/lib", "/usr/local"),
    *("/var", "/var/log", "/var/tmp", "/opt/stopgap", "/opt/stopgap/app", "/opt/stopgap/bundle", "/proc", "/dev"),  # noqa: S108
)
_HOSTS_FILES: Final = (
    *("/etc/shadow", "/etc/ssh", "/root/.ssh", "/home", "/host", "/mnt", "/var/lib/docker", "/var/log/syslog"),
    *("/proc/kcore", "/proc/kallsyms/", "/dev/mem", "/dev/kmsg", "/dev/kvm", "/dev/sda", "/dev/vda"),
)
_KERNELS_SETTINGS: Final = (
    *("sys/kernel/core_pattern", "sys/kernel/hostname", "sys/kernel/modprobe", "sys/vm/overcommit_memory"),
    *("sys/user/max_user_namespaces", "sys/net/ipv4/ip_forward", "sysrq-trigger"),
)
_DEVICES: Final = {
    *("null", "zero", "full", "random", "urandom", "fd", "stdin", "stdout", "stderr", "core", "tty"),
    *("ptmx", "pts", "shm", "mqueue"),
}
_ENVIRONMENT: Final = {
    *("PATH", "HOME", "HOSTNAME", "PWD", "LANG", "LC_CTYPE", "TERM", "GPG_KEY", "container"),
    *("GRPC_POLL_STRATEGY", "OPENBLAS_NUM_THREADS", "TF_CPP_MIN_LOG_LEVEL"),  # what the runtime sets for itself
}
_PYTHONS_OWN: Final = "PYTHON"

# A whole program of Linux on x86-64: exit(0).
_CODE: Final = b"\x31\xff\xb8\x3c\x00\x00\x00\x0f\x05"
_PROGRAM: Final = (
    b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, 0x400078, 64, 0, 0, 64, 56, 1, 0, 0, 0)
) + (struct.pack("<IIQQQQQQ", 1, 5, 0, 0x400000, 0x400000, 120 + len(_CODE), 120 + len(_CODE), 0x1000) + _CODE)


def _made_folder(path: Path) -> None:
    path.mkdir()
    path.rmdir()


def _mount_points() -> list[str]:
    lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    return [line.split()[4] for line in lines]


def _writable_folders(scene: Scene) -> list[str]:
    # Shared memory and the model are tried apart. Message queues are the sandbox's own, few and small.
    allowed = {"/tmp", "/dev/mqueue", "/dev/shm", str(scene.model), str(scene.sockets)}  # noqa: S108 - paths inside the sandbox
    return [folder for folder in dict.fromkeys([*_FOLDERS, *_mount_points()]) if folder not in allowed]


def _listed(folder: str) -> str:
    return nothing_in(each.name for each in Path(folder).iterdir())


def _linked(path: Path) -> None:
    path.symlink_to("/nonexistent")
    path.unlink()


def _made_pipe(path: Path) -> None:
    """Which is made as a device is, and needs no capability."""
    os.mkfifo(path)
    path.unlink()


def _bound(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
    path.unlink()


def _others_sockets(scene: Scene) -> str:
    own = ("worker-", "lane.sock", "aside.sock", "control.sock", "ready.json", ".ready")
    return nothing_in(path.name for path in scene.sockets.iterdir() if not path.name.startswith(own))


def _dropped(scene: Scene) -> Path:
    path = Path("/tmp", scene.unused)  # noqa: S108 - a path inside the sandbox
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o700)
    os.write(descriptor, _PROGRAM)
    os.close(descriptor)
    return path


def _dropped_and_run(scene: Scene) -> None:
    path = _dropped(scene)
    try:
        if os.fork() == 0:
            try:
                os.execv(path, [str(path)])  # noqa: S606 - it must not work
            except OSError as error:
                os._exit(error.errno or 1)
        code = os.waitstatus_to_exitcode(os.wait()[1])
    finally:
        path.unlink()
    if code:
        raise OSError(code, os.strerror(code))


def _dropped_and_mapped(scene: Scene) -> None:
    path = _dropped(scene)
    try:
        with path.open("rb") as file:
            mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ | mmap.PROT_EXEC, flags=mmap.MAP_PRIVATE).close()
    finally:
        path.unlink()


def _in_memory() -> int:
    descriptor = os.memfd_create("stopgap-probe")
    os.write(descriptor, _PROGRAM)
    return descriptor


def _run_from_memory() -> None:
    os.execve(_in_memory(), ["probe"], {})  # noqa: S606 - it must not work


def _run_from_memory_by_name() -> None:
    os.execve(f"/proc/self/fd/{_in_memory()}", ["probe"], {})  # noqa: S606 - likewise


def _cgroup_files() -> list[str]:
    tree = Path("/sys/fs/cgroup")
    patterns = ("cgroup.procs", "*/cgroup.procs", "*/release_agent")
    found = [str(path) for pattern in patterns for path in tree.glob(pattern)]
    return found or [str(tree / "cgroup.procs")]


FILES: Final = (
    Attempt(
        "root",
        lambda scene: {
            folder: partial(_made_folder, Path(folder, scene.unused))
            for folder in ("/", "/etc", "/opt/stopgap/app", "/usr", "/usr/lib", "/var/lib")
        },
        _READ_ONLY,
    ),
    Attempt(
        "folders",
        lambda scene: {folder: partial(created, Path(folder, scene.unused)) for folder in _writable_folders(scene)},
        NOT_THERE,
    ),
    Attempt(
        "shared_memory",
        lambda scene: {"a file": lambda: created(Path("/dev/shm", scene.unused))},  # noqa: S108
        NOT_THERE,
    ),
    Attempt("tmp", lambda scene: {"a file": lambda: created(Path("/tmp", scene.unused))}),  # noqa: S108
    Attempt("programs_in_tmp", lambda scene: {"run": lambda: _dropped_and_run(scene)}),
    Attempt("libraries_in_tmp", lambda scene: {"mapped": lambda: _dropped_and_mapped(scene)}),
    Attempt("programs_in_memory", lambda _: {"run": _run_from_memory, "run by name": _run_from_memory_by_name}),
    Attempt(
        "model",
        lambda scene: {"a folder in it": lambda: _made_folder(scene.model / scene.unused)},
        _READ_ONLY,
    ),
    Attempt(
        "socket_folder",
        lambda scene: {
            "a file": lambda: created(scene.sockets / scene.unused),
            "a socket": lambda: _bound(scene.sockets / scene.unused),
        },
        NOT_THERE,
    ),
    Attempt(
        "socket_links",
        lambda scene: {
            "a link": lambda: _linked(scene.sockets / scene.unused),
            "a device": lambda: _made_pipe(scene.sockets / scene.unused),
        },
        NOT_THERE,
    ),
    Attempt(
        "other_models",
        lambda scene: {
            **{folder: partial(_listed, folder) for folder in ("/models", "/run/stopgap/sandboxes")},
            "sockets": lambda: _others_sockets(scene),
        },
        NOT_THERE,
    ),
    Attempt("host_files", lambda _: {path: partial(_host_file, path) for path in _HOSTS_FILES}, NOT_THERE),
    Attempt(
        "kernel_settings",
        lambda _: {name: partial(opened, f"/proc/{name}", os.O_WRONLY) for name in _KERNELS_SETTINGS},
        NOT_THERE,
    ),
    Attempt(
        "control_groups",
        lambda scene: {
            **{path: partial(opened, path, os.O_WRONLY) for path in _cgroup_files()},
            "a group": lambda: _made_folder(Path("/sys/fs/cgroup", scene.unused)),
        },
        NOT_THERE,
    ),
    Attempt(
        "devices",
        lambda _: {
            "devices": lambda: nothing_in(each.name for each in Path("/dev").iterdir() if each.name not in _DEVICES)
        },
    ),
    Attempt(
        "terminals",
        lambda _: {path: partial(opened, path, os.O_RDWR) for path in ("/dev/tty", "/dev/console", "/dev/tty0")},
        NOT_THERE | {errno.EIO},
    ),
    Attempt(
        "environment",
        lambda _: {
            "names": lambda: nothing_in(
                name for name in os.environ if name not in _ENVIRONMENT and not name.startswith(_PYTHONS_OWN)
            )
        },
    ),
)


def _host_file(path: str) -> str | None:
    """A folder that has nothing in it is nobody's."""
    if Path(path).is_dir():
        return _listed(path)
    opened(path)
    return None
