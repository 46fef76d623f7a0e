"""Workers that die under load, and what a deployment costs: the bounds that people rely on."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from stopgap.client.channel import ServingChannel
from stopgap.containment.specs import sandbox_container
from stopgap.errors import PredictionError
from stopgap_protos.serving_pb2 import PredictRequest

from tests import backstage, zoo
from tests.graphs import NEVER_ENDS, counting_loop
from tests.load import CALLERS, Load, image_request, until
from tests.stopgap_program import Program
from tests.worker_socket import Socket, count_request

pytestmark = [pytest.mark.alone, pytest.mark.slow]

DEATHS = 10
DEADLINE_EXCEEDED, UNAVAILABLE = 4, 14
MEMORY_BOUND_MIB = 80
SERVE_BOUND_S = 3.0
REPLACEMENT_BOUND_S = 0.5


def workers_of(stopgap: Program, name: str) -> list[int]:
    """The host's pids of a sandbox's workers."""
    return backstage.workers_of(stopgap.backstage.first_process(sandbox_container(name)))


def worker_socket(stopgap: Program, index: int) -> Socket:
    return Socket(stopgap.state / "fronts" / str(stopgap.port) / "sandboxes" / "stn" / f"worker-{index}.sock")


def test_no_caller_of_a_stateless_model_notices_that_workers_die(stopgap: Program) -> None:
    """However soon after each other: who has lost a worker is asked again in the lane, where these deaths are not."""
    served = stopgap.serve(zoo.ZOO / "stn_affine_resampler", "stn", "--workers", "2")
    with Load(served["grpc"], image_request("stn")) as load:
        for number in range(DEATHS):
            until(lambda: len(workers_of(stopgap, "stn")) == 2, 10)
            answers = load.answers
            os.kill(sorted(workers_of(stopgap, "stn"))[number % 2], signal.SIGKILL)
            until(lambda answers=answers: load.answers > answers + 50, 20)  # type: ignore[misc]
    assert [str(error) for error in load.errors] == []
    buried = re.findall(r"^\[parent\] worker [01] .*SIGKILL", stopgap.run("logs", "stn").stdout, re.MULTILINE)
    assert len(buried) == DEATHS


def test_a_killed_worker_is_back_at_once(stopgap: Program) -> None:
    """Half a second plus the model's load; this model's load is a few hundredths."""
    stopgap.serve(zoo.ZOO / "stn_affine_resampler", "stn")
    worker = worker_socket(stopgap, 0)
    request = image_request("stn")
    gaps_s = []
    for _ in range(5):
        until(worker.healthy, 10)
        (pid,) = workers_of(stopgap, "stn")
        os.kill(pid, signal.SIGKILL)
        began = time.monotonic()
        until(lambda: answered(worker, request), 10)
        gaps_s.append(time.monotonic() - began)
    assert max(gaps_s) <= REPLACEMENT_BOUND_S, gaps_s


def answered(worker: Socket, request: PredictRequest) -> bool:
    try:
        return worker.predict(request, timeout_s=10).code == 0
    except OSError:
        return False


def test_a_run_that_never_ends_costs_its_own_caller_alone(stopgap: Program, tmp_path: Path) -> None:
    """In the caller's thread TensorFlow cannot end it; the worker is replaced and the next caller is answered."""
    served = stopgap.serve(counting_loop(tmp_path / "loop"), "loop")
    with ServingChannel(served["grpc"]) as channel:
        began = time.monotonic()
        with pytest.raises(PredictionError) as refused:
            channel.predict(count_request(NEVER_ENDS), timeout_s=1.0)
        assert refused.value.code == DEADLINE_EXCEEDED
        assert time.monotonic() - began < 1.5
        assert channel.predict(count_request(5), timeout_s=10).outputs["count"].int64_val == [5]
    until(lambda: "over its deadline" in stopgap.run("logs", "loop").stdout, 5)


def test_a_stateful_model_is_not_asked_twice(stopgap: Program) -> None:
    """Its worker dies with a request: that caller is told, since nobody knows what the request had changed."""
    name = "obtain_next_roundrobin_stateful"
    served = stopgap.serve(zoo.ZOO / name, "rounds")
    request = PredictRequest()
    request.model_spec.name = "rounds"
    request.model_spec.signature_name = zoo.load(name).cases[0].signature
    with Load(served["grpc"], request) as load:
        until(lambda: load.answers > 100, 10)
        for _ in range(DEATHS):
            for pid in workers_of(stopgap, "rounds"):
                os.kill(pid, signal.SIGKILL)
            answers = load.answers
            until(lambda answers=answers: load.answers > answers + 100, 20)  # type: ignore[misc]
            if load.errors:  # a death between two requests hits nobody
                break
    assert {error.code for error in load.errors} == {UNAVAILABLE}
    assert len(load.errors) <= CALLERS


def test_a_small_model_takes_little_memory(stopgap: Program) -> None:
    served = stopgap.serve(zoo.ZOO / "stn_affine_resampler", "stn")
    with ServingChannel(served["grpc"]) as channel:
        for _ in range(200):
            channel.predict(image_request("stn"), timeout_s=10)
    assert 10 < stopgap.backstage.memory_mib(sandbox_container("stn")) <= MEMORY_BOUND_MIB


def test_the_first_answer_comes_soon_after_the_command(stopgap: Program) -> None:
    """With the images there, and no front yet: the command's own time, until a client has its answer."""
    model = zoo.ZOO / "stn_affine_resampler"
    stopgap.serve(model, "first")  # makes the images where they are missing
    assert stopgap.run("stop", "first").returncode == 0
    began = time.monotonic()
    served = stopgap.serve(model, "stn")
    with ServingChannel(served["grpc"]) as channel:
        outputs = channel.predict(image_request("stn"), timeout_s=10).outputs
    took_s = time.monotonic() - began
    assert np.all([len(tensor.float_val) for tensor in outputs.values()])
    assert took_s <= SERVE_BOUND_S


def test_what_serve_prints_for_programs_is_one_json_object(stopgap: Program) -> None:
    done = stopgap.run("serve", str(zoo.ZOO / "lsh_retrieval"), *stopgap.at("lsh"), "--json")
    assert {"name", "grpc", "engine", "isolation", "until"} <= json.loads(done.stdout).keys()
