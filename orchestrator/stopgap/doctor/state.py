"""The state folder, and what it remembers: whose it is, what is damaged, what a killed serve has left, what is down."""

from __future__ import annotations

import os
import pwd
import shlex
import stat
from collections.abc import Iterator
from functools import partial

from stopgap.conditions import Condition, look, unfinished
from stopgap.doctor.check import Check
from stopgap.doctor.finding import Finding, Untold, absent, broken, ok, unknown
from stopgap.doctor.machine import Machine
from stopgap.doctor.once import given
from stopgap.engines.choice import BUBBLEWRAP
from stopgap.printable import printable
from stopgap.store import Deployment

__all__ = ["checks"]

TOPIC = "state"

REMEDIES = {
    Condition.DOWN: "stopgap logs {0}\nstopgap resume {0}",
    Condition.LOST: "stopgap resume {0}",
    Condition.RESTARTING: "stopgap logs {0}",
    Condition.BACKING_OFF: "stopgap incidents {0}",
    Condition.STOPPING: "stopgap stop {0}",
}


def checks(machine: Machine) -> Iterator[Check]:
    yield Check(TOPIC, "folder", folder)
    yield Check(TOPIC, "files", files)
    yield Check(TOPIC, "killed serves", killed_serves)
    try:
        deployments = given(machine.deployments)
    except Untold:
        return
    for deployment in deployments:
        yield Check(TOPIC, deployment.name, partial(condition, deployment))


def folder(machine: Machine) -> Finding:
    path = machine.store.folder
    written = shlex.quote(str(path))
    try:
        status = path.stat()
    except FileNotFoundError:
        return absent(f"{path} is made by the first serve")
    if not stat.S_ISDIR(status.st_mode):
        return broken(f"{path} is not a folder", f"rm {written}")
    if status.st_uid != os.geteuid():
        return broken(
            f"{path} belongs to {user(status.st_uid)}, not to {user(os.geteuid())}",
            f"sudo chown --recursive {user(os.geteuid())} {written}\n"
            "STOPGAP_STATE=FOLDER stopgap …   # or one of your own",
        )
    if stat.S_IMODE(status.st_mode) != 0o700:
        return broken(
            f"{path} has the mode {stat.S_IMODE(status.st_mode):o}, and is to be its owner's alone",
            f"chmod 700 {written}",
        )
    return ok(f"{path}, its owner's alone")


def user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def files(machine: Machine) -> Finding:
    deployments = given(machine.deployments)
    damaged = (*machine.store.damaged(), *machine.store.damaged_sunsets())
    if damaged:
        return broken(" ".join(each.problem for each in damaged), "\n".join(each.remedy for each in damaged))
    if not deployments:
        return absent("nothing is being served")
    return ok(f"readable: {', '.join(each.name for each in deployments)}")


def killed_serves(machine: Machine) -> Finding:
    """Sandboxes and their folders without a deployment; unless somebody is at work on them just now."""
    given(machine.deployments)
    if not machine.store.has_fronts():
        return absent("nothing is being served")
    machine.check_not_hanging()
    left = unfinished(machine.engines, machine.store)
    at_work = [name for name in left if is_locked(machine, name)]
    killed = [printable(name) for name in left if name not in at_work]
    if killed:
        return broken(
            f"left behind: {', '.join(killed)}", "\n".join(f"stopgap stop {shlex.quote(name)}" for name in killed)
        )
    return ok(f"a serve of {', '.join(at_work)} is at work" if at_work else "nothing is left of any")


def condition(deployment: Deployment, machine: Machine) -> Finding:
    if deployment.engine != BUBBLEWRAP:
        machine.check_not_hanging()
    health = look(deployment, machine.engines, machine.store)
    where = f"at {deployment.address}, on {deployment.engine}, limits by {deployment.limits_by}"
    seen = ": ".join(filter(None, (health.condition.value, printable(health.detail))))
    if health.condition is Condition.UNKNOWN:
        return unknown(seen)
    stopping = health.condition is Condition.STOPPING and is_locked(machine, deployment.name)
    remedy = REMEDIES.get(health.condition)
    if remedy and not stopping:
        return broken(f"{seen}, {where}", remedy.format(deployment.name))
    return ok(f"{seen}, {where}")


def is_locked(machine: Machine, name: str) -> bool:
    """Whether another stopgap is at work on that name. The kernel lists it: to try the lock would be to take it."""
    try:
        status = (machine.store.folder / "locks" / f"deployment-{name}.lock").stat()
        held = (machine.proc / "locks").read_text(encoding="ascii").splitlines()
    except OSError:
        return False
    file = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    return any(file in line.split() for line in held)
