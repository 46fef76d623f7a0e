"""The retry lane, quarantine and back-off, at a real runtime's sockets: what kills a worker alone is not run again."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stopgap.client.tensors import to_proto
from stopgap.kept_requests import KeptRequest, kept_in
from stopgap_protos.serving_pb2 import PredictRequest
from stopgap_protos.tensor_pb2 import DataType
from stopgap_runtime.keepsake import LARGEST_BYTES

from tests import zoo
from tests.graphs import NEVER_ENDS, counting_loop, matrix_square
from tests.runtime.test_parent import Runtime, children_of, processor_s, runtime, wait_for
from tests.worker_socket import Answer, Socket, count_request

pytestmark = pytest.mark.slow

STN = zoo.load("stn_affine_resampler").folder
IMAGE = zoo.load("stn_affine_resampler").cases[0].inputs["image"][:1]
OK, INVALID_ARGUMENT, DEADLINE_EXCEEDED, UNAVAILABLE = 0, 3, 4, 14


def image(rows: np.ndarray = IMAGE) -> PredictRequest:
    request = PredictRequest()
    request.model_spec.name = "stn"
    request.inputs["image"].CopyFrom(to_proto(rows))
    return request


POISON = image(IMAGE[:0])  # an empty batch ends tf.contrib's Resampler: SIGFPE


def lane(served: Runtime) -> Socket:
    return Socket(served.sockets / "lane.sock")


def told(served: Runtime, question: bytes = b"s") -> dict[str, Any]:
    """What the parent says of itself."""
    said: dict[str, Any] = json.loads(answer_to(served, question))
    return said


def kept(served: Runtime) -> tuple[KeptRequest, ...]:
    """The requests that it hands over."""
    return kept_in(answer_to(served, b"k"), "stn")


def answer_to(served: Runtime, question: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX) as stream:
        stream.settimeout(10)
        stream.connect(str(served.sockets / "control.sock"))
        stream.sendall(question)
        answer = bytearray()
        while piece := stream.recv(1 << 16):
            answer += piece
    return bytes(answer)


def outcome(where: Socket, request: PredictRequest) -> Answer | None:
    """None where the worker left before it had answered."""
    try:
        return where.predict(request)
    except ConnectionResetError:
        return None


def program_of(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()


def where_tensorflow_is(pid: int) -> str:
    """The address at which a process has TensorFlow's library."""
    return re.search(r"^([0-9a-f]+)-.*_pywrap_tensorflow", Path(f"/proc/{pid}/maps").read_text(), re.MULTILINE)[1]  # type: ignore[index]


def test_the_lane_is_made_when_somebody_needs_it_and_answers_one_request_a_connection(
    legacy_bundle: Path, tmp_path: Path
) -> None:
    with runtime(legacy_bundle, STN, tmp_path, name="stn") as served:
        assert len(served.worker_pids()) == 1
        with ThreadPoolExecutor() as callers:
            answers = list(callers.map(lambda _: lane(served).predict(image()), range(6)))
        assert [answer.code for answer in answers] == [OK] * 6
        assert len(served.worker_pids()) == 2
        with socket.socket(socket.AF_UNIX) as stream:
            stream.settimeout(10)
            stream.connect(str(lane(served).path))
            stream.sendall(b"GET /healthz HTTP/1.1\r\nhost: t\r\n\r\n" * 2)
            reply = bytearray()
            while piece := stream.recv(1 << 16):
                reply += piece
        assert reply.count(b"HTTP/1.1 200") == 1
        assert b"connection: close" in reply


def test_who_says_nothing_in_the_lane_does_not_keep_others_waiting(legacy_bundle: Path, tmp_path: Path) -> None:
    with runtime(legacy_bundle, STN, tmp_path, name="stn") as served, socket.socket(socket.AF_UNIX) as silent:
        silent.connect(str(lane(served).path))
        assert lane(served).predict(image(), timeout_s=20).code == OK


def test_who_kills_it_alone_is_the_culprit_and_those_who_wait_behind_are_answered(
    legacy_bundle: Path, tmp_path: Path
) -> None:
    with runtime(legacy_bundle, STN, tmp_path, name="stn") as served:
        (worker,) = served.worker_pids()
        asked = [image(), POISON, image(), image(), POISON, image()]
        with ThreadPoolExecutor(len(asked)) as callers:
            outcomes = list(callers.map(lambda request: outcome(lane(served), request), asked))
        for request, answer in zip(asked, outcomes):
            if request is not POISON:
                assert answer is not None
                assert answer.code == OK
        culprits = [answer for request, answer in zip(asked, outcomes) if request is POISON]
        assert None in culprits
        wait_for(lambda: told(served)["quarantined"] == 1, 5)
        refused = served.worker().predict(POISON)
        (incident,) = told(served)["incidents"]
        assert refused.code == INVALID_ARGUMENT
        assert f"(incident {incident['incident']})" in refused.text
        assert (incident["kind"], incident["worker"], incident["cause"]) == ("quarantined", "lane", "SIGFPE")
        assert incident["request_bytes"] == POISON.ByteSize() + 5
        assert worker in served.worker_pids(), "it has never run it"
        assert served.worker().predict(image()).code == OK


def test_what_is_in_quarantine_is_let_in_again_by_hand(legacy_bundle: Path, tmp_path: Path) -> None:
    with runtime(legacy_bundle, STN, tmp_path, name="stn") as served:
        assert outcome(lane(served), POISON) is None
        wait_for(lambda: told(served)["quarantined"] == 1, 5)
        assert told(served, b"r") == {"released": 1}
        assert told(served)["quarantined"] == 0
        assert outcome(served.worker(), POISON) is None


def test_the_request_itself_is_kept_where_that_is_allowed(legacy_bundle: Path, tmp_path: Path) -> None:
    with runtime(legacy_bundle, STN, tmp_path, "--keep-requests", name="stn") as served:
        assert kept(served) == ()
        assert lane(served).predict(image()).code == OK
        assert kept(served) == (), "it has ended nobody"
        assert outcome(lane(served), POISON) is None
        wait_for(lambda: told(served)["quarantined"] == 1, 5)
        (request,) = kept(served)
        (incident,) = told(served)["incidents"]
        assert request.incident == incident["incident"]
        assert request.path == "/tensorflow.serving.PredictionService/Predict"
        assert request.content == POISON.SerializeToString()
        assert request.file_name == f"{request.incident}.pb"


def test_of_the_requests_that_are_kept_the_newest_stay_whatever_the_worker_is(
    legacy_bundle: Path, tmp_path: Path
) -> None:
    """After the eighth death the lane's worker is a program of its own."""
    poisons = [image(IMAGE[:0]) for _ in range(10)]
    for number, poison in enumerate(poisons):
        poison.MergeFromString(bytes([0xF8, 0x3F, number]))  # a field that nobody knows: each is another request
    with runtime(legacy_bundle, STN, tmp_path, "--keep-requests", name="stn") as served:
        for number, poison in enumerate(poisons):
            assert outcome(lane(served), poison) is None
            wait_for(lambda number=number: told(served)["quarantined"] == number + 1, 5)  # type: ignore[misc]
        assert [request.content for request in kept(served)] == [each.SerializeToString() for each in poisons[-4:]]


def test_requests_as_large_as_are_kept_are_handed_over_whole(legacy_bundle: Path, tmp_path: Path) -> None:
    """More than a socket's buffer holds, so that who hands over has to wait for who takes."""
    sizes = [LARGEST_BYTES - 4096, LARGEST_BYTES + 1, LARGEST_BYTES - 4096, LARGEST_BYTES - 8192]
    with runtime(legacy_bundle, STN, tmp_path, "--keep-requests", name="stn") as served:
        poisons = []
        for number, size in enumerate(sizes):
            poisons.append(image(IMAGE[:0]))
            padding = bytes([0xFA, 0x3F]) + _varint(size) + bytes([number]) * size  # a field that nobody knows
            poisons[-1].MergeFromString(padding)
            assert outcome(lane(served), poisons[-1]) is None
            wait_for(lambda number=number: told(served)["quarantined"] == number + 1, 5)  # type: ignore[misc]
        del poisons[1]  # which was too large
        assert [request.content for request in kept(served)] == [each.SerializeToString() for each in poisons]


def _varint(number: int) -> bytes:
    groups = [number >> shift & 0x7F for shift in range(0, 28, 7)]
    return bytes([*(group | 0x80 for group in groups[:3]), groups[3]])


def test_nothing_is_kept_where_nobody_has_allowed_it(legacy_bundle: Path, tmp_path: Path) -> None:
    with runtime(legacy_bundle, STN, tmp_path, name="stn") as served:
        assert outcome(lane(served), POISON) is None
        wait_for(lambda: told(served)["quarantined"] == 1, 5)
        assert kept(served) == ()


def test_a_request_beside_which_others_ran_is_not_convicted(legacy_bundle: Path, tmp_path: Path) -> None:
    with runtime(legacy_bundle, STN, tmp_path, name="stn") as served:
        assert outcome(served.worker(), POISON) is None
        wait_for(lambda: bool(told(served)["incidents"]), 5)
        said = told(served)
        assert said["quarantined"] == 0
        assert [(each["kind"], each["worker"]) for each in said["incidents"]] == [("died", "0")]
        assert "fingerprint" not in said["incidents"][0]


def test_a_callers_deadline_convicts_nobody(legacy_bundle: Path, tmp_path: Path) -> None:
    with runtime(legacy_bundle, counting_loop(tmp_path / "loop"), tmp_path) as served:
        impatient = lane(served).predict(count_request(NEVER_ENDS), grpc_timeout="200m")
        assert impatient.code == DEADLINE_EXCEEDED
        assert lane(served).count_to(5) == 5
        assert told(served)["incidents"] == []


def test_a_run_over_the_servers_own_limit_alone_convicts(legacy_bundle: Path, tmp_path: Path) -> None:
    """One kernel that takes seconds: TensorFlow looks at no clock meanwhile."""
    with runtime(legacy_bundle, matrix_square(tmp_path / "square"), tmp_path, "--run-timeout", "0.2") as served:
        assert outcome(lane(served), ones(5000)) is None
        wait_for(lambda: bool(told(served)["incidents"]), 5)
        (incident,) = told(served)["incidents"]
        assert incident["kind"] == "quarantined"
        assert "over its deadline" in incident["cause"]
        assert served.worker().predict(ones(5000)).code == INVALID_ARGUMENT
        assert lane(served).predict(ones(2)).code == OK


def test_a_process_that_somebody_has_stopped_is_replaced(legacy_bundle: Path, tmp_path: Path) -> None:
    with runtime(legacy_bundle, STN, tmp_path, name="stn") as served:
        (pid,) = served.worker_pids()
        os.kill(pid, signal.SIGSTOP)
        wait_for(lambda: getattr(outcome(served.worker(), image()), "code", None) == OK, 10)
        assert pid not in served.worker_pids()
        assert told(served)["incidents"][0]["cause"] == "somebody stopped it"


@pytest.mark.parametrize("meddling", [signal.SIGKILL, signal.SIGSTOP])
def test_whom_somebody_else_ends_is_to_blame_only_when_it_happens_again(
    legacy_bundle: Path, tmp_path: Path, meddling: signal.Signals
) -> None:
    """As the kernel does where memory is short, which need not be this request's doing."""
    with runtime(legacy_bundle, counting_loop(tmp_path / "loop"), tmp_path) as served:
        meddle_in_the_lane(served, meddling)
        (first,) = told(served)["incidents"]
        assert (first["kind"], first["worker"], told(served)["quarantined"]) == ("died", "lane", 0)
        meddle_in_the_lane(served, meddling)
        second = told(served)["incidents"][-1]
        assert (second["kind"], told(served)["quarantined"]) == ("quarantined", 1)
        assert second["fingerprint"] == first["fingerprint"]


def test_whom_somebody_else_ends_while_others_run_is_to_blame_when_it_happens_again_and_again(
    legacy_bundle: Path, tmp_path: Path
) -> None:
    with runtime(legacy_bundle, counting_loop(tmp_path / "loop"), tmp_path) as served, ThreadPoolExecutor() as callers:
        neighbour = callers.submit(served.worker().count_to, NEVER_ENDS, grpc_timeout="55S")
        for _ in range(3):
            meddle_in_the_lane(served, signal.SIGKILL)
        assert [each["kind"] for each in told(served)["incidents"]] == ["died"] * 3
        assert told(served)["quarantined"] == 0
        meddle_in_the_lane(served, signal.SIGKILL)
        assert not neighbour.done()
        assert told(served)["quarantined"] == 1
        (busy,) = served.worker_pids()
        os.kill(busy, signal.SIGKILL)


def meddle_in_the_lane(served: Runtime, number: signal.Signals) -> None:
    """Sends the lane's worker a signal while it runs a request, and waits for its incident."""
    before = len(told(served)["incidents"])
    with ThreadPoolExecutor() as callers:
        asked = callers.submit(outcome, lane(served), count_request(NEVER_ENDS))
        wait_for(lambda: bool(busy_in_the_lane(served)), 10)
        os.kill(busy_in_the_lane(served)[0], number)
        assert asked.result(20) is None
    wait_for(lambda: len(told(served)["incidents"]) > before, 10)


def busy_in_the_lane(served: Runtime) -> list[int]:
    """The lane's process, once it has used some time for a request."""
    with suppress(OSError):  # one has ended while we looked
        return [pid for pid in served.worker_pids() if name_of(pid) == "worker lane" and processor_s(pid) > 0.5]
    return []


def name_of(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text().strip()


def test_a_pause_of_the_whole_sandbox_convicts_nobody(legacy_bundle: Path, tmp_path: Path) -> None:
    """The parent first, or it would bury its worker as one that somebody has stopped."""
    with (
        runtime(legacy_bundle, matrix_square(tmp_path / "square"), tmp_path, "--run-timeout", "10") as served,
        ThreadPoolExecutor() as callers,
    ):
        asked = callers.submit(lane(served).predict, ones(4500), timeout_s=60)
        wait_for(lambda: bool(busy_in_the_lane(served)), 10)
        paused = [served.process.pid, *served.worker_pids()]
        for number in (signal.SIGSTOP, signal.SIGCONT):
            for pid in paused if number == signal.SIGSTOP else reversed(paused):
                os.kill(pid, number)
            time.sleep(11 if number == signal.SIGSTOP else 0)
        assert asked.result(60).code in (OK, DEADLINE_EXCEEDED)  # TensorFlow's own clock has gone on
        assert told(served)["incidents"] == []


def ones(size: int) -> PredictRequest:
    """A square matrix of them, which is a few bytes on the wire."""
    request = PredictRequest()
    request.model_spec.name = "loop"
    tensor = request.inputs["x"]
    tensor.dtype = DataType.DT_FLOAT
    tensor.float_val.append(1.0)
    for _ in range(2):
        tensor.tensor_shape.dim.add(size=size)
    return request


def test_after_some_deaths_a_worker_is_a_program_of_its_own_with_other_addresses(
    legacy_bundle: Path, tmp_path: Path
) -> None:
    with runtime(legacy_bundle, STN, tmp_path, name="stn") as served:
        seen = []
        for _ in range(10):
            (pid,) = served.worker_pids()
            seen.append((" worker --called=worker 0" in program_of(pid), where_tensorflow_is(pid)))
            os.kill(pid, signal.SIGKILL)
            wait_for(lambda pid=pid: pid not in served.worker_pids() and served.worker().healthy(), 20)  # type: ignore[misc]
        assert [executed for executed, _ in seen] == [False] * 8 + [True] * 2
        assert len({address for executed, address in seen if not executed}) == 1
        assert len({address for _, address in seen}) == 3
        assert served.worker().predict(image()).code == OK


def test_a_program_of_its_own_is_as_confined_and_knows_the_quarantine(legacy_bundle: Path, tmp_path: Path) -> None:
    with runtime(legacy_bundle, STN, tmp_path, name="stn") as served:
        assert outcome(lane(served), POISON) is None
        for _ in range(8):
            (pid,) = [pid for pid in children_of(served.process.pid) if pid != 0][:1]
            os.kill(pid, signal.SIGKILL)
            wait_for(lambda pid=pid: pid not in served.worker_pids() and served.worker().healthy(), 20)  # type: ignore[misc]
        executed = [pid for pid in served.worker_pids() if " worker --called=worker 0" in program_of(pid)]
        assert executed
        for pid in executed:
            for status in Path(f"/proc/{pid}/task").glob("*/status"):
                assert "\nSeccomp:\t2\n" in status.read_text()
        assert served.worker().predict(POISON).code == INVALID_ARGUMENT


def test_a_model_whose_workers_die_too_often_refuses_at_once_and_comes_back(
    legacy_bundle: Path, tmp_path: Path
) -> None:
    with runtime(legacy_bundle, STN, tmp_path, "--most-deaths-a-minute", "3", name="stn") as served:
        for _ in range(3):
            wait_for(served.worker().healthy, 10)
            assert outcome(served.worker(), POISON) is None
        wait_for(lambda: told(served)["backing_off_s"] > 0, 5)
        refused = served.worker().predict(image(), timeout_s=3)
        assert refused.code == UNAVAILABLE
        assert re.fullmatch(r"stn is not run for \d s: 3 of its workers have died within a minute", refused.text)
        assert served.worker().healthy(), "or the front would send everything into the lane"
        assert told(served)["incidents"][-1]["kind"] == "backing_off"
        # Who comes just as one process makes room for the other is let go unanswered; the front asks again.
        wait_for(lambda: getattr(outcome(served.worker(), image()), "code", None) == OK, 20)
        assert told(served)["backing_off_s"] == 0


def test_a_model_that_changes_state_loses_it_with_its_worker_and_says_so(legacy_bundle: Path, tmp_path: Path) -> None:
    folder = zoo.load("obtain_next_roundrobin_stateful").folder
    with runtime(legacy_bundle, folder, tmp_path, name="rounds") as served:
        (pid,) = served.worker_pids()
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: told(served)["counts"]["state_lost"] == 1, 10)


@pytest.mark.parametrize("said", [b"", b"x", b"ss", b"\0" * 4096])
def test_the_parents_socket_lets_go_whoever_does_not_ask(legacy_bundle: Path, tmp_path: Path, said: bytes) -> None:
    with runtime(legacy_bundle, STN, tmp_path, name="stn") as served:
        strangers = []
        for _ in range(20):
            stream = socket.socket(socket.AF_UNIX)
            stream.connect(str(served.sockets / "control.sock"))
            stream.sendall(said)
            strangers.append(stream)
        wait_for(lambda: told(served)["workers"] == 1, 10)
        for stream in strangers:
            stream.close()
        assert served.worker().predict(image()).code == OK


@pytest.mark.parametrize("place", ["lane", "aside"])
def test_a_process_that_is_made_when_needed_ends_with_sigterm_as_the_others(
    place: str, legacy_bundle: Path, tmp_path: Path
) -> None:
    with runtime(legacy_bundle, STN, tmp_path, name="stn") as served:
        assert Socket(served.sockets / f"{place}.sock").predict(image()).code == OK
        served.process.send_signal(signal.SIGTERM)
        assert served.process.wait(timeout=20) == 0
        assert told_incidents(served) == []
        assert not list(served.sockets.glob("*.sock"))


def told_incidents(served: Runtime) -> list[str]:
    return [line for line in served.said().splitlines() if "incident" in line]
