"""Machines that are broken on purpose, as really as can be: doctor names that fault, says what mends it, and no other.

Each is this machine with one thing wrong: a socket that is dead, a disk that is full, a kernel that refuses. The disks,
the processor and the network are those of namespaces of the test's own, so nobody else notices.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from platformdirs import user_cache_path
from stopgap.containment.specs import sandbox_container
from stopgap.store import Store
from stopgap.sunset import utc_today

from tests.backstage import ENGINES, BubblewrapBackstage, api
from tests.load import until
from tests.stopgap_program import Program, free_port, program_in
from tests.unprivileged import Person, unprivileged_user
from tests.zoo import ZOO

pytestmark = [
    pytest.mark.docker,
    pytest.mark.bubblewrap,
    pytest.mark.slow,
    pytest.mark.skipif(os.getuid() != 0, reason="only root can break a machine"),
]

MODEL = ZOO / "stn_affine_resampler"
BUNDLE = "tf-1.15.5"
TIMEOUT_S = 120

# A network in which every port is free, but for those that a test takes.
NETWORK = ("unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh")

LISTENER = """
import socket, subprocess, sys
with socket.create_server(("127.0.0.1", int(sys.argv[1]))):
    sys.exit(subprocess.run(sys.argv[2:], check=False).returncode)
"""


class Diagnosis:
    """What `stopgap doctor --json` has said."""

    def __init__(self, done: subprocess.CompletedProcess[str]) -> None:
        assert "Traceback" not in done.stderr, done.stderr
        self.code = done.returncode
        self.lines: list[dict[str, str]] = json.loads(done.stdout)

    def line(self, topic: str, check: str) -> dict[str, str]:
        return next(line for line in self.lines if (line["topic"], line["check"]) == (topic, check))

    @property
    def faults(self) -> list[tuple[str, str]]:
        """Needed or not."""
        return [(line["topic"], line["check"]) for line in self.lines if line["state"].startswith("broken")]

    @property
    def untold(self) -> list[dict[str, str]]:
        return [line for line in self.lines if line["state"] == "unknown"]


def diagnosed(
    state: Path,
    *arguments: str | Path,
    within: tuple[str, ...] = NETWORK,
    environment: Mapping[str, str] | None = None,
) -> Diagnosis:
    """By the real program, run as root within the namespaces that `within` makes."""
    command = [*within, *Program.command("doctor", "--json", *map(str, arguments))]
    return Diagnosis(run(command, {**os.environ, "STOPGAP_STATE": str(state), **(environment or {})}))


def run(command: list[str], environment: Mapping[str, str], **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=False, **options
    )


def after(script: str) -> tuple[str, ...]:
    """Mounts of the program's own: what the shell script does to them, nobody else sees."""
    return (*NETWORK, "unshare", "--mount", "sh", "-c", f'{script} && exec "$@"', "sh")


@pytest.fixture(scope="module", autouse=True)
def everything_there(legacy_bundle: Path) -> None:
    """The bundle is fetched, so that nothing has to be."""
    assert legacy_bundle.is_dir()


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture(scope="module")
def person() -> Iterator[Person]:
    """Somebody without rights, who is let in by Docker where a test says so."""
    with unprivileged_user() as user:
        yield user


def diagnosed_as(
    person: Person,
    *arguments: str | Path,
    groups: tuple[int, ...],
    within: tuple[str, ...] = (),
    environment: Mapping[str, str] | None = None,
) -> Diagnosis:
    done = run(
        [*NETWORK, *as_person(person, groups), *within, str(person.stopgap), "doctor", "--json", *map(str, arguments)],
        {**person.environment, **(environment or {})},
        cwd=person.home,
    )
    return Diagnosis(done)


def as_person(person: Person, groups: tuple[int, ...]) -> tuple[str, ...]:
    listed = f"--groups={','.join(map(str, groups))}" if groups else "--clear-groups"
    return "setpriv", f"--reuid={person.uid}", f"--regid={person.gid}", listed, "--"


def docker_group() -> int:
    return Path("/var/run/docker.sock").stat().st_gid


def test_a_machine_in_order(tmp_path: Path) -> None:
    """With a model served on each engine, so that everything is there to be looked at."""
    with program_in(tmp_path) as stopgap:
        stopgap.serve(MODEL, "on-docker")
        serve = ("serve", str(MODEL), "--name", "on-bubblewrap", "--engine", "bubblewrap", "--port", str(free_port()))
        assert stopgap.run(*serve).returncode == 0
        before = everything_in(stopgap.state)
        seen = diagnosed(stopgap.state, MODEL, within=())
        assert (seen.code, seen.faults, seen.untold) == (0, [], [])
        assert all(line["remedy"] == "" for line in seen.lines)
        looked_at = {(line["topic"], line["check"]) for line in seen.lines if line["state"] == "ok"}
        assert looked_at >= {
            *((engine, check) for engine in ("Docker", "bubblewrap") for check in ("limits", "AVX inside")),
            *(("state", name) for name in ("folder", "files", "on-docker", "on-bubblewrap")),
            ("Docker", "sandbox's image"),
            ("clock", "sunsets"),
            ("model", "SavedModel"),
        }
        assert everything_in(stopgap.state) == before
        assert api().containers(all=True, filters={"label": "stopgap.role=doctor"}) == []


def everything_in(folder: Path) -> list[tuple[Path, int, float]]:
    return [(path, path.lstat().st_mode, path.lstat().st_mtime) for path in sorted((folder, *folder.rglob("*")))]


def test_an_engine_that_is_down(state: Path, tmp_path: Path) -> None:
    dead = f"unix://{tmp_path}/docker.sock"
    seen = diagnosed(state, environment={"DOCKER_HOST": dead})
    assert seen.faults == [("Docker", "engine")]
    line = seen.line("Docker", "engine")
    assert f"No Docker engine answers at {dead}." in line["detail"]
    assert "sudo systemctl start docker" in line["remedy"]
    assert not state.exists()
    # The other engine is enough, and is told with the reason.
    assert (line["state"], seen.code) == ("broken, not needed", 0)
    assert "bubblewrap" in seen.line("engine", "serve takes")["detail"]


def test_no_engine_at_all(state: Path, tmp_path: Path) -> None:
    bwrap = shutil.which("bwrap")
    without = after(f"mount --bind /dev/null {bwrap}")
    seen = diagnosed(state, within=without, environment={"DOCKER_HOST": f"unix://{tmp_path}/docker.sock"})
    assert seen.code == 1
    assert seen.faults == [("engine", "serve takes"), ("Docker", "engine"), ("bubblewrap", "a real call")]
    assert "sudo apt-get install bubblewrap" in seen.line("bubblewrap", "a real call")["remedy"]
    assert {line["state"] for line in seen.lines if line["remedy"]} == {"broken"}


def test_nothing_to_make_the_filter_of_system_calls_with(state: Path, tmp_path: Path) -> None:
    listed = subprocess.run(["ldconfig", "-p"], capture_output=True, text=True, check=True).stdout.splitlines()
    library = next(line.split(" => ")[1] for line in listed if "libseccomp.so.2 " in line and "x86-64" in line)
    without = after(f"mount --bind /dev/null {Path(library).resolve()}")
    seen = diagnosed(state, within=without, environment={"DOCKER_HOST": f"unix://{tmp_path}/docker.sock"})
    assert seen.faults == [("engine", "serve takes"), ("Docker", "engine"), ("bubblewrap", "a real call")]
    line = seen.line("bubblewrap", "a real call")
    assert "libseccomp is not installed" in line["detail"]
    assert "sudo apt-get install libseccomp2" in line["remedy"]


def test_no_permission_on_the_engines_socket(person: Person) -> None:
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as listener:
        Path(folder).chmod(0o755)
        path = Path(folder) / "docker.sock"
        listener.bind(str(path))
        listener.listen()
        path.chmod(0o600)
        seen = diagnosed_as(person, groups=(), environment={"DOCKER_HOST": f"unix://{path}"})
    assert seen.faults == [("Docker", "engine")]
    line = seen.line("Docker", "engine")
    assert f"No permission to use the Docker engine at unix://{path}." in line["detail"]
    assert "sudo usermod -aG docker $USER" in line["remedy"]
    assert (line["state"], seen.code) == ("broken, not needed", 0)  # bubblewrap needs nobody's permission


def test_a_processor_without_avx(state: Path, tmp_path: Path) -> None:
    words = Path("/proc/cpuinfo").read_text(encoding="utf-8").split(" ")
    fake = tmp_path / "cpuinfo"
    fake.write_text(" ".join(word for word in words if not word.startswith("avx")), encoding="utf-8")
    seen = diagnosed(state, within=after(f"mount --bind {shlex.quote(str(fake))} /proc/cpuinfo"))
    assert (seen.code, seen.faults) == (1, [("processor", "AVX")])
    line = seen.line("processor", "AVX")
    assert "needs a processor with AVX" in line["detail"]
    assert "-cpu host" in line["remedy"]


@pytest.mark.parametrize(
    ("port", "check", "option"), [(8500, "8500, gRPC", "--port"), (8501, "8501, REST", "--rest-port")]
)
def test_a_port_that_is_taken(state: Path, port: int, check: str, option: str) -> None:
    seen = diagnosed(state, within=(*NETWORK, sys.executable, "-c", LISTENER, str(port)))
    assert (seen.code, seen.faults) == (1, [("ports", check)])
    line = seen.line("ports", check)
    assert f"Port {port} is taken by python" in line["detail"]
    assert f"{option} PORT" in line["remedy"]


@pytest.mark.parametrize(
    ("folder", "variable", "check"),
    [("state", "STOPGAP_STATE", "state folder"), ("cache", "XDG_CACHE_HOME", "cache folder")],
)
def test_a_full_disk(state: Path, tmp_path: Path, folder: str, variable: str, check: str) -> None:
    """A small tmpfs is a disk that is full before anything is on it."""
    disk = tmp_path / "disk"
    disk.mkdir()
    full = after(f"mount -t tmpfs -o size=16m,mode=755 tmpfs {shlex.quote(str(disk))}")
    seen = diagnosed(state, within=full, environment={variable: str(disk / folder)})
    assert (seen.code, seen.faults) == (1, [("disk", check)])
    line = seen.line("disk", check)
    assert f"{disk / folder}" in line["detail"]
    assert "16 MiB left" in line["detail"]
    assert f"{variable}=FOLDER stopgap" in line["remedy"]


def test_a_kernel_that_refuses_user_namespaces(person: Person) -> None:
    """Within a user namespace of the person's, below which the kernel allows no other."""
    refusing = ("unshare", "--user", "--map-current-user", "--keep-caps", "sh", "-c")
    forbid = 'echo 0 > /proc/sys/user/max_user_namespaces && exec setpriv --inh-caps=-all --ambient-caps=-all -- "$@"'
    seen = diagnosed_as(person, groups=(docker_group(),), within=(*refusing, forbid, "sh"))
    assert seen.faults == [("bubblewrap", "a real call")]
    line = seen.line("bubblewrap", "a real call")
    assert "sudo sysctl -w user.max_user_namespaces=" in line["remedy"]
    assert line["state"] == "broken, not needed"


def test_an_apparmor_that_refuses_user_namespaces(person: Person) -> None:
    """What Ubuntu's bwrap says since 23.10: no such kernel is at hand, so a program of that name says it."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        fake = Path(folder) / "bwrap"
        fake.write_text(
            "#!/bin/sh\necho 'bwrap: setting up uid map: Permission denied' >&2\nexit 1\n", encoding="utf-8"
        )
        fake.chmod(0o755)
        path = f"{folder}:{person.environment['PATH']}"
        seen = diagnosed_as(person, groups=(docker_group(),), environment={"PATH": path})
    assert seen.faults == [("bubblewrap", "a real call")]
    remedy = seen.line("bubblewrap", "a real call")["remedy"]
    assert "sudo apparmor_parser -r /etc/apparmor.d/bwrap-userns-restrict" in remedy
    assert "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0" in remedy


def test_a_model_behind_a_closed_folder(person: Person) -> None:
    with tempfile.TemporaryDirectory() as closed:  # of mode 0700
        model = Path(closed) / "models" / "stn"
        shutil.copytree(MODEL / "1", model)
        seen = diagnosed_as(person, model, groups=(docker_group(),))
    assert (seen.code, seen.faults) == (1, [("model", "way to it")])
    line = seen.line("model", "way to it")
    assert f"{closed} does not let us through" in line["detail"]
    assert f"sudo chmod o+x {closed}" in line["remedy"]
    assert seen.line("model", "SavedModel")["state"] == "unknown"


def test_a_model_that_the_sandboxs_user_cannot_read(state: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(MODEL / "1", model)
    (model / "variables" / "variables.index").chmod(0o600)
    seen = diagnosed(state, model)
    assert (seen.code, seen.faults) == (1, [("model", "SavedModel")])
    line = seen.line("model", "SavedModel")
    assert f"cannot read the file {model}/variables/variables.index." in line["detail"]
    assert f"chmod -R o+rX {model}" in line["remedy"]


def test_a_bundle_with_a_wrong_hash(state: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    bundle = cache / "stopgap" / "bundles" / BUNDLE
    shutil.copytree(user_cache_path("stopgap") / "bundles" / BUNDLE, bundle)
    altered = bundle / "lib" / "libtensorflow_framework.so.1"
    with altered.open("r+b") as stream:
        stream.seek(1 << 20)
        (byte,) = stream.read(1)
        stream.seek(1 << 20)
        stream.write(bytes([byte ^ 1]))
    seen = diagnosed(state, environment={"XDG_CACHE_HOME": str(cache)})
    assert (seen.code, seen.faults) == (1, [("bundles", BUNDLE)])
    line = seen.line("bundles", BUNDLE)
    assert "lib/libtensorflow_framework.so.1" in line["detail"]
    assert f"stopgap bundle fetch --again {BUNDLE}" in line["remedy"]


@pytest.mark.parametrize("engine", ENGINES)
def test_what_a_killed_serve_has_left(tmp_path: Path, engine: str) -> None:
    with program_in(tmp_path, engine) as stopgap:
        serving = stopgap.start("serve", str(MODEL), *stopgap.at("stn"))
        sockets = Store(stopgap.state).sandbox_folder(stopgap.port, "stn")
        until(sockets.is_dir, TIMEOUT_S)
        serving.send_signal(signal.SIGSTOP)
        at_work = diagnosed(stopgap.state, within=())
        serving.send_signal(signal.SIGKILL)
        serving.communicate()
        assert (at_work.faults, "stn is at work" in at_work.line("state", "killed serves")["detail"]) == ([], True)
        seen = diagnosed(stopgap.state, within=())
        assert (seen.code, seen.faults) == (1, [("state", "killed serves")])
        line = seen.line("state", "killed serves")
        assert "stn" in line["detail"]
        assert line["remedy"] == "stopgap stop stn"
        assert stopgap.run(*shlex.split(line["remedy"])[1:]).returncode == 0
        assert diagnosed(stopgap.state, within=()).faults == []


def test_a_sandbox_that_has_lost_what_keeps_it(tmp_path: Path) -> None:
    with program_in(tmp_path, "bubblewrap") as stopgap:
        stopgap.serve(MODEL, "stn")
        behind = stopgap.backstage
        assert isinstance(behind, BubblewrapBackstage)
        (monitor,) = [pid for pid, folder in behind.monitors().items() if folder.name == sandbox_container("stn")]
        os.kill(monitor, signal.SIGKILL)
        until(lambda: monitor not in behind.monitors(), TIMEOUT_S)
        seen = diagnosed(stopgap.state, within=())
        assert (seen.code, seen.faults) == (1, [("state", "stn")])
        line = seen.line("state", "stn")
        assert line["detail"].startswith("lost")
        assert line["remedy"] == "stopgap resume stn"


def test_a_state_file_that_is_damaged(state: Path) -> None:
    file = state / "deployments" / "stn.json"
    file.parent.mkdir(parents=True)
    state.chmod(0o700)
    file.write_text("{", encoding="utf-8")
    seen = diagnosed(state)
    assert (seen.code, seen.faults) == (1, [("state", "files")])
    line = seen.line("state", "files")
    assert f"{file} is damaged" in line["detail"]
    assert f"rm {file}; stopgap stop stn" in line["remedy"]


def test_a_record_of_a_sunset_that_is_damaged(state: Path) -> None:
    file = state / "sunsets" / f"{'a' * 64}.json"
    file.parent.mkdir(parents=True)
    state.chmod(0o700)
    file.write_text("{", encoding="utf-8")
    seen = diagnosed(state)
    assert (seen.code, seen.faults) == (1, [("state", "files")])
    assert f"{file}, is damaged" in seen.line("state", "files")["detail"]


@pytest.mark.parametrize("engine", ENGINES)
def test_a_clock_past_the_sunset_and_one_that_is_behind(tmp_path: Path, engine: str) -> None:
    """The clock is everybody's; so the dates are moved instead, of a model that is being served."""
    with program_in(tmp_path, engine) as stopgap:
        stopgap.serve(MODEL, "stn")
        store = Store(stopgap.state)
        served = store.deployment("stn")

        store.put_sunset(replace(served.sunset, until=utc_today() - timedelta(days=3)))
        seen = diagnosed(stopgap.state, within=())
        assert (seen.code, seen.faults) == (1, [("clock", "sunsets")])
        line = seen.line("clock", "sunsets")
        assert "OVERDUE by 3 days" in line["detail"]
        assert line["remedy"] == "stopgap stop stn   # or: stopgap extend stn --until DATE --reason TEXT"

        store.put_sunset(served.sunset)
        store.put(replace(served, created=datetime.now(timezone.utc) + timedelta(days=400)))
        seen = diagnosed(stopgap.state, within=())
        assert (seen.code, seen.faults) == (1, [("clock", "time")])
        assert "sudo timedatectl set-ntp true" in seen.line("clock", "time")["remedy"]
