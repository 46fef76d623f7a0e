"""Bad input gives one clear error with what to do about it, no traceback, and leaves no container, folder or state."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from platformdirs import user_cache_path
from stopgap.containment.specs import sandbox_container

from tests.backstage import api
from tests.graphs import custom_op
from tests.stopgap_program import TIMEOUT_S, Program, free_port, program_in
from tests.zoo import ZOO

pytestmark = [pytest.mark.docker, pytest.mark.slow]

RESAMPLER = ZOO / "stn_affine_resampler"
SOMEBODY_UID = 12345

# Runs the real program as another user. Everything is imported first: where the interpreter lies, that user may not
# be able to read.
AS_SOMEBODY = """
import encodings.idna, os, sys
import stopgap.cli.main, stopgap.cli.serve, stopgap.cli.stop  # the user may not read the folders of this Python
uid, groups = int(sys.argv.pop(1)), sys.argv.pop(1)
os.setgroups([int(group) for group in groups.split(",") if group])
os.setgid(uid)
os.setuid(uid)
stopgap.cli.main.main()
"""


@pytest.fixture
def stopgap(tmp_path: Path) -> Iterator[Program]:
    with program_in(tmp_path) as program:
        yield program
        # Whatever a test of this file tried, it failed, and nothing is there.
        assert program.leftovers() == []


def test_no_such_path(stopgap: Program) -> None:
    assert "error: /no/such/model does not exist." in stopgap.refused("serve", "/no/such/model", "--name", "a")


def test_not_a_saved_model(stopgap: Program, tmp_path: Path) -> None:
    said = stopgap.refused("serve", str(tmp_path), "--name", "a")
    assert "is not a SavedModel: it holds neither saved_model.pb nor saved_model.pbtxt" in said


def test_a_file_that_the_sandbox_cannot_read_is_named_with_its_chmod(stopgap: Program, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(RESAMPLER / "1", model)
    (model / "variables" / "variables.index").chmod(0o600)
    said = stopgap.refused("serve", str(model), "--name", "a")
    assert f"cannot read the file {model}/variables/variables.index." in said
    assert f"chmod -R o+rX {model}" in said


def test_what_only_looks_like_a_model(stopgap: Program, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "saved_model.pb").write_bytes(b"\xff\xfe no protocol buffer")
    said = stopgap.refused("serve", str(tmp_path / "model"), "--name", "a", "--port", str(stopgap.port))
    assert "error: The model cannot be loaded:" in said


def test_no_such_tag(stopgap: Program) -> None:
    said = stopgap.refused("serve", str(RESAMPLER), "--name", "a", "--port", str(stopgap.port), "--tags", "gpu")
    assert "no graph tagged gpu; it has: serve" in said


def test_an_unknown_op_is_named_with_what_to_do(stopgap: Program, tmp_path: Path) -> None:
    model = custom_op(tmp_path / "model", "HomeMadeOp")
    said = stopgap.refused("serve", str(model), "--name", "a", "--port", str(stopgap.port))
    assert "HomeMadeOp" in said
    assert "--op-library FILE" in said


def test_an_op_library_that_is_none(stopgap: Program, tmp_path: Path) -> None:
    said = stopgap.refused("serve", str(RESAMPLER), "--name", "a", "--op-library", str(tmp_path / "missing.so"))
    assert "missing.so is not a file." in said
    text = tmp_path / "text.so"
    text.write_text("not a library", encoding="utf-8")
    said = stopgap.refused("serve", str(RESAMPLER), "--name", "a", "--op-library", str(text))
    assert f"error: The op library {text} is not a shared library" in said


def test_too_little_memory_is_told_with_the_flag_that_helps(stopgap: Program) -> None:
    said = stopgap.refused("serve", str(RESAMPLER), "--name", "a", "--memory", "16")
    assert "16 MiB of memory is too little for TensorFlow." in said


def test_more_than_the_machine_has(stopgap: Program) -> None:
    assert "Ask for at most --cpus" in stopgap.refused("serve", str(RESAMPLER), "--name", "a", "--cpus", "1000")
    said = stopgap.refused("serve", str(RESAMPLER), "--name", "a", "--memory", "999999999")
    assert "Ask for at most --memory" in said


def test_a_port_of_a_strangers_is_told_with_its_owner(stopgap: Program) -> None:
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        port = stranger.getsockname()[1]
        said = stopgap.refused("serve", str(RESAMPLER), "--name", "a", "--port", str(port))
    assert f"error: Port {port} is taken by " in said
    assert f"(process {os.getpid()})" in said
    assert "--port PORT" in said


def test_a_name_that_is_taken(stopgap: Program) -> None:
    stopgap.serve(RESAMPLER, "taken")
    said = stopgap.refused("serve", str(RESAMPLER), "--name", "taken", "--port", str(free_port()))
    assert "The name taken is taken" in said
    assert "stopgap stop taken" in said
    assert stopgap.answers("taken")
    assert stopgap.run("stop", "taken").returncode == 0


def test_a_container_of_a_strangers_is_not_touched(stopgap: Program) -> None:
    stopgap.serve(RESAMPLER, "first")
    image = api().inspect_container(sandbox_container("first"))["Image"]
    assert stopgap.run("stop", "first").returncode == 0
    container = api().create_container(image, name=sandbox_container("strange"))["Id"]
    try:
        said = stopgap.refused("serve", str(RESAMPLER), "--name", "strange", "--port", str(stopgap.port))
        assert "there is a container stopgap-strange that this state folder does not know" in said
        assert api().inspect_container(sandbox_container("strange"))["Id"] == container
    finally:
        api().remove_container(container, force=True)


def test_a_front_of_ours_at_another_address_is_not_joined(stopgap: Program) -> None:
    stopgap.serve(RESAMPLER, "first")
    said = stopgap.refused(
        "serve", str(RESAMPLER), "--name", "second", "--port", str(stopgap.port), "--bind", "127.0.0.2"
    )
    assert f"The front at port {stopgap.port} listens on 127.0.0.1, not on 127.0.0.2." in said
    assert stopgap.run("stop", "first").returncode == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--name", "Bad Name"), "'Bad Name' cannot be a name"),
        (("--name", "a", "--tags", "se rve"), "'se rve' cannot be a tag"),
        (("--name", "a", "--until", "tomorrow"), "'tomorrow' is not a date"),
        (("--name", "a", "--until", "2020-02-02"), "2020-02-02 has passed"),
    ],
)
def test_a_bad_name_tag_or_date_is_wrong_usage(stopgap: Program, options: tuple[str, ...], said: str) -> None:
    assert said in stopgap.refused("serve", str(RESAMPLER), *options, code=2)


def test_no_such_bundle(stopgap: Program) -> None:
    said = stopgap.refused("serve", str(RESAMPLER), "--name", "a", "--bundle", "tf-0.1")
    assert "There is no bundle named 'tf-0.1'" in said


def test_an_engine_that_is_down(stopgap: Program, tmp_path: Path) -> None:
    dead = f"unix://{tmp_path}/docker.sock"
    said = stopgap.refused("serve", str(RESAMPLER), "--name", "a", "--engine", "docker", DOCKER_HOST=dead)
    assert f"No Docker engine answers at {dead}." in said
    assert "sudo systemctl start docker" in said


def test_an_engine_that_is_down_does_not_lose_what_is_deployed(stopgap: Program, tmp_path: Path) -> None:
    stopgap.serve(RESAMPLER, "stn")
    dead = f"unix://{tmp_path}/docker.sock"
    assert "No Docker engine answers" in stopgap.refused("stop", "stn", DOCKER_HOST=dead)
    seen = json.loads(stopgap.run("status", "stn", "--json", DOCKER_HOST=dead).stdout)
    assert seen["state"] == "unknown"
    assert "No Docker engine answers" in seen["detail"]
    assert stopgap.status("stn")["state"] == "serving"
    assert stopgap.run("stop", "stn").returncode == 0


@pytest.fixture
def somebody() -> Iterator[Program]:
    """A home of another user's. Not in pytest's folders: those are root's alone, and every session sees to that."""
    if os.getuid() != 0:
        pytest.skip("only root can become another user")
    with tempfile.TemporaryDirectory() as folder, program_in(Path(folder)) as program:
        home = Path(folder)
        cached = user_cache_path("stopgap") / "bundles"
        if cached.is_dir():
            shutil.copytree(cached, home / "cache" / "stopgap" / "bundles", copy_function=link_or_copy)
        for path in (home, home / "cache", home / "cache" / "stopgap"):
            if path.exists():
                os.chown(path, SOMEBODY_UID, SOMEBODY_UID)
        yield program
        assert program.leftovers() == []


def test_no_permission_on_the_engines_socket(somebody: Program) -> None:
    done = as_somebody(somebody, "", "serve", str(RESAMPLER), "--name", "a", "--engine", "docker")
    assert done.returncode == 1, done.stderr
    said = " ".join(done.stderr.split())
    assert "No permission to use the Docker engine at unix:///var/run/docker.sock." in said
    assert "sudo usermod -aG docker $USER" in said
    assert "Traceback" not in said


def test_a_plain_member_of_the_engines_group_can_serve(stopgap: Program, somebody: Program) -> None:
    stopgap.serve(RESAMPLER, "first")  # by now the bundle and the images are there
    assert stopgap.run("stop", "first").returncode == 0
    group = str(Path("/var/run/docker.sock").stat().st_gid)
    done = as_somebody(somebody, group, "serve", str(RESAMPLER), "--name", "stn", "--port", str(somebody.port))
    assert done.returncode == 0, done.stderr
    assert somebody.answers("stn")
    done = as_somebody(somebody, group, "stop", "stn")
    assert done.returncode == 0, done.stderr


def as_somebody(program: Program, groups: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs stopgap as a user who is in these groups alone."""
    home = program.state.parent
    return subprocess.run(
        [sys.executable, "-c", AS_SOMEBODY, str(SOMEBODY_UID), groups, *arguments],
        env={**program.environment(), "HOME": str(home), "XDG_CACHE_HOME": str(home / "cache")},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


def link_or_copy(source: str, target: str) -> None:
    """The libraries take 270 MB; where they are on the same disk, no copy is needed."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def test_a_full_disk_under_the_state_folder(tmp_path: Path) -> None:
    """A small tmpfs is a disk that can be filled without harm."""
    if os.getuid() != 0:
        pytest.skip("only root can mount a tmpfs")
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=755", "tmpfs", str(disk)], check=True)
    try:
        with program_in(disk) as stopgap:
            (disk / "ballast").write_bytes(b"x" * 40_000)
            said = stopgap.refused("serve", str(RESAMPLER), "--name", "a", "--port", str(stopgap.port))
            assert "error:" in said
            assert "No space left on device" in said
            (disk / "ballast").unlink()
            assert stopgap.leftovers() == []
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)
