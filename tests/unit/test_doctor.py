"""What doctor makes of what it sees, also on machines that cannot be prepared here: those are handed in."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import shutil
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from functools import partial
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingMixIn, UnixStreamServer
from typing import Any, Callable

import pytest
from stopgap.bundles import Bundle
from stopgap.cli.doctor import as_object, print_lines, print_verdict
from stopgap.doctor import clock, disk, docker, memory, model, selinux, state
from stopgap.doctor.check import Check
from stopgap.doctor.examination import Line, examine, judged, looked, planned
from stopgap.doctor.finding import Finding, State, Untold, broken, ok
from stopgap.doctor.inside import Inside
from stopgap.doctor.machine import Machine
from stopgap.doctor.once import Once, given
from stopgap.errors import EngineError, ImageError
from stopgap.progress import silent
from stopgap.store import Store

from tests.unit.test_store import RANKER

BUNDLE = Bundle("tf-1.15.5", "1.15.5", Path("/cache/tf-1.15.5"), "d1ge57")
INSIDE = Inside(frozenset({"avx"}), memory=str(128 << 20), tasks="32", bundle=BUNDLE.digest, wrong=())
HEALTHY_INFO = {
    "Architecture": "x86_64",
    "CgroupVersion": "2",
    "CpuCfsQuota": True,
    "DockerRootDir": "/",
    "MemTotal": 4 << 30,
    "MemoryLimit": True,
    "NCPU": 2,
    "OSType": "linux",
    "OperatingSystem": "Debian",
    "PidsLimit": True,
    "SecurityOptions": ["name=seccomp,profile=default"],
    "ServerVersion": "20.10.24",
}
SANDBOX_LABELS = {"stopgap.image": "legacy", "stopgap.bundle": "tf-1.15.5"}
NOON = datetime(2026, 11, 22, 12, 0, tzinfo=timezone.utc)

as_root = pytest.mark.skipif(os.getuid() != 0, reason="labels and owners are root's to change")


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return machine_in(tmp_path)


def machine_in(folder: Path, **changes: Any) -> Machine:
    return Machine(Store(folder / "state"), **{"cache": folder / "cache", "now": NOON, **changes})


class DockerThatTells(ThreadingMixIn, UnixStreamServer):
    """Speaks as a Docker engine does, and tells what a test wants: no engine at hand is rootless, or another's."""

    daemon_threads = True

    def __init__(self, path: Path, info: dict[str, Any], labels: dict[str, str] | None) -> None:
        self.info = info
        self.labels = labels
        super().__init__(str(path), Answering)

    def answer(self, path: str) -> Any:
        """None for what it does not know."""
        if path.startswith("/images/"):
            return None if self.labels is None else {"Config": {"Labels": self.labels}}
        return {"/version": {"ApiVersion": "1.41"}, "/info": self.info}.get(path)


class Answering(BaseHTTPRequestHandler):
    server: DockerThatTells

    def do_GET(self) -> None:
        answer = self.server.answer(re.sub(r"^/v1\.\d+", "", self.path))
        body = json.dumps(answer or {"message": "no such thing"}).encode()
        self.send_response(404 if answer is None else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


@contextmanager
def docker_that_tells(
    folder: Path, info: dict[str, Any] | None = None, labels: dict[str, str] | None = None
) -> Iterator[str]:
    path = folder / "docker.sock"
    with DockerThatTells(path, {**HEALTHY_INFO, **(info or {})}, labels) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f"unix://{path}"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def with_docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Machine]]:
    """A machine whose Docker engine tells this of itself, and whose containers see that."""
    engines = []

    def make(
        info: dict[str, Any] | None = None,
        *,
        labels: dict[str, str] | None = None,
        inside: Inside = INSIDE,
        **changes: Any,
    ) -> Machine:
        engine = docker_that_tells(tmp_path, info, labels)
        monkeypatch.setenv("DOCKER_HOST", engine.__enter__())
        engines.append(engine)
        made = machine_in(tmp_path, **changes)
        made.bundle = Once(lambda: BUNDLE, "")
        made.inside_docker = Once(lambda: inside, "")
        return made

    yield make
    for engine in engines:
        engine.__exit__(None, None, None)


def found(look: Callable[[Machine], Finding], machine: Machine) -> Finding:
    """What a check finds, as the examination has it."""
    (finding,) = looked((Check("topic", "check", look),), machine, silent)
    return finding


def line(topic: str, check: str, finding: Finding) -> Line:
    return Line(Check(topic, check, lambda _: finding), finding)


# How checks are run


def raises(error: Exception) -> Callable[[Machine], Finding]:
    def look(_: Machine) -> Finding:
        raise error

    return look


def test_an_error_that_says_how_to_mend_it_is_a_fault(machine: Machine) -> None:
    assert found(raises(EngineError("It is down.", "Start it.")), machine) == broken("It is down.", "Start it.")


@pytest.mark.parametrize("error", [Untold("not looked at"), PermissionError(13, "Permission denied", "/x")])
def test_what_could_not_be_looked_at_is_not_ok(machine: Machine, error: Exception) -> None:
    finding = found(raises(error), machine)
    assert finding.state is State.UNKNOWN
    assert finding.detail


def test_a_check_that_hangs_costs_its_own_limit_alone(machine: Machine) -> None:
    release = threading.Event()
    hanging = Check("a", "hangs", lambda _: ok(str(release.wait(30))), limit_s=0.2)
    quick = Check("a", "quick", lambda _: ok("fine"))
    began = time.monotonic()
    findings = tuple(looked((hanging, quick), machine, silent))
    elapsed_s = time.monotonic() - began
    release.set()
    assert [finding.state for finding in findings] == [State.UNKNOWN, State.OK]
    assert "0 s" in findings[0].detail
    assert elapsed_s < 5


def test_a_question_is_asked_once_however_many_want_the_answer() -> None:
    asked = []

    def ask() -> int:
        asked.append(threading.get_ident())
        time.sleep(0.05)
        return 7

    question = Once(ask, "")
    answers: list[int] = []
    threads = [threading.Thread(target=lambda: answers.append(question())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (answers, len(asked)) == ([7] * 8, 1)


def test_who_builds_upon_an_answer_that_failed_points_at_it() -> None:
    def ask() -> int:
        raise EngineError("It is down.", "Start it.")

    question = Once(ask, "no engine answers")
    with pytest.raises(EngineError, match="It is down"):
        question()
    with pytest.raises(Untold, match="not looked at: no engine answers"):
        given(question)


FAULTY = (
    line("engine", "serve takes", ok("docker")),
    line("Docker", "engine", ok("answers")),
    line("bubblewrap", "a real call", broken("refused", "sudo sysctl …")),
    line("ports", "8500", broken("taken", "--port PORT")),
)


def test_a_broken_engine_that_nobody_needs_keeps_nobody_from_serving() -> None:
    states = [each.finding.state for each in judged(FAULTY, frozenset({"Docker"}))]
    assert states == [State.OK, State.OK, State.SPARE, State.BROKEN]
    assert judged(FAULTY, frozenset({"Docker"}))[2].finding.remedy == "sudo sysctl …"


@pytest.mark.parametrize("needed", [None, frozenset({"Docker", "bubblewrap"})])
def test_a_broken_engine_is_needed_where_it_serves_or_where_none_works(needed: frozenset[str] | None) -> None:
    assert judged(FAULTY, needed) == FAULTY


# What a person and a script see


def test_a_remedy_stands_below_its_line_whole_and_harmless(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    command = "sudo chmod o+x /" + "/".join(f"folder-{number}" for number in range(20))
    print_lines([line("model", "way to it", broken("closed\x1b[2J [red]x", f"{command}\nls")), line("a", "b", ok("c"))])
    topic, row, first, second, *others = capsys.readouterr().out.splitlines()
    assert topic == "model"
    assert row.split() == ["broken", "way", "to", "it", "closed\\x1b[2J", "[red]x"]
    assert (first.strip(), second.strip()) == (command, "ls")
    assert others == ["a", "  ok                  b                         c"]


def test_the_last_line_says_whether_it_will_serve(capsys: pytest.CaptureFixture[str]) -> None:
    print_verdict(FAULTY)
    assert "Broken: bubblewrap: a real call; ports: 8500." in capsys.readouterr().out
    print_verdict(FAULTY[:2])
    assert "Nothing that serving needs is broken." in capsys.readouterr().out


def test_a_script_gets_one_object_a_check() -> None:
    assert as_object(FAULTY[3]) == {
        "topic": "ports",
        "check": "8500",
        "state": "broken",
        "detail": "taken",
        "remedy": "--port PORT",
    }


def test_the_page_about_doctor_knows_every_topic_and_every_state(machine: Machine, tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "doctor.md").read_text(encoding="utf-8")
    rows = [row.split("|")[1].strip().strip("`") for row in page.splitlines() if row.startswith("| ")]
    machine.model = tmp_path
    topics = dict.fromkeys(check.topic for check in planned(machine))
    assert rows == ["state", "---", *(each.value for each in State), "topic", "---", *topics]


# Docker


def test_an_engine_is_told_with_its_version_its_address_and_its_rights(with_docker: Callable[..., Machine]) -> None:
    finding = docker.engine(with_docker({"SecurityOptions": ["name=rootless"]}))
    assert finding.state is State.OK
    for part in ("20.10.24", "docker.sock", "DOCKER_HOST", "rootless"):
        assert part in finding.detail


def test_an_engine_that_hangs_is_named_and_hangs_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "docker.sock"
    monkeypatch.setenv("DOCKER_HOST", f"unix://{path}")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        began = time.monotonic()
        lines = {(each.check.topic, each.check.name): each.finding for each in examine(machine_in(tmp_path))}
        elapsed_s = time.monotonic() - began
    assert elapsed_s < 10
    finding = lines["Docker", "engine"]
    assert (finding.state, "hangs" in finding.detail) == (State.BROKEN, True)
    assert "systemctl restart docker" in finding.remedy
    assert lines["engine", "serve takes"].state is State.UNKNOWN


@pytest.mark.parametrize("info", [{"Architecture": "aarch64"}, {"OSType": "windows"}])
def test_an_engine_of_another_kind_is_a_fault(with_docker: Callable[..., Machine], info: dict[str, str]) -> None:
    finding = found(docker.architecture, with_docker(info))
    assert (finding.state, "docker context use" in finding.remedy) == (State.BROKEN, True)


def test_limits_that_hold_are_told_with_the_mechanism(with_docker: Callable[..., Machine]) -> None:
    assert docker.limits(with_docker()) == ok("by cgroup v2, seen from inside")


@pytest.mark.parametrize(
    ("info", "inside", "detail", "remedy"),
    [
        ({"MemoryLimit": False}, INSIDE, "does not hold memory", "cgroup_enable=memory"),
        (
            {"PidsLimit": False, "CpuCfsQuota": False, "SecurityOptions": ["name=rootless"]},
            INSIDE,
            "does not hold tasks, processors",
            "Delegate=cpu memory pids",
        ),
        ({}, replace(INSIDE, memory="max"), "tasks has max, 32", "cgroup_enable=memory"),
    ],
)
def test_limits_that_do_not_hold_are_a_fault(
    with_docker: Callable[..., Machine], info: dict[str, Any], inside: Inside, detail: str, remedy: str
) -> None:
    finding = docker.limits(with_docker(info, inside=inside))
    assert (finding.state, detail in finding.detail, remedy in finding.remedy) == (State.BROKEN, True, True)


def test_limits_that_nobody_can_see_are_not_called_ok(with_docker: Callable[..., Machine]) -> None:
    assert docker.limits(with_docker(inside=replace(INSIDE, memory=""))).state is State.UNKNOWN


RUNSC = {"path": "/usr/bin/runsc", "runtimeArgs": ["--network=none", "--host-uds=all", "--oci-seccomp"]}


def test_gvisor_is_told_where_it_is_registered(with_docker: Callable[..., Machine]) -> None:
    assert docker.gvisor_registered(with_docker({"Runtimes": {"runc": {}, "runsc": RUNSC}})).state is State.OK


@pytest.mark.parametrize(
    ("runtimes", "detail"),
    [
        ({}, "knows no runtime runsc: it has none"),
        ({"runc": {"path": "runc"}}, "knows no runtime runsc: it has runc"),
        ({"runsc": {"path": "runsc"}}, "without --network=none, --host-uds=all, --oci-seccomp=true"),
        (
            {"runsc": {**RUNSC, "runtimeArgs": ["-network=none", "--host-uds=create", "--oci-seccomp"]}},
            "is registered without --host-uds=all",
        ),
    ],
)
def test_gvisor_is_no_fault_where_nobody_has_asked_for_it_but_what_it_takes_is_said(
    with_docker: Callable[..., Machine], runtimes: dict[str, Any], detail: str
) -> None:
    finding = docker.gvisor_registered(with_docker({"Runtimes": runtimes}))
    assert (finding.state, detail in finding.detail) == (State.ABSENT, True)
    assert "sudo runsc install -- --network=none --host-uds=all --oci-seccomp" in finding.remedy.splitlines()


def test_gvisor_that_a_deployment_needs_is_a_fault_where_it_is_missing(with_docker: Callable[..., Machine]) -> None:
    machine = with_docker({"Runtimes": {"runc": {}}})
    machine.store.put(replace(RANKER, isolation="gvisor"))
    finding = docker.gvisor_registered(machine)
    assert (finding.state, RANKER.name in finding.detail) == (State.BROKEN, True)


def test_a_processor_without_avx_inside_is_a_fault(with_docker: Callable[..., Machine]) -> None:
    finding = found(docker.avx_inside, with_docker(inside=replace(INSIDE, flags=frozenset({"sse2"}))))
    assert (finding.state, "AVX" in finding.detail) == (State.BROKEN, True)


def test_an_image_that_is_not_there_will_be_built(with_docker: Callable[..., Machine]) -> None:
    there = with_docker(labels=None)
    assert [docker.sandbox_image(there).state, docker.front_image(there).state] == [State.ABSENT, State.ABSENT]


def test_an_image_as_it_was_built_is_ok(with_docker: Callable[..., Machine]) -> None:
    assert docker.sandbox_image(with_docker(labels=SANDBOX_LABELS)).state is State.OK


@pytest.mark.parametrize(
    ("labels", "inside", "said"),
    [
        ({"maintainer": "somebody"}, INSIDE, "did not build"),
        (SANDBOX_LABELS, replace(INSIDE, wrong=("lib/a.so",)), "altered: lib/a.so"),
        (SANDBOX_LABELS, replace(INSIDE, bundle="another"), "altered: bundle.json"),
    ],
)
def test_an_image_that_was_altered_is_a_fault(
    with_docker: Callable[..., Machine], labels: dict[str, str], inside: Inside, said: str
) -> None:
    with pytest.raises(ImageError, match=said) as caught:
        docker.sandbox_image(with_docker(labels=labels, inside=inside))
    assert re.match(r"docker image rm --force stopgap/legacy:[0-9a-f]{12} ", caught.value.remedy)


def test_an_engines_disk_elsewhere_is_not_called_ok(with_docker: Callable[..., Machine]) -> None:
    assert disk.docker_folder(with_docker({"DockerRootDir": "/in/a/virtual/machine"})).state is State.ABSENT


# SELinux: the label and chcon are real, that it is enforced is not


@pytest.fixture
def enforcing(tmp_path: Path) -> Path:
    folder = tmp_path / "selinux"
    folder.mkdir()
    (folder / "enforce").write_text("1", encoding="ascii")
    return folder


@pytest.fixture
def labelled_model(tmp_path: Path) -> Path:
    folder = tmp_path / "a model"
    folder.mkdir()
    (folder / "saved_model.pb").touch()
    for path in (folder, folder / "saved_model.pb"):
        os.setxattr(path, "security.selinux", b"unconfined_u:object_r:user_home_t:s0\0")
    return folder


CONFINED = {"SecurityOptions": ["name=selinux"]}


@as_root
def test_a_label_that_containers_may_not_read_is_a_fault_with_its_chcon(
    with_docker: Callable[..., Machine], enforcing: Path, labelled_model: Path
) -> None:
    there = with_docker(CONFINED, selinux=enforcing, model=labelled_model)
    of_model = list(selinux.checks(there))[1]
    finding = found(of_model.look, there)
    assert (finding.state, "user_home_t" in finding.detail) == (State.BROKEN, True)
    assert finding.remedy.splitlines() == [
        f"chcon --recursive --type container_file_t '{labelled_model}'",
        f"sudo semanage fcontext --add --type container_file_t '{labelled_model}(/.*)?' "
        f"&& sudo restorecon -R '{labelled_model}'",
    ]
    subprocess.run(finding.repair, check=True)
    assert found(of_model.look, there).state is State.OK


@as_root
def test_without_labels_in_docker_none_are_needed(
    with_docker: Callable[..., Machine], enforcing: Path, labelled_model: Path
) -> None:
    there = with_docker(selinux=enforcing, model=labelled_model)
    assert [found(check.look, there).state for check in selinux.checks(there)] == [State.OK, State.OK]


def test_where_selinux_is_not_there_or_only_warns_nothing_is_asked(tmp_path: Path, enforcing: Path) -> None:
    (enforcing / "enforce").write_text("0", encoding="ascii")
    for folder in (enforcing, tmp_path / "nowhere"):
        there = machine_in(tmp_path, selinux=folder)
        assert [found(check.look, there).state for check in selinux.checks(there)] == [State.ABSENT]


# Runs the end of the command on a machine whose model has a label that is not right.
RELABELLING = """
import sys
from pathlib import Path
from stopgap.cli.doctor import mended
from stopgap.doctor import selinux
from stopgap.doctor.check import Check
from stopgap.doctor.examination import Line
from stopgap.doctor.finding import State, broken
model = Path(sys.argv[1])
def look(machine):
    wrong = "container_file_t" not in selinux.label_of(model)
    return broken("wrong label", selinux.remedy(model), selinux.relabelling(model)) if wrong else selinux.ok("right")
check = Check("SELinux", "model", look)
after = mended(Line(check, look(None)), None)
print("after:", after.finding.state.value)
"""


@as_root
@pytest.mark.parametrize(
    ("typed", "label", "after"), [("y\n", "container_file_t", "ok"), ("n\n", "user_home_t", "broken")]
)
def test_a_person_at_a_terminal_is_asked_before_anything_is_relabelled(
    labelled_model: Path, typed: str, label: str, after: str
) -> None:
    master, slave = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", RELABELLING, str(labelled_model)], stdin=slave, stdout=slave, stderr=slave
    ):
        os.close(slave)
        said = read_until(master, "[y/N]")
        assert f"run chcon --recursive --type container_file_t '{labelled_model}' now?" in said
        os.write(master, typed.encode())
        assert f"after: {after}" in read_until(master, "after: " + after)
    os.close(master)
    for path in (labelled_model, labelled_model / "saved_model.pb"):
        assert label in str(selinux.label_of(path))


@as_root
def test_without_a_terminal_nobody_is_asked(labelled_model: Path) -> None:
    command = [sys.executable, "-c", RELABELLING, str(labelled_model)]
    done = subprocess.run(command, input="y\n", capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "after: broken\n"
    assert "user_home_t" in str(selinux.label_of(labelled_model))


def read_until(descriptor: int, wanted: str, timeout_s: float = 30) -> str:
    deadline, said = time.monotonic() + timeout_s, ""
    while wanted not in said:
        left_s = deadline - time.monotonic()
        assert left_s > 0, said
        if select.select([descriptor], [], [], left_s)[0]:
            said += os.read(descriptor, 4096).decode()
    return said


# The model


def mountinfo(folder: Path, at: Path, rest: str) -> Path:
    """A kernel's list of mounts with one more, as a folder that is read like /proc."""
    file = folder / "proc" / "self" / "mountinfo"
    file.parent.mkdir(parents=True)
    written = str(at).replace(" ", "\\040")
    file.write_text(f"1 0 8:1 / / rw - ext4 /dev/sda1 rw\n2 1 0:9 / {written} rw - {rest}\n", encoding="utf-8")
    return folder / "proc"


@pytest.mark.parametrize(
    ("rest", "state_of_it", "detail"),
    [
        ("fuse.sshfs somewhere rw,user_id=1000", State.BROKEN, "fuse.sshfs, mounted for one user alone"),
        ("fuse.sshfs somewhere rw,user_id=1000,allow_other", State.OK, "fuse.sshfs, mounted at"),
        ("nfs4 server:/models rw,vers=4.2", State.OK, "nfs4, mounted at"),
    ],
)
def test_the_file_system_matters_where_it_is_one_users_own(
    tmp_path: Path, rest: str, state_of_it: State, detail: str
) -> None:
    folder = tmp_path / "mounted here" / "model"
    folder.mkdir(parents=True)
    there = machine_in(tmp_path, model=folder, proc=mountinfo(tmp_path, folder.parent, rest))
    finding = found(partial(model.file_system, folder), there)
    assert (finding.state, detail in finding.detail) == (state_of_it, True)
    assert ("allow_other" in finding.remedy) == (state_of_it is State.BROKEN)


def test_no_model_is_looked_for_where_none_is_asked_about(machine: Machine) -> None:
    assert list(model.checks(machine)) == []


# Disk and memory


@pytest.mark.parametrize(("available_kib", "state_of_it"), [(100_000, State.BROKEN), (4_000_000, State.OK)])
def test_a_machine_without_memory_is_a_fault(tmp_path: Path, available_kib: int, state_of_it: State) -> None:
    text = f"MemTotal:        8000000 kB\nMemAvailable:    {available_kib} kB\nHugePages_Total:       0\n"
    (tmp_path / "meminfo").write_text(text, encoding="ascii")
    assert memory.memory(machine_in(tmp_path, proc=tmp_path)).state is state_of_it


def test_a_disk_is_asked_by_the_folder_that_will_be_made_on_it(tmp_path: Path) -> None:
    free_gib = shutil.disk_usage(tmp_path).free / (1 << 30)
    finding = disk.room(tmp_path / "not" / "yet", 1, "make room")
    assert finding.state is State.OK
    assert float(finding.detail.split()[0]) == pytest.approx(free_gib, abs=1)
    assert disk.room(tmp_path, 1 << 40, "make room").state is State.BROKEN


# The state folder and the clock


def test_no_state_folder_is_no_fault_and_none_is_made(machine: Machine) -> None:
    names = [check.name for check in state.checks(machine)]
    findings = [found(check.look, machine) for check in state.checks(machine)]
    assert names == ["folder", "files", "killed serves"]
    assert {finding.state for finding in findings} == {State.ABSENT}
    assert not machine.store.folder.exists()


@pytest.mark.parametrize("mode", [0o755, 0o777, 0o500])
def test_a_state_folder_that_is_open_or_closed_is_a_fault(machine: Machine, mode: int) -> None:
    machine.store.folder.mkdir()
    machine.store.folder.chmod(mode)
    finding = state.folder(machine)
    assert finding.state is State.BROKEN
    subprocess.run(finding.remedy.split(), check=True)
    assert stat.S_IMODE(machine.store.folder.stat().st_mode) == 0o700
    assert state.folder(machine).state is State.OK


@as_root
def test_a_state_folder_of_somebody_elses_is_a_fault(machine: Machine) -> None:
    machine.store.folder.mkdir(mode=0o700)
    os.chown(machine.store.folder, 12345, 12345)
    finding = state.folder(machine)
    assert (finding.state, "belongs to 12345" in finding.detail) == (State.BROKEN, True)
    assert f"sudo chown --recursive root {machine.store.folder}" in finding.remedy


def test_a_name_that_another_stopgap_works_on_is_told_from_one_that_it_left(machine: Machine) -> None:
    with machine.store.locked_deployment("ranker"):
        assert state.is_locked(machine, "ranker")
        assert not state.is_locked(machine, "other")
    assert not state.is_locked(machine, "ranker")


def test_a_deployment_that_is_down_is_a_fault(with_docker: Callable[..., Machine]) -> None:
    there = with_docker()
    there.store.put(RANKER)
    finding = found(partial(state.condition, RANKER), there)
    assert (finding.state, finding.detail.startswith("down")) == (State.BROKEN, True)
    assert finding.remedy == "stopgap logs ranker\nstopgap resume ranker"


@pytest.mark.parametrize(
    ("now", "sunsets", "time_of_it"),
    [
        (RANKER.created + timedelta(days=1), State.OK, State.OK),
        (datetime(2027, 4, 2, tzinfo=timezone.utc), State.BROKEN, State.OK),
        (RANKER.created - timedelta(hours=1), State.OK, State.BROKEN),
        (RANKER.created - timedelta(seconds=1), State.OK, State.OK),
    ],
)
def test_the_clock_is_held_against_the_deployments(
    tmp_path: Path, now: datetime, sunsets: State, time_of_it: State
) -> None:
    there = machine_in(tmp_path, now=now)
    there.store.put(RANKER)
    assert (clock.sunsets(there).state, clock.time(there).state) == (sunsets, time_of_it)
