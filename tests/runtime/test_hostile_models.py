"""What a hostile model does to its worker: it is refused memory, or ends; what is around it goes on."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest
from stopgap.settings import Limits

from tests.hostile import attack
from tests.runtime.test_parent import Runtime, runtime, wait_for

INVALID_ARGUMENT, DEADLINE_EXCEEDED, PERMISSION_DENIED, RESOURCE_EXHAUSTED = 3, 4, 7, 8
MEMORY = ("--worker-memory-bytes", str(Limits(memory_mib=512).worker_memory_mib << 20))
PATIENCE_S = 10.0  # for a worker that loads in a fraction of a second, on a machine that is busy
# Of requests to a model that keeps 64 MiB of each: more than twice what fits.
REQUESTS = 16
LINES_PER_S, BURST_LINES = 100, 500  # of a worker's that are kept; see `stopgap_runtime.worker_log`


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("oom_fill_touched", RESOURCE_EXHAUSTED),
        ("oom_leak_stage", RESOURCE_EXHAUSTED),
        # TensorFlow sees that there is no memory for the tensor, and says that the request was wrong.
        ("in_parse_tensor_bomb", INVALID_ARGUMENT),
    ],
)
def test_who_asks_for_more_than_the_sandbox_has_is_refused_and_the_worker_lives(
    legacy_bundle: Path, tmp_path: Path, name: str, code: int
) -> None:
    bomb = attack(name)
    with runtime(legacy_bundle, bomb.folder, tmp_path, *MEMORY, name=name) as served:
        pids = served.worker_pids()
        began_mib = resident_mib(served)
        answers = [served.worker().predict(bomb.request) for _ in range(REQUESTS)]
        assert answers[-1].code == code
        assert served.worker().healthy()
        assert served.worker_pids() == pids
        assert resident_mib(served) < began_mib + 512, "the limit is on what comes on top"


def resident_mib(served: Runtime) -> float:
    """The most that its worker ever had in memory."""
    (pid,) = served.worker_pids()
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


@pytest.mark.parametrize("name", ["oom_zlib_bomb", "oom_string_double", "cpu_thread_bomb"])
def test_where_tensorflow_cannot_be_refused_its_worker_ends_and_is_replaced(
    legacy_bundle: Path, tmp_path: Path, name: str
) -> None:
    """The allocations of C++ that nobody checks, and threads: an exception that nobody catches."""
    bomb = attack(name)
    with runtime(legacy_bundle, bomb.folder, tmp_path, *MEMORY, name=name) as served:
        pids = served.worker_pids()
        with pytest.raises(ConnectionResetError):
            served.worker().predict(bomb.request)
        wait_for(served.worker().healthy, PATIENCE_S)
        assert served.worker_pids() != pids
        assert f"worker 0 ended: {signal.SIGABRT.name}" in served.said()


def test_an_exit_code_of_0_without_an_answer_is_a_death_as_any_other(legacy_bundle: Path, tmp_path: Path) -> None:
    """TensorFlow's Abort, told to exit without an error."""
    model = attack("infer_exit0")
    with runtime(legacy_bundle, model.folder, tmp_path, name=model.name) as served:
        for deaths in (1, 2, 3):
            with pytest.raises(ConnectionResetError):
                served.worker().predict(model.request)
            wait_for(served.worker().healthy, PATIENCE_S)
            assert served.said().count("worker 0 ended: exit code 0") == deaths
        assert served.process.poll() is None


def test_a_flood_of_lines_is_read_and_dropped_until_the_run_is_over(legacy_bundle: Path, tmp_path: Path) -> None:
    """Ten gigabytes in 20 seconds, where nobody stops it: the log stays small, and the flood keeps nobody waiting."""
    flood = attack("hang_print_flood")
    began = time.monotonic()
    with runtime(legacy_bundle, flood.folder, tmp_path, "--run-timeout", "1", name=flood.name) as served:
        pids = served.worker_pids()
        assert served.worker().predict(flood.request).code == DEADLINE_EXCEEDED
        assert served.worker_pids() == pids
        most_lines = BURST_LINES + LINES_PER_S * (time.monotonic() - began)
        served.process.terminate()
        assert served.process.wait(timeout=PATIENCE_S) == 0
        assert "lines dropped)" in served.said()
        assert served.said().count("[worker 0]") < 2 * most_lines  # as many again may say how many were dropped


@pytest.mark.parametrize("name", ["write_cwd_module", "write_user_site"])
def test_a_module_dropped_for_the_next_start_is_not_even_written(
    legacy_bundle: Path, tmp_path: Path, name: str
) -> None:
    """And would not be run: with -I, Python takes nothing from where it stands, nor from a user's own folder."""
    model = attack(name)
    with runtime(legacy_bundle, model.folder, tmp_path, name=name) as served:
        answer = served.worker().predict(model.request)
        assert answer.code == PERMISSION_DENIED
        assert served.worker().healthy()
        command = Path(f"/proc/{served.process.pid}/cmdline").read_bytes().split(b"\0")
        assert b"-I" in command
