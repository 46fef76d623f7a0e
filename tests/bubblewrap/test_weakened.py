"""bubblewrap's walls with one thing taken away from each: an audit finds that, and no more than what comes of it.

Some are held twice, so that taking one away opens nothing: bwrap itself sets no_new_privs, a monitor has neither a
terminal nor an environment that could be inherited, a user's namespace has no room for another and the filter of system
calls lets none be made.

As root and, by test_unprivileged.py, as a user without rights.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from stopgap.audit.examination import wall_of
from stopgap.audit.lines import Status
from stopgap.containment import seccomp
from stopgap.containment.descriptors import FILTER
from stopgap.containment.specs import ContainerSpec
from stopgap.engines.bubblewrap import BubblewrapEngine
from stopgap.engines.monitor.records import Container
from stopgap.errors import EngineError

from tests.audited import Audited, audited

pytestmark = [
    pytest.mark.bubblewrap,
    pytest.mark.slow,
    # Docker's own library leaves its socket open where it may not use the engine's; a user without rights may not.
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
]

ROOT = os.geteuid() == 0
HELD_BY_GROUPS = ("groups", "scope")
TMP = "/tmp"  # noqa: S108 - a path inside the container

# What only a worker's own filter refuses here. Without it, nothing does.
OF_THE_FILTER = {
    *("sockets", "signals", "processes", "programs", "tmp", "programs_in_tmp", "libraries_in_tmp"),
    "programs_in_memory",
}
# What the filter for all inside refuses besides: without it, a worker's own alone does.
OF_THE_FILTER_FOR_ALL = {
    *("filter", "vsock", "keyrings", "io_uring", "tracing", "bpf_and_perf", "userfaultfd", "address_layout"),
    *(["user_namespaces"] if ROOT else []),
}
UNFILTERED = """
import sys
sys.path.insert(0, "/opt/stopgap/app")
from stopgap_runtime import kernel
kernel.{function} = lambda *_: None
from stopgap_runtime.__main__ import main
sys.exit(main())
"""

Weaken = Callable[[Container], Container]


@dataclass(frozen=True)
class Weakening:
    """One thing taken away.

    Attributes:
        settings, effects: What an audit must find, all of it.
        with_twin: Whether the twin is needed to find it.
    """

    name: str
    weaken: Weaken
    settings: frozenset[str] = frozenset()
    effects: frozenset[str] = frozenset()
    with_twin: bool = False

    @property
    def broken(self) -> set[str]:
        return {*(f"setting {name}" for name in self.settings), *(f"effect {name}" for name in self.effects)}


def without(*words: str) -> Weaken:
    """Neighbouring words of the command line."""

    def weaken(container: Container) -> Container:
        before = list(container.before)
        place = next(place for place in range(len(before)) if tuple(before[place : place + len(words)]) == words)
        return container._replace(before=(*before[:place], *before[place + len(words) :]))

    return weaken


def instead(old: str, new: str, *, before: str) -> Weaken:
    """The last word `old` ahead of the word `before`."""

    def weaken(container: Container) -> Container:
        words = list(container.before)
        place = max(at for at, word in enumerate(words[: words.index(before)]) if word == old)
        words[place] = new
        return container._replace(before=tuple(words))

    return weaken


def added(*words: str) -> Weaken:
    """To bwrap's own options."""

    def weaken(container: Container) -> Container:
        place = container.before.index("--remount-ro")
        return container._replace(before=(*container.before[:place], *words, *container.before[place:]))

    return weaken


def without_rlimit(name: str, instead: str = "") -> Weaken:
    def weaken(container: Container) -> Container:
        rlimits = {**container.rlimits, **({name: instead} if instead else {})}
        return container._replace(rlimits={each: limit for each, limit in rlimits.items() if instead or each != name})

    return weaken


def limits(**changes: Any) -> Weaken:
    return lambda container: container._replace(limits=container.limits._replace(**changes))


def runtime_without(function: str) -> Weaken:
    def weaken(container: Container) -> Container:
        python, isolated, _, *rest = container.program
        return container._replace(program=(python, isolated, "-c", UNFILTERED.format(function=function), *rest))

    return weaken


def unfiltered(container: Container) -> Container:
    """Neither told of a filter nor handed one."""
    return without("--seccomp", str(FILTER))(container)._replace(profile="")


def letting(*names: str) -> Weaken:
    """Through the filter, whatever the arguments."""

    def weaken(container: Container) -> Container:
        profile = json.loads(container.profile)
        return container._replace(
            profile=json.dumps({**profile, "syscalls": [*profile["syscalls"], seccomp.allowed(*names)]})
        )

    return weaken


def both(first: Weaken, second: Weaken) -> Weaken:
    return lambda container: second(first(container))


def smaller_tmp(container: Container) -> Container:
    """Bwrap's own is half of the memory."""
    place = container.before.index("--size")
    return container._replace(before=(*container.before[:place], *container.before[place + 2 :]))


EVERYBODYS = [
    Weakening(
        "its network",
        without("--unshare-net"),
        frozenset({"network"}),
        frozenset({"abstract_sockets"}),  # a list of them is a file; any other socket than Unix ones the filter refuses
    ),
    Weakening(
        "its read-only root",
        without("--remount-ro", "/"),
        frozenset({"read_only_root"}),
        frozenset({"root", *([] if ROOT else ["folders"])}),  # where it is the user's own
    ),
    Weakening(
        "its model's mount",
        instead("--ro-bind", "--bind", before="/model"),
        frozenset({"model_mount"}),
        frozenset({"model"}),
    ),
    Weakening("its few mounts", added("--ro-bind", "/etc", "/etc"), frozenset({"mounts"}), frozenset({"host_files"})),
    Weakening("the size of /tmp", smaller_tmp, frozenset({"tmp_size"}), frozenset({"full_tmp"}), True),
    Weakening(
        "nofile",
        without_rlimit("nofile", "2048:2048"),
        frozenset({"open_files"}),
        frozenset({"many_descriptors"}),
        True,
    ),
    Weakening("core", without_rlimit("core", "4096:4096"), frozenset({"core"}), frozenset({"cores"})),
    Weakening("its IPC namespace", without("--unshare-ipc"), frozenset({"ipc"})),
    Weakening("its cgroup namespace", without("--unshare-cgroup"), frozenset({"cgroup_namespace"})),
    Weakening(
        "its few devices",
        added("--dev-bind", "/dev/null", "/dev/another"),
        frozenset({"devices", "writable_mounts"}),
        frozenset({"devices"}),
    ),
    Weakening(
        "its shared memory",
        added("--perms", "1777", "--tmpfs", "/dev/shm"),  # noqa: S108 - inside the container
        frozenset({"writable_mounts", "devices"}),
        frozenset({"shared_memory"}),
    ),
    Weakening(
        "its empty environment",
        added("--setenv", "AWS_SECRET_ACCESS_KEY", "of nobody"),
        frozenset(),
        frozenset({"environment"}),
    ),
    Weakening(
        "its filter of system calls",
        unfiltered,
        frozenset({"filter_for_all"}),
        frozenset(OF_THE_FILTER_FOR_ALL),
    ),
    Weakening(
        "its workers' filter", runtime_without("confine"), frozenset({"worker_filter"}), frozenset(OF_THE_FILTER)
    ),
    Weakening(
        "its parent's being closed",
        runtime_without("make_undumpable"),
        frozenset({"parent_closed"}),
        frozenset({"parents_memory", "parents_layout", "oom_score"}),
    ),
]

ROOTS = [
    Weakening(
        "its user",
        without("--reuid=65534"),
        frozenset({"process_uid", "parent_closed"}),
        frozenset({"own_uid", "oom_score", "kernel_settings"}),
    ),
    Weakening(
        "fsize", without_rlimit("fsize"), frozenset({"largest_file"}), frozenset({"large_file", "higher_limits"}), True
    ),
    Weakening(
        "its bounding set",
        without("--bounding-set=-all"),
        frozenset({"process_capabilities"}),
        frozenset({"capabilities"}),
    ),
    Weakening(
        "its cleared groups",
        both(letting("setgroups"), instead("--clear-groups", "--groups=4", before="--no-new-privs")),
        frozenset({"process_groups"}),
        frozenset({"groups"}),
    ),
]

USERS = [
    Weakening(
        "its filter, and its lack of user namespaces",
        both(unfiltered, without("--disable-userns")),
        frozenset({"filter_for_all"}),
        frozenset({*OF_THE_FILTER_FOR_ALL, "user_namespaces"}),
    ),
]

PROCESSORS = Weakening("its processors", limits(cpus=1.5), frozenset({"cpus"}))
OF_GROUPS = [
    Weakening("its memory", limits(memory_mib=1200), frozenset({"memory", "swap"}), frozenset({"memory"}), True),
    Weakening("its tasks", limits(tasks=2000), frozenset({"tasks"}), frozenset({"many_tasks"}), True),
    PROCESSORS,
]


class Weakened(BubblewrapEngine):
    """The engine, which forgets something."""

    def __init__(self, state: Path, weaken: Weaken) -> None:
        super().__init__(state)
        self._weaken = weaken

    def described(self, spec: ContainerSpec) -> Container:
        return self._weaken(super().described(spec))


@pytest.mark.parametrize("weakening", [*EVERYBODYS, *(ROOTS if ROOT else USERS)], ids=lambda weakening: weakening.name)
def test_what_is_taken_away_is_found(weakening: Weakening, tmp_path: Path) -> None:
    """With a neighbour's abstract socket to be found; whether there is a name server is the machine's affair."""
    with socket.socket(socket.AF_UNIX) as neighbour, audited(Weakened(tmp_path, weakening.weaken), tmp_path) as sandbox:
        neighbour.bind(f"\0{tmp_path}")
        assert sandbox.broken(with_twin=weakening.with_twin) - {"effect dns"} == weakening.broken


@pytest.mark.parametrize("namespace", ["--unshare-pid", "--unshare-uts"])
def test_what_it_cannot_be_without_keeps_it_from_starting(namespace: str, tmp_path: Path) -> None:
    with (
        pytest.raises(EngineError, match="could not be started"),
        audited(Weakened(tmp_path, without(namespace)), tmp_path),
    ):
        pytest.fail("it was started")


@pytest.mark.parametrize("weakening", OF_GROUPS, ids=lambda weakening: weakening.name)
def test_a_weakened_limit_is_found_where_there_are_groups(weakening: Weakening, tmp_path: Path) -> None:
    with audited(Weakened(tmp_path, weakening.weaken), tmp_path) as sandbox:
        is_held = holds_limits(sandbox) or weakening is PROCESSORS  # which are counted where nothing else is
        promised = weakening.broken if is_held else set()
        assert sandbox.broken(with_twin=weakening.with_twin) == promised


def holds_limits(sandbox: Audited) -> bool:
    inspected = sandbox.where.engine.inspect("stopgap-audited")
    return wall_of(sandbox.deployment, inspected).limits in HELD_BY_GROUPS


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Audited]:
    state = tmp_path_factory.mktemp("audited")
    with audited(BubblewrapEngine(state), state) as made:
        yield made


def test_all_that_is_promised_is_held(sandbox: Audited) -> None:
    lines = sandbox.lines(with_twin=True)
    assert [line for line in lines if line.status is Status.BROKEN] == []
    assert [line.name for line in lines if line.status is Status.NOT_TRIED] == []


def test_an_audit_leaves_nothing_behind(sandbox: Audited) -> None:
    engine, store = sandbox.where.engine, sandbox.where.store
    before = sorted(store.folder.rglob("*"))
    assert sandbox.broken(with_twin=True) == set()
    after = sorted(store.folder.rglob("*"))
    assert {path.name for path in {*after} - {*before}} <= {"deployment-audit-audited.lock"}
    assert engine.observe("stopgap-audit-audited") is None
