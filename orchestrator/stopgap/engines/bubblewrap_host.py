"""What this machine offers to bubblewrap: its tools, whether a real call works, and what can hold limits here."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import shutil
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from stopgap.containment.bubblewrap import Host, Tools, sandbox_profile, trial
from stopgap.engines import libseccomp
from stopgap.engines.cgroups import CGROUP_V1, CGROUP_V2, MIB, PARENT, RLIMITS, Limits, hierarchies, version_2
from stopgap.engines.mechanisms import mechanism
from stopgap.engines.systemd_scope import SCOPE, scope_words
from stopgap.errors import EngineError

__all__ = ["USER_SESSION", "check", "find_host", "find_mechanism", "tried"]

TIMEOUT_S = 10.0
TRIAL = "trial-"  # before the pid of who tries
TRIAL_TAKES_S = 60.0  # at most
TRIAL_LIMITS = Limits(memory_mib=64, tasks=32, cpus=0.5)
SEARCHED = os.pathsep.join(("/usr/bin", "/bin", "/usr/sbin", "/sbin"))  # also where PATH is short, as under cron

# What leads a user's programs to that user's systemd.
USER_SESSION = ("XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS")

# Where programs and libraries may lie beside /usr, or lead into it.
BESIDE_USR = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")

PRLIMIT_NAMES = {
    "nofile": resource.RLIMIT_NOFILE,
    "nproc": resource.RLIMIT_NPROC,
    "data": resource.RLIMIT_DATA,
    "fsize": resource.RLIMIT_FSIZE,
    "stack": resource.RLIMIT_STACK,
}


@dataclass(frozen=True)
class Trouble:
    """One row of the table by which what bwrap says becomes our error: the first whose pattern is found holds."""

    pattern: str
    problem: str
    remedy: str


TROUBLES = (
    Trouble(
        r"No permissions to creat\w+ (a )?new namespace",
        "This system does not let users make user namespaces.",
        "Allow it: sudo sysctl -w kernel.unprivileged_userns_clone=1",
    ),
    Trouble(
        r"max_\w*_namespaces exceeded|ENOSPC",
        "This system has no user namespaces left to give.",
        "Allow more: sudo sysctl -w user.max_user_namespaces=15000",
    ),
    # AppArmor lets bwrap make a user namespace, and then takes all that it could do in there.
    Trouble(
        r"setting up uid map: Permission denied|RTM_NEWADDR: Operation not permitted",
        "AppArmor keeps bubblewrap from using user namespaces.",
        "Load the profile that allows it to (Ubuntu 24.04 and newer):\n"
        "sudo apt-get install apparmor-profiles && "
        "sudo cp /usr/share/apparmor/extra-profiles/bwrap-userns-restrict /etc/apparmor.d/ && "
        "sudo apparmor_parser -r /etc/apparmor.d/bwrap-userns-restrict\n"
        "Or allow it to every program: sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
    ),
    Trouble(
        r"Unknown option (?P<option>\S+)",
        "bubblewrap is too old: it does not know {option}.",
        "Version 0.8.0 or newer is needed: Debian 12 and Ubuntu 24.04 have it.",
    ),
    Trouble(
        r"[Nn]amespace failed: Operation not permitted|Can't mount proc|Failed to make / slave",
        "bubblewrap may not make namespaces here: {text}",
        "In a container, it needs one that was started with --privileged.",
    ),
)
UNKNOWN_TROUBLE = Trouble("", "bubblewrap does not work here: {text}", "Try it: bwrap --ro-bind / / true")


def find_host() -> Host:
    """
    Raises:
        EngineError: A tool that is needed is not installed, or the kernel is too old.
    """
    if not hasattr(os, "pidfd_open"):
        raise EngineError(
            "This Python cannot watch processes by descriptor.", "Use one that was built on Linux 5.3 or newer."
        )
    tools = Tools(
        bwrap=tool("bwrap", "bubblewrap"),
        # These run inside, where there is /usr and nothing else of what PATH may lead to.
        setpriv=tool("setpriv", "util-linux", within=SEARCHED),
        prlimit=tool("prlimit", "util-linux", within=SEARCHED),
        shell=tool("sh", "dash", within=SEARCHED),
    )
    beside = [Path(path) for path in BESIDE_USR]
    return Host(
        privileged=os.geteuid() == 0,
        tools=tools,
        links={str(path): str(path.readlink()) for path in beside if path.is_symlink()},
        folders=tuple(str(path) for path in beside if path.is_dir() and not path.is_symlink()),
        ceilings=ceilings(),
    )


def tool(name: str, package: str, within: str | None = None) -> Path:
    found = shutil.which(name, path=within) or shutil.which(name, path=SEARCHED)
    if found is None:
        raise EngineError(f"{name} is not installed.", f"Install it: sudo apt-get install {package}")
    return Path(found)


def ceilings() -> dict[str, int]:
    """The most that we may ask for by `prlimit`'s names; nobody without rights raises a hard limit."""
    hard = {name: resource.getrlimit(number)[1] for name, number in PRLIMIT_NAMES.items()}
    return {name: limit for name, limit in hard.items() if limit != resource.RLIM_INFINITY}


def check(host: Host) -> None:
    """Builds a sandbox's walls once, around nothing.

    Raises:
        EngineError: That does not work here; says how to mend it.
    """
    try:
        os.close(os.pidfd_open(os.getpid()))
    except OSError as error:
        raise EngineError(
            "The kernel is too old for the bubblewrap engine.", "Linux 5.3 or newer is needed."
        ) from error
    done = tried(host, ":")
    if done.returncode:
        raise trouble(done.stderr or f"exit code {done.returncode}")


def tried(host: Host, script: str) -> subprocess.CompletedProcess[str]:
    """What comes of a shell's script behind a sandbox's walls.

    Raises:
        EngineError: It could not be begun, or does not end.
    """
    with libseccomp.filter_of(sandbox_profile(host)) as filter_at:
        try:
            return subprocess.run(
                trial(host, (str(host.tools.shell), "-c", script), filter_at),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=TIMEOUT_S,
                check=False,
                text=True,
                pass_fds=(filter_at,),
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise trouble(str(error)) from error


def trouble(said: str) -> EngineError:
    """The error for what bwrap, or what it runs, has said."""
    text = " ".join(said.split())[:1000]
    for row in TROUBLES:
        found = re.search(row.pattern, text)
        if found:
            return EngineError(row.problem.format(text=text, **found.groupdict()), row.remedy)
    return EngineError(UNKNOWN_TROUBLE.problem.format(text=text), UNKNOWN_TROUBLE.remedy)


def find_mechanism(host: Host, environment: Mapping[str, str] = os.environ) -> str:
    """The first that really holds limits here: tried out, not guessed."""
    if not host.privileged:
        return SCOPE if scope_works(host, environment) else RLIMITS
    return next((name for name in (CGROUP_V2, CGROUP_V1) if group_works(name)), RLIMITS)


def group_works(name: str) -> bool:
    clear_trials()
    attempt = mechanism(name, f"{TRIAL}{os.getpid()}")
    try:
        attempt.prepare(TRIAL_LIMITS)
    except OSError:
        return False
    finally:
        attempt.remove()
    return True


def clear_trials() -> None:
    """Takes away what those have left who were killed while they tried."""
    for tree in hierarchies():
        for group in tree.path.glob(f"{PARENT}/{TRIAL}*"):
            with contextlib.suppress(OSError):
                is_old = (
                    time.time() - group.stat().st_mtime > TRIAL_TAKES_S
                )  # younger, it may be another pid namespace's
                if is_old and not Path("/proc", group.name[len(TRIAL) :]).exists():
                    group.rmdir()


def scope_works(host: Host, environment: Mapping[str, str]) -> bool:
    """Whether a user's systemd is there, and limits what it says it does: without the controllers it only pretends."""
    tree = version_2(tuple(hierarchies()))
    if tree is None or shutil.which("systemd-run") is None:
        return False
    ask = 'group=$0$(sed -n "s/^0:://p" /proc/self/cgroup) && cat "$group/memory.max" "$group/pids.max"'
    command = [*scope_words(TRIAL_LIMITS), "--", str(host.tools.shell), "-c", ask, str(tree)]
    said = b""
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        said = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT_S, check=False, env=environment
        ).stdout
    return said.split() == [str(limit).encode() for limit in (TRIAL_LIMITS.memory_mib * MIB, TRIAL_LIMITS.tasks)]
