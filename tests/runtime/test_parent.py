"""The parent and its workers as real processes, without a container: deaths, deadlines, drains, refusals."""

from __future__ import annotations

import ctypes
import json
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from stopgap_protos.serving_pb2 import GetModelStatusRequest, PredictRequest
from stopgap_protos.tensor_pb2 import DataType
from stopgap_runtime.worker_process import described_failure

from tests.graphs import NEVER_ENDS, counting_loop, custom_op, file_reader, matrix_square
from tests.hostile import HOSTILE
from tests.worker_socket import Answer, Socket

ROOT = Path(__file__).parents[2]
ZOO = ROOT / "tests" / "data" / "zoo"
INVALID_ARGUMENT, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED = 3, 4, 8
OVERDUE_GRACE_S, TICK_S = 0.25, 0.05
INLINE_PATIENCE_S = 1.0  # a run in the caller's thread gets so long, whatever its caller's deadline


class Runtime:
    """A running `stopgap_runtime serve`."""

    def __init__(self, process: subprocess.Popen[str], sockets: Path, log: Path) -> None:
        self.process = process
        self.sockets = sockets
        self.log = log

    def worker(self, index: int = 0) -> Socket:
        return Socket(self.sockets / f"worker-{index}.sock")

    def worker_pids(self) -> list[int]:
        return children_of(self.process.pid)

    def said(self) -> str:
        return self.log.read_text()


@contextmanager
def runtime(bundle: Path, model: Path, folder: Path, *options: str, name: str = "loop") -> Iterator[Runtime]:
    """Starts a runtime on `model` and waits until it is ready, or has ended."""
    with started(bundle, model, folder, *options, name=name) as served:
        wait_for(lambda: (served.sockets / "ready.json").exists() or served.process.poll() is not None, 60)
        yield served


@contextmanager
def started(bundle: Path, model: Path, folder: Path, *options: str, name: str = "loop") -> Iterator[Runtime]:
    """Starts a runtime on `model`."""
    sockets = folder / "sockets"
    sockets.mkdir()
    log = folder / "log"
    command = [sys.executable, "-I", str(ROOT / "images" / "runtime"), "serve", "--name", name, "--model-version", "1"]
    command += ["--bundle", str(bundle), "--model", str(model), "--sockets", str(sockets), *options]
    with log.open("w") as stream:
        process = subprocess.Popen(command, stderr=stream, text=True)
    try:
        yield Runtime(process, sockets, log)
    finally:
        process.kill()
        process.wait()


def children_of(parent: int) -> list[int]:
    """The processes that `parent` has forked and that have not ended."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it ended meanwhile
            state, ppid = entry.read_text().rpartition(")")[2].split()[:2]
            if int(ppid) == parent and state != "Z":
                found.append(int(entry.parent.name))
    return found


def processor_s(pid: int) -> float:
    """How much of a processor's time a process has used so far."""
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def wait_for(condition: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.01)


@pytest.fixture
def quick(tmp_path: Path) -> Path:
    """A loop whose warm-up is short: its runs go to the caller's thread."""
    return counting_loop(tmp_path / "quick")


@pytest.fixture
def slow(tmp_path: Path) -> Path:
    """A loop whose warm-up is not short: its runs stay in TensorFlow's pool."""
    return counting_loop(tmp_path / "slow", at_least=100_000)


def test_a_worker_that_shows_no_sign_of_life_is_replaced(legacy_bundle: Path, quick: Path, tmp_path: Path) -> None:
    """Its main thread hangs, the others do not: no run is overdue, and nobody is accepted any more."""
    with runtime(legacy_bundle, quick, tmp_path, "--silence-timeout", "4") as served:
        time.sleep(6)
        (worker,) = served.worker_pids()
        hold(worker)
        wait_for(lambda: os.waitpid(worker, os.WNOHANG) != (0, 0), 20)  # whoever holds it is told first that it ended
        wait_for(lambda: worker not in served.worker_pids() and served.worker().healthy(), 20)
        assert "worker 0 ended: it had shown no sign of life for " in served.said()
        assert served.worker().count_to(5) == 5


def hold(thread: int) -> None:
    """Stops one thread of another process, as a debugger does."""
    libc = ctypes.CDLL(None, use_errno=True)
    seize, interrupt = 0x4206, 0x4207
    for request in (seize, interrupt):
        assert libc.ptrace(request, thread, None, None) == 0, os.strerror(ctypes.get_errno())
    os.waitpid(thread, 0)


def test_where_nothing_is_left_to_make_a_worker_from_it_is_made_later(
    legacy_bundle: Path, quick: Path, tmp_path: Path
) -> None:
    """No descriptors, first none at all, then too few: what was made of it before that became clear is given back."""
    with runtime(legacy_bundle, quick, tmp_path) as served:
        before = descriptors_of(served.process.pid)
        usual = limit_descriptors(served.process.pid, 3)
        os.kill(served.worker_pids()[0], signal.SIGKILL)
        refused = "[parent] no process for worker 0: [Errno 24] Too many open files"
        wait_for(lambda: refused in served.said(), 10)
        left = descriptors_of(served.process.pid)
        two_pipes_and_a_page = sorted(set(range(4096)) - left)[5]
        limit_descriptors(served.process.pid, two_pipes_and_a_page)
        seen = served.said().count(refused)
        wait_for(lambda: served.said().count(refused) > seen + 1, 10)
        assert descriptors_of(served.process.pid) == left
        limit_descriptors(served.process.pid, usual)
        wait_for(served.worker().healthy, 20)
        assert served.worker().count_to(5) == 5
        wait_for(lambda: len(descriptors_of(served.process.pid)) == len(before), 5)


def test_who_asks_the_parent_when_no_descriptor_is_left_is_told_later(
    legacy_bundle: Path, quick: Path, tmp_path: Path
) -> None:
    with runtime(legacy_bundle, quick, tmp_path) as served, socket.socket(socket.AF_UNIX) as stream:
        usual = limit_descriptors(served.process.pid, 3)
        stream.connect(str(served.sockets / "control.sock"))
        stream.sendall(b"s")
        time.sleep(0.3)
        used_s = processor_s(served.process.pid)
        time.sleep(1)
        assert processor_s(served.process.pid) - used_s < 0.3, "it does not ask again and again"
        limit_descriptors(served.process.pid, usual)
        stream.settimeout(10)
        assert json.loads(stream.recv(1 << 16))["workers"] == 1


def test_a_worker_sees_the_pages_that_are_for_it_and_not_its_siblings(
    legacy_bundle: Path, quick: Path, tmp_path: Path
) -> None:
    with runtime(legacy_bundle, quick, tmp_path, "--workers", "2", "--keep-requests") as served:
        assert Socket(served.sockets / "lane.sock").count_to(5) == 5
        pages = {pid: Path(f"/proc/{pid}/maps").read_text().count("/memfd:stopgap") for pid in served.worker_pids()}
        names = {pid: Path(f"/proc/{pid}/comm").read_text().strip() for pid in pages}
        own_and_quarantine, and_the_request_that_it_keeps = 2, 3
        assert {names[pid]: count for pid, count in pages.items()} == {
            "worker 0": own_and_quarantine,
            "worker 1": own_and_quarantine,
            "worker lane": and_the_request_that_it_keeps,
        }


def limit_descriptors(pid: int, wanted: int) -> int:
    """Lets a process have only those with numbers below `wanted`; gives what the limit was."""
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (wanted, hard))
    return soft


def descriptors_of(pid: int) -> set[int]:
    return {int(entry.name) for entry in Path(f"/proc/{pid}/fd").iterdir()}


def test_a_worker_that_was_killed_is_replaced_and_waiting_callers_are_answered(
    legacy_bundle: Path, quick: Path, tmp_path: Path
) -> None:
    with runtime(legacy_bundle, quick, tmp_path) as served:
        (pid,) = served.worker_pids()
        os.kill(pid, signal.SIGKILL)
        began = time.monotonic()
        wait_for(lambda: pid not in served.worker_pids(), 5)
        assert served.worker().count_to(3) == 3  # it waited in the socket's queue
        assert time.monotonic() - began < 5
        assert served.worker_pids() not in ([], [pid])
        assert "worker 0 ended: SIGKILL" in served.said()


def test_a_warm_up_that_is_stuck_in_one_operation_costs_no_more_than_itself(
    legacy_bundle: Path, tmp_path: Path
) -> None:
    """TensorFlow tries again and again to reach what no worker can, in one kernel, which nothing interrupts."""
    model = file_reader(tmp_path / "reader", "s3://bucket/object")
    began = time.monotonic()
    with runtime(legacy_bundle, model, tmp_path, "--load-timeout", "100") as served:
        assert served.worker().healthy()
        assert time.monotonic() - began < 30
        assert "ended in its warm-up: it was not over after 11 s; the next one goes without" in served.said()


def test_no_run_of_a_warm_up_takes_longer_than_a_callers_may(legacy_bundle: Path, tmp_path: Path) -> None:
    """Else a model that never answers would take all of the warm-up's time."""
    began = time.monotonic()
    with runtime(legacy_bundle, HOSTILE / "hang_while" / "1", tmp_path, "--run-timeout", "1") as served:
        assert served.worker().healthy()
        assert time.monotonic() - began < 8
        assert "ended in its warm-up" not in served.said()


@pytest.mark.parametrize("deaths", [8])
def test_a_worker_that_dies_again_and_again_is_replaced_every_time(
    legacy_bundle: Path, quick: Path, tmp_path: Path, deaths: int
) -> None:
    with runtime(legacy_bundle, quick, tmp_path) as served:
        for _ in range(deaths):
            wait_for(served.worker().healthy, 10)
            for pid in served.worker_pids():
                os.kill(pid, signal.SIGKILL)
        wait_for(served.worker().healthy, 10)
        assert served.worker().count_to(1) == 1
        assert served.said().count("worker 0 ended: SIGKILL") == deaths


def test_a_run_that_never_ends_in_the_pool_is_ended_by_tensorflow_and_the_worker_lives(
    legacy_bundle: Path, slow: Path, tmp_path: Path
) -> None:
    with runtime(legacy_bundle, slow, tmp_path) as served:
        pids = served.worker_pids()
        began = time.monotonic()
        answer = served.worker().count_to(NEVER_ENDS, grpc_timeout="500m")
        assert isinstance(answer, Answer)
        assert answer.code == DEADLINE_EXCEEDED
        assert 0.5 <= time.monotonic() - began < 0.5 + OVERDUE_GRACE_S
        assert served.worker_pids() == pids
        assert served.worker().count_to(7) == 100_007


def test_a_run_that_never_ends_in_the_callers_thread_has_its_worker_replaced(
    legacy_bundle: Path, quick: Path, tmp_path: Path
) -> None:
    with runtime(legacy_bundle, quick, tmp_path) as served:
        pids = served.worker_pids()
        began = time.monotonic()
        with pytest.raises(ConnectionResetError):
            served.worker().count_to(NEVER_ENDS, grpc_timeout="500m")
        assert time.monotonic() - began < INLINE_PATIENCE_S + OVERDUE_GRACE_S + 10 * TICK_S
        assert served.worker().count_to(7) == 7
        assert served.worker_pids() != pids
        assert "over its deadline" in served.said()


def test_an_impatient_caller_does_not_cost_others_their_runs(legacy_bundle: Path, tmp_path: Path) -> None:
    """TensorFlow cannot leave a kernel half-way: the impatient caller is gone by then, the worker must not be."""
    with runtime(legacy_bundle, matrix_square(tmp_path / "square"), tmp_path, "--threads", "2") as served:
        pids = served.worker_pids()
        size = 3000
        request = square_request(size)
        answers: list[Answer] = []
        patient = threading.Thread(target=lambda: answers.append(served.worker().predict(request, timeout_s=60)))
        patient.start()
        for _ in range(3):
            answer = served.worker().predict(request, grpc_timeout="50m", timeout_s=60)
            assert answer.code in (0, DEADLINE_EXCEEDED)
        patient.join()
        assert [answer.code for answer in answers] == [0]
        assert served.worker_pids() == pids


@pytest.mark.parametrize(
    ("dtype", "shape", "code"),
    [
        (DataType.DT_STRING, (2**31 - 1,), INVALID_ARGUMENT),
        (DataType.DT_INT64, (40_000, 40_000), INVALID_ARGUMENT),
        (DataType.DT_FLOAT, (40_000, 40_000), RESOURCE_EXHAUSTED),
    ],
    ids=["another dtype and rank", "another dtype", "too large"],
)
def test_a_few_bytes_that_describe_gigabytes_are_refused_before_they_unfold(
    legacy_bundle: Path, tmp_path: Path, dtype: DataType, shape: tuple[int, ...], code: int
) -> None:
    with runtime(legacy_bundle, matrix_square(tmp_path / "square"), tmp_path) as served:
        pids = served.worker_pids()
        request = square_request(1)
        request.inputs["x"].Clear()
        request.inputs["x"].dtype = dtype
        for size in shape:
            request.inputs["x"].tensor_shape.dim.add(size=size)
        began = time.monotonic()
        assert served.worker().predict(request).code == code
        assert time.monotonic() - began < 2
        assert served.worker_pids() == pids


def square_request(size: int) -> PredictRequest:
    """A request to a `matrix_square`: a matrix of ones, written as one value, as TensorFlow's rule allows."""
    request = PredictRequest()
    request.model_spec.name = "loop"
    tensor = request.inputs["x"]
    tensor.dtype = DataType.DT_FLOAT
    for _ in range(2):
        tensor.tensor_shape.dim.add(size=size)
    tensor.float_val.append(1)
    return request


@pytest.mark.parametrize("after_s", [0.05, 0.15, 0.25, 0.35, 0.45, 0.6])
def test_sigterm_is_heard_at_any_time(legacy_bundle: Path, slow: Path, tmp_path: Path, after_s: float) -> None:
    """While it imports, while it loads TensorFlow, while the worker loads the model, while it warms up."""
    with started(legacy_bundle, slow, tmp_path) as served:
        time.sleep(after_s)
        served.process.send_signal(signal.SIGTERM)
        assert served.process.wait(timeout=5) in (0, -signal.SIGTERM)  # the latter before Python is up
        assert not (served.sockets / "ready.json").exists()


def test_a_model_without_its_weights_is_not_served(legacy_bundle: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(ZOO / "stn_affine_resampler" / "1", model)
    (model / "variables" / "variables.index").unlink()
    with runtime(legacy_bundle, model, tmp_path) as served:
        assert served.process.wait(timeout=10) == 3
        assert "variables.index is missing" in served.said().splitlines()[-1]


@pytest.mark.parametrize("report", ["² boom", "", "99 x", "-1 x", "3", "\x00 x"])
def test_whatever_a_worker_reports_of_its_failure_is_only_text(report: str) -> None:
    name, _, _ = described_failure(report).partition(": ")
    assert name in {"UNKNOWN", "INVALID_ARGUMENT"}


def test_a_caller_without_a_deadline_is_held_to_the_run_timeout(
    legacy_bundle: Path, slow: Path, tmp_path: Path
) -> None:
    with runtime(legacy_bundle, slow, tmp_path, "--run-timeout", "1") as served:
        answer = served.worker().count_to(NEVER_ENDS)
        assert isinstance(answer, Answer)
        assert answer.code == DEADLINE_EXCEEDED


@pytest.mark.parametrize("model", ["quick", "slow"], ids=["caller's thread", "pool"])
def test_a_legal_run_of_seconds_leaves_the_health_check_and_other_callers_alone(
    legacy_bundle: Path, tmp_path: Path, request: pytest.FixtureRequest, model: str
) -> None:
    with runtime(legacy_bundle, request.getfixturevalue(model), tmp_path, "--threads", "2") as served:
        pids = served.worker_pids()
        answers: list[int | Answer] = []
        long_run = threading.Thread(target=lambda: answers.append(served.worker().count_to(600_000, timeout_s=60)))
        long_run.start()
        checks = 0
        while long_run.is_alive():
            assert served.worker().healthy(timeout_s=1.0)
            assert isinstance(served.worker().count_to(1, timeout_s=5.0), int)
            checks += 1
        long_run.join()
        assert checks > 3
        assert len(answers) == 1
        assert isinstance(answers[0], int)
        assert served.worker_pids() == pids


def test_sigterm_lets_the_run_under_way_finish_and_takes_no_more(
    legacy_bundle: Path, slow: Path, tmp_path: Path
) -> None:
    with runtime(legacy_bundle, slow, tmp_path) as served:
        answers: list[int | Answer] = []
        caller = threading.Thread(target=lambda: answers.append(served.worker().count_to(400_000, timeout_s=60)))
        caller.start()
        time.sleep(0.3)
        served.process.send_signal(signal.SIGTERM)
        caller.join()
        assert answers == [500_000]
        assert served.process.wait(timeout=5) == 0
        assert list(served.sockets.iterdir()) == []


def test_sigterm_does_not_wait_for_ever(legacy_bundle: Path, slow: Path, tmp_path: Path) -> None:
    with runtime(legacy_bundle, slow, tmp_path, "--drain-timeout", "0.5") as served:
        lost: list[OSError] = []

        def call() -> None:
            try:
                served.worker().count_to(NEVER_ENDS)
            except OSError as error:
                lost.append(error)

        caller = threading.Thread(target=call)
        caller.start()
        time.sleep(0.2)
        served.process.send_signal(signal.SIGTERM)
        assert served.process.wait(timeout=5) == 0
        caller.join()
        assert len(lost) == 1


def test_a_stateless_model_gets_the_workers_that_were_asked_for(
    legacy_bundle: Path, quick: Path, tmp_path: Path
) -> None:
    with runtime(legacy_bundle, quick, tmp_path, "--workers", "2") as served:
        ready = json.loads((served.sockets / "ready.json").read_text())
        assert ready == {"workers": 2, "changes_state": False, "tensorflow": "1.15.5"}
        assert len(served.worker_pids()) == 2
        assert served.worker(0).count_to(1) == served.worker(1).count_to(1) == 1


def test_a_model_that_changes_state_has_one_worker_whatever_was_asked_for(legacy_bundle: Path, tmp_path: Path) -> None:
    model = ZOO / "obtain_next_roundrobin_stateful" / "1"
    with runtime(legacy_bundle, model, tmp_path, "--workers", "3", name="stateful") as served:
        ready = json.loads((served.sockets / "ready.json").read_text())
        assert (ready["workers"], ready["changes_state"]) == (1, True)
        assert len(served.worker_pids()) == 1


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, "saved_model"),
        (b"", "not a SavedModel"),
        (b"not a protobuf at all", "not a SavedModel"),
    ],
    ids=["nothing there", "empty", "garbage"],
)
def test_what_is_no_model_is_one_clear_line_and_exit_code_3(
    legacy_bundle: Path, tmp_path: Path, content: bytes | None, text: str
) -> None:
    model = tmp_path / "model"
    model.mkdir()
    if content is not None:
        (model / "saved_model.pb").write_bytes(content)
    with runtime(legacy_bundle, model, tmp_path) as served:
        assert served.process.wait(timeout=10) == 3
        last = served.said().splitlines()[-1]
        assert re.match(r"\[parent\] load failed: [A-Z_]+: ", last)
        assert text in last
        assert list(served.sockets.iterdir()) == []


def test_an_unknown_tag_is_answered_with_those_that_there_are(legacy_bundle: Path, quick: Path, tmp_path: Path) -> None:
    with runtime(legacy_bundle, quick, tmp_path, "--tags", "serve,gpu") as served:
        assert served.process.wait(timeout=10) == 3
        assert "serve" in served.said().splitlines()[-1]


def test_an_unknown_op_is_named_with_what_to_do(legacy_bundle: Path, tmp_path: Path) -> None:
    with runtime(legacy_bundle, custom_op(tmp_path / "model", "StopgapTestDouble"), tmp_path) as served:
        assert served.process.wait(timeout=10) == 3
        last = served.said().splitlines()[-1]
        assert "StopgapTestDouble" in last
        assert "--op-library" in last


def test_a_custom_op_works_with_its_library(legacy_bundle: Path, tmp_path: Path, double_op_library: Path) -> None:
    model = custom_op(tmp_path / "model", "StopgapTestDouble")
    with runtime(legacy_bundle, model, tmp_path, "--op-library", str(double_op_library)) as served:
        request = PredictRequest()
        request.model_spec.name = "loop"
        request.inputs["x"].dtype = DataType.DT_INT64
        request.inputs["x"].tensor_shape.SetInParent()
        request.inputs["x"].int64_val.append(21)
        answer = served.worker().predict(request)
        assert (answer.code, answer.text) == (0, "")
        assert b"\x2a" in answer.message  # 42


@pytest.fixture(scope="session")
def double_op_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A custom op compiled against nothing but TensorFlow's C API.

    It names TensorFlow's library as one that it needs, as a real one does; an empty library of that name is enough to
    link with, since the loader takes the one that is there already.
    """
    folder = tmp_path_factory.mktemp("op")
    stand_in, library = folder / "stand_in.so", folder / "double.so"
    compiler = shutil.which("gcc")
    assert compiler, "gcc is needed to build a custom op: apt-get install gcc"
    name = "-Wl,-soname,_pywrap_tensorflow_internal.so"
    subprocess.run([compiler, "-shared", name, "-xc", "/dev/null", "-o", str(stand_in)], check=True, timeout=60)
    source = ROOT / "tests" / "data" / "double_op.c"
    build = [compiler, "-shared", "-fPIC", "-Wl,--no-as-needed", str(source), str(stand_in), "-o", str(library)]
    subprocess.run(build, check=True, timeout=60)
    return library


def test_a_load_that_never_ends_is_given_up(legacy_bundle: Path, tmp_path: Path) -> None:
    """By TensorFlow where it can, by the parent where it cannot: a FIFO blocks in the kernel."""
    model = tmp_path / "model"
    shutil.copytree(ZOO / "stn_affine_resampler" / "1", model)
    data = model / "variables" / "variables.data-00000-of-00001"
    data.unlink()
    os.mkfifo(data)
    began = time.monotonic()
    with runtime(legacy_bundle, model, tmp_path, "--load-timeout", "1") as served:
        assert served.process.wait(timeout=10) == 3
        assert time.monotonic() - began < 8
        assert "load failed" in served.said().splitlines()[-1]


def test_the_status_call_names_the_version(legacy_bundle: Path, quick: Path, tmp_path: Path) -> None:
    with runtime(legacy_bundle, quick, tmp_path) as served:
        message = GetModelStatusRequest()
        message.model_spec.name = "loop"
        answer = served.worker().call("/tensorflow.serving.ModelService/GetModelStatus", message.SerializeToString())
        assert answer.code == 0


@pytest.mark.parametrize(("message", "code"), [(b"\xff\xff\xff", 3), (b"", 3)], ids=["garbage", "no model spec"])
def test_a_bad_message_is_the_callers_fault_and_the_worker_goes_on(
    legacy_bundle: Path, quick: Path, tmp_path: Path, message: bytes, code: int
) -> None:
    with runtime(legacy_bundle, quick, tmp_path) as served:
        pids = served.worker_pids()
        assert served.worker().call("/tensorflow.serving.PredictionService/Predict", message).code == code
        assert served.worker_pids() == pids
