"""Hostile bytes at a real worker's socket: the parent and the worker stand, and whoever asks well is answered."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from random import Random

import pytest
from stopgap_protos.serving_pb2 import PredictRequest, PredictResponse
from stopgap_protos.tensor_pb2 import DataType

from tests.fuzz.http_target import HTTP
from tests.fuzz.mutation import mutated
from tests.fuzz.request_targets import GRPC, JSON, REQUEST
from tests.graphs import echo
from tests.protobuf_bombs import BOMBS
from tests.runtime.test_parent import Runtime, runtime
from tests.worker_socket import PREDICT

INPUTS = 1500
RESOURCE_EXHAUSTED = 8
LARGEST_MIB = 16
TENSORS = {
    "x": (DataType.DT_FLOAT, (-1, 2)),
    "n": (DataType.DT_INT64, (-1,)),
    "s": (DataType.DT_STRING, (-1,)),
    "rate": (DataType.DT_INT64, ()),
}


@pytest.fixture
def served(legacy_bundle: Path, tmp_path: Path) -> Iterator[Runtime]:
    """An echo served as `m`, messages up to 16 MiB; at the end, nobody has died and nothing has escaped."""
    model = echo(tmp_path / "model", TENSORS, optional={"rate"})
    limit = ("--max-message-bytes", str(LARGEST_MIB << 20))
    with runtime(legacy_bundle, model, tmp_path, *limit, name="m") as served:
        workers = served.worker_pids()
        assert len(workers) == 1
        yield served
        assert served.process.poll() is None
        assert served.worker_pids() == workers
        assert "Traceback" not in served.said()
        assert " ended" not in served.said()


def good_request() -> PredictRequest:
    request = PredictRequest.FromString(GRPC.seeds[0])
    assert request.model_spec.name == "m"
    return request


def is_answered(served: Runtime) -> bool:
    """Whether a good request is answered, and rightly."""
    answer = served.worker().predict(good_request())
    return answer.code == 0 and list(PredictResponse.FromString(answer.message).outputs["n"].int64_val) == [1]


@contextmanager
def asked_throughout(served: Runtime) -> Iterator[None]:
    """Somebody asks well all the time, and is answered each time."""
    answers: list[bool] = []
    done = threading.Event()

    def keep_asking() -> None:
        while not done.is_set():
            answers.append(is_answered(served))

    asking = threading.Thread(target=keep_asking)
    asking.start()
    try:
        yield
    finally:
        done.set()
        asking.join()
    assert len(answers) > 1
    assert all(answers)


def connected(served: Runtime, stack: ExitStack) -> socket.socket:
    stream = stack.enter_context(socket.socket(socket.AF_UNIX))
    stream.settimeout(20)
    stream.connect(str(served.worker().path))
    return stream


def said_to(served: Runtime, data: bytes) -> bytes:
    """What is answered to some bytes, after which the peer sends no more."""
    answer = bytearray()
    with ExitStack() as stack:
        stream = connected(served, stack)
        with suppress(ConnectionError):  # it has been refused before it was at its end
            stream.sendall(data)
            stream.shutdown(socket.SHUT_WR)
        with suppress(ConnectionError):
            while piece := stream.recv(1 << 16):
                answer += piece
    return bytes(answer)


def as_http(request: bytes) -> bytes:
    """A `request` target's input as it would come over a connection."""
    head, _, body = request.partition(b"\n\n")
    first, *lines = head.split(b"\n")
    fields = [first + b" HTTP/1.1", b"host: t", *lines, b"content-length: %d" % len(body)]
    return b"\r\n".join(fields) + b"\r\n\r\n" + body


def fuzzed(count: int) -> Iterator[bytes]:
    """Mutations of connections as a whole, and of what stands in well-formed ones."""
    random = Random(6)  # noqa: S311 - to be drawn again, and no secret
    bodies = [(b"POST /v1/models/m:predict\n\n", JSON), (b"", REQUEST)]
    for _ in range(count // 3):
        yield mutated(random.choice(HTTP.seeds[:5]), random, HTTP.tokens)
        for head, target in bodies:
            yield as_http(head + mutated(random.choice(target.seeds), random, target.tokens))


def test_fuzzed_bytes_cost_no_worker_and_no_other_caller(served: Runtime) -> None:
    with asked_throughout(served):
        for data in fuzzed(INPUTS):
            answer = said_to(served, data)
            assert answer == b"" or re.match(rb"HTTP/1\.1 [1-5]\d\d ", answer), data
            assert b"the runtime failed" not in answer, data


def test_who_sends_slowly_or_nothing_keeps_nobody_waiting(served: Runtime) -> None:
    head = b"POST /v1/models/m:predict HTTP/1.1\r\nhost: t\r\ncontent-length: 900\r\n\r\n{"
    with ExitStack() as stack:
        slow = [connected(served, stack) for _ in range(60)]  # of the 80 that a worker takes
        for place, stream in enumerate(slow):
            stream.sendall(head[: place * len(head) // len(slow)])
        for stream in slow:
            stream.sendall(b"x")
            assert is_answered(served)
    assert is_answered(served)


def test_large_bodies_that_never_come_take_no_memory(served: Runtime) -> None:
    (worker,) = served.worker_pids()
    before = resident_mib(worker)
    head = b"POST / HTTP/1.1\r\nhost: t\r\ncontent-length: %d\r\n\r\n" % (LARGEST_MIB << 20)
    with ExitStack() as stack:
        for _ in range(60):
            connected(served, stack).sendall(head)
        assert is_answered(served)
        assert resident_mib(worker) - before < 4 * LARGEST_MIB


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_message_that_would_unfold_to_much_more_is_refused_unread(served: Runtime, bomb: str) -> None:
    """Of the largest size that is taken, and many times as much in memory."""
    (worker,) = served.worker_pids()
    before = resident_mib(worker, "VmHWM")
    message = BOMBS[bomb]((LARGEST_MIB << 20) - 4096)
    assert served.worker().call(PREDICT, message).code == RESOURCE_EXHAUSTED
    assert resident_mib(worker, "VmHWM") - before < 6 * LARGEST_MIB
    assert is_answered(served)


def test_what_is_too_large_is_refused_before_it_is_there(served: Runtime) -> None:
    head = b"POST / HTTP/1.1\r\nhost: t\r\ncontent-length: %d\r\n\r\n" % ((LARGEST_MIB << 20) + 6)
    assert said_to(served, head).startswith(b"HTTP/1.1 413 ")
    chunk = b"%x\r\n" % (1 << 20) + bytes(1 << 20) + b"\r\n"
    chunked = b"POST / HTTP/1.1\r\nhost: t\r\ntransfer-encoding: chunked\r\n\r\n" + chunk * (LARGEST_MIB + 1)
    assert said_to(served, chunked)[:13] in (b"HTTP/1.1 413 ", b"")
    assert is_answered(served)


def resident_mib(pid: int, figure: str = "VmRSS") -> int:
    found = re.search(rf"^{figure}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert found
    return int(found[1]) >> 10
