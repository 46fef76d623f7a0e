"""Specs as bubblewrap's command lines: every wall is there, for root and for a user, in an order that holds."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from stopgap.containment import seccomp
from stopgap.containment.bubblewrap import Arguments, Host, Tools, arguments, trial
from stopgap.containment.descriptors import FILTER
from stopgap.containment.specs import FrontSpec, SandboxSpec
from stopgap.interpreter import Interpreter
from stopgap.models import Model
from stopgap.settings import Address, Limits, Timeouts

SANDBOX = SandboxSpec(
    name="ranker",
    image="/cache/roots/legacy-1",
    state=Path("/state"),
    model=Model(Path("/models/ranker/7"), 7),
    sockets=Path("/state/fronts/8500/sandboxes/ranker"),
    limits=Limits(memory_mib=512, cpus=1.5, workers=2, tmp_mib=8),
    timeouts=Timeouts(load_s=30, run_s=20, drain_s=10),
    tags=("serve",),
    op_libraries=(Path("/ops/a.so"), Path("/other/a.so")),
    max_message_mib=64,
)
FRONT = FrontSpec(
    address=Address("127.0.0.1", 8500, 8501),
    image="/cache/roots/front-1",
    state=Path("/state"),
    folder=Path("/state/fronts/8500"),
    on_host_network=True,
    max_message_mib=128,
)
PYTHON = Interpreter(Path("/home/me/py/bin/python3.11"), Path("/home/me/py"), "3.11.7")
ROOT = Host(
    privileged=True,
    tools=Tools(*(Path("/usr/bin", name) for name in ("bwrap", "setpriv", "prlimit", "sh"))),
    links={"/bin": "usr/bin", "/lib": "usr/lib"},
    folders=(),
    ceilings={},
)
USER = replace(ROOT, privileged=False)
EVERYONE = pytest.mark.parametrize("host", [ROOT, USER], ids=["root", "user"])
BOTH = pytest.mark.parametrize("spec", [SANDBOX, FRONT], ids=["sandbox", "front"])


def made(spec: SandboxSpec | FrontSpec, host: Host = ROOT) -> Arguments:
    return arguments(spec, host, PYTHON)


def walls(spec: SandboxSpec | FrontSpec, host: Host = ROOT) -> list[str]:
    """The part that is bwrap's own."""
    before = made(spec, host).before
    return list(before[: before.index("--")])


def inside(spec: SandboxSpec | FrontSpec, host: Host = ROOT) -> list[str]:
    """What its child becomes, before it is the program."""
    before = made(spec, host).before
    return list(before[before.index("--") + 1 :])


def mounts(spec: SandboxSpec | FrontSpec) -> dict[str, tuple[str, str]]:
    """By where: how, and what."""
    words = walls(spec)
    options = {"--ro-bind", "--bind", "--dev-bind", "--ro-bind-try"}
    return {words[place + 2]: (word, words[place + 1]) for place, word in enumerate(words) if word in options}


@EVERYONE
@BOTH
@pytest.mark.parametrize(
    "wall",
    [
        "--unshare-pid",
        "--unshare-ipc",
        "--unshare-uts",
        "--unshare-cgroup",
        "--die-with-parent",
        "--new-session",
        "--clearenv",
    ],
)
def test_both_kinds_of_container_stand_behind_the_same_walls(
    spec: SandboxSpec | FrontSpec, host: Host, wall: str
) -> None:
    assert wall in walls(spec, host)


@EVERYONE
def test_a_sandbox_has_a_network_of_its_own_and_a_front_the_hosts(host: Host) -> None:
    assert "--unshare-net" in walls(SANDBOX, host)
    assert "--unshare-net" not in walls(FRONT, host)


def test_a_sandbox_sees_what_it_needs_and_can_write_to_none_of_it() -> None:
    devices = {f"/dev/{name}": ("--dev-bind", f"/dev/{name}") for name in ("null", "zero", "full", "random", "urandom")}
    assert mounts(SANDBOX) == {
        "/usr": ("--ro-bind", "/usr"),
        "/etc/ld.so.cache": ("--ro-bind-try", "/etc/ld.so.cache"),
        "/home/me/py": ("--ro-bind", "/home/me/py"),
        "/opt/stopgap/app": ("--ro-bind", "/cache/roots/legacy-1/app"),
        "/opt/stopgap/bundle": ("--ro-bind", "/cache/roots/legacy-1/bundle"),
        "/model": ("--ro-bind", "/models/ranker/7"),
        "/op-libraries/0-a.so": ("--ro-bind", "/ops/a.so"),
        "/op-libraries/1-a.so": ("--ro-bind", "/other/a.so"),
        **devices,
    }


def test_a_front_sees_all_sockets_and_writes_to_its_admin_folder_alone() -> None:
    seen = mounts(FRONT)
    assert [where for where, (how, _) in seen.items() if how == "--bind"] == ["/run/stopgap/admin"]
    assert seen["/run/stopgap/sandboxes"] == ("--ro-bind", "/state/fronts/8500/sandboxes")
    assert seen["/run/stopgap/observers"] == ("--ro-bind", "/state/fronts/8500/observers")
    assert seen["/etc/stopgap/xds"] == ("--ro-bind", "/state/fronts/8500/xds")
    assert seen["/opt/stopgap/envoy"] == ("--ro-bind", "/cache/roots/front-1/envoy")
    assert "/home/me/py" not in seen


def test_a_python_below_usr_needs_no_mount_of_its_own() -> None:
    system = Interpreter(Path("/usr/bin/python3.11"), Path("/usr"), "3.11.2")
    assert arguments(SANDBOX, ROOT, system).before.count("/usr") == len(("source", "target"))


@BOTH
def test_the_folders_above_a_mount_are_made_for_everyone_and_once(spec: SandboxSpec | FrontSpec) -> None:
    words = walls(spec)
    folders = [words[place + 1] for place, word in enumerate(words) if word == "--dir"]
    assert len(folders) == len(set(folders))
    assert {"/etc", "/dev", "/opt", "/opt/stopgap"} <= set(folders)
    for where in mounts(spec):
        above = [str(parent) for parent in Path(where).parents if str(parent) != "/"]
        assert all(words.index(parent) < words.index(where) for parent in above)


def test_where_programs_lie_beside_usr_they_are_mounted() -> None:
    words = made(FRONT, replace(ROOT, links={}, folders=("/bin", "/lib"))).before
    assert words[words.index("/lib") - 1 : words.index("/lib") + 2] == ("--ro-bind", "/lib", "/lib")


def test_the_root_is_closed_after_all_has_been_put_into_it() -> None:
    words = walls(SANDBOX)
    closed = words.index("--remount-ro")
    assert words[closed + 1] == "/"
    assert not {"--dir", "--ro-bind", "--symlink", "--proc", "--tmpfs"} & set(words[closed:])


def test_what_lies_below_tmp_on_the_host_is_not_hidden_by_the_sandboxes_own() -> None:
    words = walls(SANDBOX)
    assert words.index("--tmpfs") < words.index("--ro-bind")
    assert words[words.index("--tmpfs") - 4 : words.index("--tmpfs") + 2] == [
        "--size",
        str(8 << 20),
        "--perms",
        "1777",
        "--tmpfs",
        "/tmp",  # noqa: S108 - in the container
    ]


def test_as_root_no_user_namespace_hides_that_the_uid_is_0() -> None:
    assert "--unshare-user" not in walls(SANDBOX)
    assert inside(SANDBOX)[:3] == ["/usr/bin/setpriv", "--reuid=65534", "--regid=65534"]
    assert inside(FRONT)[:3] == ["/usr/bin/setpriv", "--reuid=65533", "--regid=65533"]


def test_as_root_bwrap_leaves_the_rights_to_give_up_rights_and_setpriv_leaves_none() -> None:
    words = walls(SANDBOX)
    kept = [words[place + 1] for place, word in enumerate(words) if word == "--cap-add"]
    assert words.index("--cap-drop") < words.index("--cap-add")
    assert kept == ["CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP"]
    assert {"--clear-groups", "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all"} < set(
        inside(SANDBOX)
    )


@EVERYONE
def test_the_first_process_is_bwraps_own(host: Host) -> None:
    """As root, bwrap could not end one of another uid when it ends itself, and all would go on without a monitor."""
    assert "--as-pid-1" not in walls(SANDBOX, host)
    assert "--die-with-parent" in walls(SANDBOX, host)


def test_a_user_gets_a_user_namespace_in_which_no_other_can_be_made() -> None:
    words = walls(SANDBOX, USER)
    user = words.index("--unshare-user")
    assert words[user : user + 6] == ["--unshare-user", "--uid", "65534", "--gid", "65534", "--disable-userns"]
    assert "--cap-add" not in words
    assert inside(SANDBOX, USER)[0] == "/usr/bin/sh"


@EVERYONE
@BOTH
def test_everything_is_behind_the_profile_that_docker_gets(spec: SandboxSpec | FrontSpec, host: Host) -> None:
    words = walls(spec, host)
    assert words[words.index("--seccomp") + 1] == str(FILTER)
    profile = json.loads(made(spec, host).profile)
    dockers = json.loads(seccomp.SANDBOX if spec is SANDBOX else seccomp.FRONT)
    more = profile["syscalls"][len(dockers["syscalls"]) :]
    assert {**profile, "syscalls": profile["syscalls"][: len(dockers["syscalls"])]} == dockers
    names = {name for rule in more for name in rule["names"]}
    assert names == ({"setresuid", "setresgid", "setgroups", "capset"} if host.privileged else set())


def test_as_root_only_the_containers_own_user_can_be_become() -> None:
    for spec, uid in ((SANDBOX, 65534), (FRONT, 65533)):
        rules = json.loads(made(spec).profile)["syscalls"]
        (become,) = (rule for rule in rules if "setresuid" in rule["names"])
        assert [(each["index"], each["op"], each["value"]) for each in become["args"]] == [
            (argument, "SCMP_CMP_EQ", uid) for argument in range(3)
        ]


@EVERYONE
@BOTH
def test_the_last_step_before_the_program_is_prlimit(spec: SandboxSpec | FrontSpec, host: Host) -> None:
    assert inside(spec, host)[-2:] == ["gate", "/usr/bin/prlimit"]


def test_a_sandbox_has_its_limits() -> None:
    assert made(SANDBOX).rlimits == {"nofile": "400:400", "core": "0:0", "fsize": f"{8 << 20}:{8 << 20}"}


def test_without_a_group_each_process_has_limits_in_its_place() -> None:
    stand_ins = made(SANDBOX).stand_ins
    pids = SANDBOX.limits.pids
    assert stand_ins["data"] == f"{512 << 20}:{512 << 20}"
    assert stand_ins["nproc"] == f"{pids}:{pids}"


def test_a_front_writes_no_file_and_can_be_widened_later() -> None:
    front = made(FRONT)
    assert front.rlimits == {"nofile": "16384:16384", "core": "0:0", "fsize": "0:0"}
    assert front.stand_ins["data"] == f"{FRONT.memory_mib << 20}:unlimited"


def test_nothing_is_asked_for_above_what_stopgap_itself_may_have() -> None:
    """`prlimit` would end with an error, and the container with it."""
    narrow = replace(USER, ceilings={"nofile": 4096, "nproc": 100})
    assert made(FRONT, narrow).rlimits["nofile"] == "4096:4096"
    assert made(FRONT, narrow).stand_ins["nproc"] == "100:100"
    assert made(SANDBOX, narrow).rlimits["nofile"] == "400:400"


def test_the_runtime_is_told_its_settings_and_what_is_handed_to_it() -> None:
    assert made(SANDBOX).program == (
        "/home/me/py/bin/python3.11",
        "-I",
        "/opt/stopgap/app",
        *SANDBOX.command,
        "--listen-fds=6,7,8,9,10",
        "--ready-fd=4",
    )


def test_envoy_is_told_its_settings() -> None:
    assert made(FRONT).program == ("/opt/stopgap/envoy", *FRONT.command)


def test_a_sandbox_without_an_interpreter_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="interpreter"):
        arguments(SANDBOX, ROOT, None)


@EVERYONE
def test_a_trial_has_a_sandboxes_walls_and_needs_nothing_handed_to_it_but_the_filter(host: Host) -> None:
    words = trial(host, ("true",), 17)
    shared = set(walls(SANDBOX, host)) - {"--info-fd"}
    assert {word for word in shared if word.startswith("--")} <= set(words)
    assert "--info-fd" not in words
    assert words[words.index("--seccomp") + 1] == "17"
    assert words[-1] == "true"
