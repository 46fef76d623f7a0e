"""A live worker's filter: it is on every thread, and what it refuses is what nobody misses, recorded anew by strace."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from stopgap.client.tensors import to_proto
from stopgap_protos.serving_pb2 import PredictRequest
from stopgap_runtime import kernel

from tests import zoo
from tests.runtime.test_parent import ROOT, Runtime, children_of, runtime, wait_for

FILTERED = "2"  # `Seccomp:` in a task's status; 0 is without, 1 the strict mode

# One of each kind of graph; WHOLE_ZOO=1 records all 63, in two minutes.
RECORDED = (
    zoo.NAMES
    if os.environ.get("WHOLE_ZOO")
    else (
        "bayesflow_mc_stochastic",
        "dataset_map_libsvm",
        "ffmpeg_wav_encode",
        "obtain_next_roundrobin_stateful",
        "rpc_try_call",
        "stn_affine_resampler",
        "tensor_forest_estimator",
        "text_classifier_vocab_control",
    )
)

# What is tried in vain, and why nobody misses it.
REFUSED = {
    "clone3": "ENOSYS",  # the C library takes clone then, whose flags a filter can see
    "getsockname": "EPERM",  # Python asks a new connection for its family, and knows it already
    "prctl": "EPERM",  # gRPC within TensorFlow names its threads
    "socket": "EPERM",  # gRPC within TensorFlow: the model that calls others
}
# Judged by an argument, so not in the plain list.
JUDGED = {"open", "openat", "ioctl", "fcntl", "clone", "tgkill", "prlimit64"}
# Without these no worker answers anybody: where they were not seen, nothing was recorded.
SEEN_ALWAYS = {"accept4", "clone", "futex", "mmap", "openat", "read", "recvfrom", "sendto"}


def test_every_thread_of_a_worker_is_filtered(legacy_bundle: Path, tmp_path: Path) -> None:
    model = zoo.load("stn_affine_resampler")
    with runtime(legacy_bundle, model.folder, tmp_path, "--threads", "2", name=model.name) as served:
        ask_all(served, model)
        (pid,) = served.worker_pids()
        modes = [seccomp_of(task) for task in Path(f"/proc/{pid}/task").iterdir()]
        assert len(modes) > 4  # its main thread, and TensorFlow's two pools
        assert set(modes) == {FILTERED}


def seccomp_of(task: Path) -> str:
    lines = (task / "status").read_text().splitlines()
    return next(line.split()[1] for line in lines if line.startswith("Seccomp:"))


@pytest.mark.parametrize("name", RECORDED)
def test_what_the_filter_refuses_is_not_needed(legacy_bundle: Path, tmp_path: Path, name: str) -> None:
    model = zoo.load(name)
    with recorded(legacy_bundle, model, tmp_path) as (served, record):
        ask_all(served, model)
    assert record.used >= SEEN_ALWAYS
    assert record.used <= {*kernel.ALLOWED, *JUDGED}
    assert {call: error for call, error in record.refused if REFUSED.get(call) != error} == {}


def ask_all(served: Runtime, model: zoo.ZooModel) -> None:
    """Each of the model's requests; each is answered, though not each well."""
    for case in model.cases:
        request = PredictRequest()
        request.model_spec.name = model.name
        request.model_spec.signature_name = case.signature
        for alias, value in case.inputs.items():
            request.inputs[alias].CopyFrom(to_proto(value))
        served.worker().predict(request)


@dataclass
class Record:
    """What processes asked of the kernel once they had put a filter on.

    Attributes:
        refused: How often each call was, with the error.
    """

    used: set[str] = field(default_factory=set)
    refused: Counter[tuple[str, str]] = field(default_factory=Counter)


@contextmanager
def recorded(bundle: Path, model: zoo.ZooModel, folder: Path) -> Iterator[tuple[Runtime, Record]]:
    """A runtime on `model` under strace; the record is there when it has ended."""
    strace = shutil.which("strace")
    assert strace, "strace is needed to record system calls: apt-get install strace"
    sockets, log, trace, record = folder / "sockets", folder / "log", folder / "trace", Record()
    sockets.mkdir()
    command = [strace, "-f", "-qq", "-o", str(trace), "-e", "signal=none", sys.executable, "-I"]
    command += [str(ROOT / "images" / "runtime"), "serve", "--name", model.name, "--model-version", "1"]
    command += ["--bundle", str(bundle), "--model", str(model.folder), "--sockets", str(sockets)]
    with log.open("w") as stream:
        process = subprocess.Popen(command, stderr=stream, text=True)
    try:
        wait_for(lambda: (sockets / "ready.json").exists() or process.poll() is not None, 60)
        yield Runtime(process, sockets, log), record
    finally:
        for traced in children_of(process.pid):  # strace itself takes no notice of a SIGTERM
            os.kill(traced, signal.SIGTERM)
        process.wait(timeout=30)
    read_trace(trace.read_text(errors="replace"), record)


# `123 futex(0x7f…, …) = 0`, and where another thread was quicker `123 <... futex resumed>) = -1 EAGAIN (…)`.
CALL = re.compile(r"^(\d+)\s+(?:<\.\.\. )?(\w+)(?: resumed>|\().*?(?:= (-?\d+|\?|0x[0-9a-f]+)(?: (E\w+))?.*)?$")


def read_trace(text: str, record: Record) -> None:
    """Of the tasks that have put a filter on, and of those that they started."""
    filtered: set[str] = set()
    for task, call, result, error in (match.groups() for match in map(CALL.match, text.splitlines()) if match):
        if task in filtered and result is not None:
            if error in {"EPERM", "EACCES", "ENOSYS"}:
                record.refused[call, error] += 1
            else:
                record.used.add(call)
            if call == "clone" and result.isdigit():
                filtered.add(result)
        elif call == "seccomp" and result == "0":
            filtered.add(task)
