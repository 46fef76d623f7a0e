"""A Podman service of the tests' own, which is what Docker's API leads to while these tests run."""

from __future__ import annotations

import os
import pwd
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.bubblewrap.unprivileged import end_all_of

TIMEOUT_S = 30


@pytest.fixture(scope="module")
def podman() -> Iterator[Path]:
    """The socket of root's Podman; images stay in its storage, as with Docker."""
    with tempfile.TemporaryDirectory(prefix="podman-") as folder, pytest.MonkeyPatch.context() as patch:
        socket = Path(folder) / "podman.sock"
        patch.setenv("DOCKER_HOST", f"unix://{socket}")
        with service(socket, cwd=folder):  # where it leaves a file of its own when memory runs out
            yield socket


@pytest.fixture
def podman_without_root() -> Iterator[Path]:
    """The socket of a Podman that a new user runs; the user is gone afterwards, with all that it started."""
    name = f"stopgap-podman-{os.getpid()}"
    subprocess.run(["useradd", "--create-home", "--user-group", "--shell", "/usr/sbin/nologin", name], check=True)
    account = pwd.getpwnam(name)
    home = Path(account.pw_dir)
    runtime = home / "run"  # what a login would make at /run/user
    try:
        runtime.mkdir(mode=0o700)
        os.chown(runtime, account.pw_uid, account.pw_gid)
        environment = {"HOME": str(home), "XDG_RUNTIME_DIR": str(runtime), "PATH": os.environ["PATH"]}
        with service(runtime / "podman.sock", user=name, group=name, cwd=home, env=environment):
            yield runtime / "podman.sock"
    finally:
        end_all_of(account.pw_uid)
        subprocess.run(["userdel", "--remove", name], check=True, capture_output=True)


@contextmanager
def service(socket: Path, **as_whom: Any) -> Iterator[None]:
    """`podman system service` on that socket.

    Args:
        socket: Where it is to listen.
        as_whom: Who runs it: further arguments of `Popen`.
    """
    command = ["podman", "system", "service", "--time=0", f"unix://{socket}"]
    with tempfile.TemporaryFile("w+") as said:  # no pipe: what it starts may outlive it, and would keep that open
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=said, **as_whom)
        try:
            deadline = time.monotonic() + TIMEOUT_S
            while not socket.exists():
                if process.poll() is not None or time.monotonic() > deadline:
                    said.seek(0)
                    pytest.fail(f"Podman's service did not come up: {said.read()}")
                time.sleep(0.05)
            yield
        finally:
            process.terminate()
            process.wait(timeout=TIMEOUT_S)
