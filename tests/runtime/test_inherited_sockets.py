"""A runtime whose listening sockets are handed in, as a monitor does it: they outlive it, and nothing else gets in."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.graphs import counting_loop
from tests.runtime.test_parent import ROOT, ZOO, Runtime, wait_for
from tests.worker_socket import Answer, Socket

ANNOUNCED_WITHIN_S = 60
PASSED_LIMIT = 256  # of open files: what is inherited above it, no loop up to the limit would find
BEYOND_LIMIT = 300


class Handed:
    """Listening sockets and the pipe of an announcement, kept here while runtimes come and go.

    Attributes:
        sockets: The workers'; the retry lane's, observers' and the parent's own are handed in behind them.
    """

    def __init__(self, folder: Path, count: int) -> None:
        self.paths = [folder / f"worker-{index}.sock" for index in range(count)]
        self.sockets = [bound(path) for path in self.paths]
        self.others = [bound(folder / f"{name}.sock") for name in ("lane", "aside", "control")]
        self.reader, self.writer = os.pipe()

    @property
    def descriptors(self) -> tuple[int, ...]:
        return tuple(each.fileno() for each in (*self.sockets, *self.others))

    def options(self) -> list[str]:
        return [f"--listen-fds={','.join(map(str, self.descriptors))}", f"--ready-fd={self.writer}"]

    def announced(self) -> bytes:
        """Everything that comes through the pipe until its end; the writing end must be closed here."""
        said = b""
        while select.select([self.reader], [], [], ANNOUNCED_WITHIN_S)[0]:
            piece = os.read(self.reader, 4096)
            if not piece:
                return said
            said += piece
        pytest.fail(f"no end within {ANNOUNCED_WITHIN_S} s, so far: {said!r}")

    def close(self) -> None:
        for each in (*self.sockets, *self.others):
            each.close()
        os.close(self.reader)


def bound(path: Path) -> socket.socket:
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listening.bind(str(path))
    listening.listen(1024)
    return listening


@pytest.fixture
def handed(tmp_path: Path) -> Iterator[Handed]:
    with ExitStack() as stack:
        two = Handed(tmp_path, 2)
        stack.callback(two.close)
        yield two


@pytest.fixture
def quick(tmp_path: Path) -> Path:
    return counting_loop(tmp_path / "quick")


@contextmanager
def started(
    bundle: Path, model: Path, handed: Handed, *options: str, also: Sequence[int] = (), limit: int | None = None
) -> Iterator[Runtime]:
    """A runtime with what was handed in, and with the descriptors of `also`, of which it is not told."""
    command = [sys.executable, "-I", str(ROOT / "images" / "runtime"), "serve", "--name=loop", "--model-version=1"]
    command += [f"--bundle={bundle}", f"--model={model}", "--sockets=/nowhere", *handed.options(), *options]
    if limit is not None:
        command = ["prlimit", f"--nofile={limit}:{limit}", *command]
    folder = handed.paths[0].parent
    log = folder / "log"
    with log.open("a") as stream, Path(__file__).open() as stdin:
        process = subprocess.Popen(
            command,
            stdin=stdin,
            stderr=stream,
            text=True,
            pass_fds=(*handed.descriptors, handed.writer, *also),
        )
    os.close(handed.writer)
    try:
        yield Runtime(process, folder, log)
    finally:
        process.kill()
        process.wait()


def test_both_workers_answer_on_the_sockets_that_were_handed_in(
    legacy_bundle: Path, quick: Path, handed: Handed
) -> None:
    with started(legacy_bundle, quick, handed, "--workers=2") as served:
        assert json.loads(handed.announced()) == {"workers": 2, "changes_state": False, "tensorflow": "1.15.5"}
        assert [Socket(path).count_to(3) for path in handed.paths] == [3, 3]
        assert len(served.worker_pids()) == 2


def test_the_announcement_is_closed_while_the_runtime_goes_on(legacy_bundle: Path, quick: Path, handed: Handed) -> None:
    with started(legacy_bundle, quick, handed) as served:
        assert len(handed.announced()) < select.PIPE_BUF  # it ends: nobody holds the other end any longer
        assert served.process.poll() is None
        assert served.worker().count_to(1) == 1


def test_a_reader_who_has_left_costs_nobody_an_answer(legacy_bundle: Path, quick: Path, handed: Handed) -> None:
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, handed.reader)  # closes the only reading end
    os.close(null)
    with started(legacy_bundle, quick, handed) as served:
        assert served.worker().count_to(2) == 2  # it waits in the queue until the worker is there
        assert "serving loop" in served.said()


def test_callers_wait_while_a_whole_runtime_is_replaced(legacy_bundle: Path, quick: Path, handed: Handed) -> None:
    with started(legacy_bundle, quick, handed) as served:
        handed.announced()
        assert served.worker().count_to(1) == 1
        (pid,) = served.worker_pids()
    wait_for(lambda: ended(pid), 10)  # or it might still take the caller along
    answers: list[int | Answer] = []
    caller = threading.Thread(target=lambda: answers.append(Socket(handed.paths[0]).count_to(5, timeout_s=60)))
    caller.start()
    handed.reader, handed.writer = os.pipe()
    with started(legacy_bundle, quick, handed):
        caller.join()
    assert answers == [5]


def ended(pid: int) -> bool:
    """Also where nobody has asked for its exit code yet."""
    try:
        return "State:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return True


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["asked", "killed"])
def test_whatever_ends_the_runtime_the_sockets_stay(
    legacy_bundle: Path, quick: Path, handed: Handed, number: signal.Signals
) -> None:
    with started(legacy_bundle, quick, handed) as served:
        handed.announced()
        served.process.send_signal(number)
        assert served.process.wait(timeout=10) in (0, -number)
    assert all(path.is_socket() for path in handed.paths)
    for path in handed.paths:
        with socket.socket(socket.AF_UNIX) as caller:
            caller.connect(str(path))  # into the queue: it would be refused if nobody listened


def test_a_socket_that_was_left_non_blocking_serves_as_well(legacy_bundle: Path, quick: Path, handed: Handed) -> None:
    for each in handed.sockets:
        each.setblocking(False)
    with started(legacy_bundle, quick, handed) as served:
        handed.announced()
        assert served.worker().count_to(4) == 4


def test_a_model_that_cannot_load_announces_nothing(legacy_bundle: Path, tmp_path: Path, handed: Handed) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with started(legacy_bundle, empty, handed) as served:
        assert handed.announced() == b""
        assert served.process.wait(timeout=10) == 3


def test_a_model_that_changes_state_takes_one_of_the_sockets(legacy_bundle: Path, handed: Handed) -> None:
    model = ZOO / "obtain_next_roundrobin_stateful" / "1"
    with started(legacy_bundle, model, handed, "--workers=2") as served:
        assert json.loads(handed.announced())["workers"] == 1
        assert len(served.worker_pids()) == 1


def test_of_all_that_the_runtime_inherits_a_worker_has_its_own_socket_alone(
    legacy_bundle: Path, quick: Path, handed: Handed, tmp_path: Path
) -> None:
    """Not the other worker's, not the announcement's, none that nobody spoke of, however high its number."""
    with ExitStack() as stack:
        secret = stack.enter_context((tmp_path / "secret").open("w"))
        os.dup2(secret.fileno(), BEYOND_LIMIT)
        stack.callback(os.close, BEYOND_LIMIT)
        also = (secret.fileno(), BEYOND_LIMIT)
        served = stack.enter_context(
            started(legacy_bundle, quick, handed, "--workers=2", also=also, limit=PASSED_LIMIT)
        )
        handed.announced()
        parent = descriptors_of(served.process.pid)
        assert {inode(each) for each in handed.sockets} <= set(parent.values())
        assert parent[BEYOND_LIMIT] == str(tmp_path / "secret")
        mine = [
            [inode(each) for each in handed.sockets if inode(each) in descriptors_of(pid).values()]
            for pid in served.worker_pids()
        ]
        assert sorted(mine) == sorted([inode(each)] for each in handed.sockets)
        for pid in served.worker_pids():
            held = descriptors_of(pid)
            assert str(tmp_path / "secret") not in held.values()
            assert held.pop(0) == os.devnull
            assert Counter(re.sub(r"\d+", "N", target) for target in held.values()) == {
                "pipe:[N]": 2,  # what it prints to, twice; that of its report is closed
                "socket:[N]": 1,
                "/memfd:stopgap (deleted)": 2,  # its scoreboard, and the quarantine
            }


def descriptors_of(pid: int) -> dict[int, str]:
    return {int(path.name): str(path.readlink()) for path in Path(f"/proc/{pid}/fd").iterdir()}


def inode(listening: socket.socket) -> str:
    return f"socket:[{os.fstat(listening.fileno()).st_ino}]"


# What cannot have been meant.


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--listen-fds={first}", "--workers=2"], "1 of the 5 listening sockets that are needed"),
        (["--listen-fds={first},{first}"], "names a descriptor twice"),
        (["--listen-fds=77"], "descriptor 77 is not a listening Unix socket"),
        (["--listen-fds={pipe}"], "descriptor {pipe} is not a listening Unix socket"),
        (["--listen-fds={deaf}"], "descriptor {deaf} is not a listening Unix socket"),
        (["--listen-fds={tcp}"], "descriptor {tcp} is not a listening Unix socket"),
        (["--listen-fds=five"], "invalid"),
        (["--ready-fd=77"], "descriptor 77 is not open"),
        (["--ready-fd={pipe}"], "descriptor {pipe} cannot be written to"),
    ],
    ids=["too few", "twice", "closed", "pipe", "not listening", "TCP", "no number", "closed pipe", "reading end"],
)
def test_what_was_not_handed_in_is_a_usage_error(options: list[str], complaint: str, handed: Handed) -> None:
    with socket.socket(socket.AF_UNIX) as deaf, socket.create_server(("127.0.0.1", 0)) as tcp:
        numbers = {
            "first": handed.descriptors[0],
            "pipe": handed.reader,
            "deaf": deaf.fileno(),
            "tcp": tcp.fileno(),
        }
        command = [sys.executable, "-I", str(ROOT / "images" / "runtime"), "serve", "--name=loop", "--model-version=1"]
        done = subprocess.run(
            [*command, *(option.format(**numbers) for option in options)],
            pass_fds=numbers.values(),
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    os.close(handed.writer)
    assert done.returncode == 2
    assert complaint.format(**numbers) in done.stderr.splitlines()[-1]
