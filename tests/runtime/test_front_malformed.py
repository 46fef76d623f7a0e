"""Malformed HTTP/2, HTTP/1.1 and gRPC at a real Envoy before a real worker: both stand, and others are answered."""

from __future__ import annotations

import http.client
import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from random import Random

import grpc
import pytest
from stopgap_protos.serving_pb2 import PredictRequest, PredictResponse

from tests.front_scene import Front, front_folder, running_front, upstream
from tests.fuzz.http_target import HTTP
from tests.fuzz.mutation import mutated
from tests.fuzz.request_targets import GRPC, REQUEST
from tests.graphs import echo
from tests.protobuf_bombs import BOMBS
from tests.runtime.test_fuzzed_socket import TENSORS, as_http, good_request
from tests.runtime.test_parent import runtime

PREDICT = "/tensorflow.serving.PredictionService/Predict"
MODEL = upstream("m")
PATIENCE_S = 10
LARGEST_MIB = 8

DATA, HEADERS, PRIORITY, RESET, SETTINGS, PUSH, PING, GOAWAY, WINDOW, CONTINUATION = range(10)
END_STREAM, END_HEADERS, PADDED = 0x1, 0x4, 0x8


@pytest.fixture(scope="module")
def front(legacy_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """One front before an echo for all of it; at the end its worker is the one of the beginning."""
    tmp_path = tmp_path_factory.mktemp("malformed")
    with ExitStack() as stack:
        folder = stack.enter_context(front_folder())
        model = echo(tmp_path / "model", TENSORS, optional={"rate"})
        limit = ("--max-message-bytes", str(LARGEST_MIB << 20))
        served = stack.enter_context(runtime(legacy_bundle, model, tmp_path, *limit, name="m"))
        (folder / "sandboxes" / "m").symlink_to(served.sockets)
        front = stack.enter_context(running_front(folder, MODEL, max_message_mib=LARGEST_MIB))
        workers = served.worker_pids()
        yield front
        assert is_answered(front)
        assert served.process.poll() is None
        assert served.worker_pids() == workers
        assert "Traceback" not in served.said()


def is_answered(front: Front) -> bool:
    answer = predicted(front, good_request().SerializeToString())
    return isinstance(answer, PredictResponse) and list(answer.outputs["n"].int64_val) == [1]


def predicted(front: Front, message: bytes, metadata: tuple[tuple[str, str], ...] = ()) -> PredictResponse | str:
    """The answer to a message, or the name of the code that it is refused with."""
    with grpc.insecure_channel(f"127.0.0.1:{front.admin.grpc_port()}") as channel:
        call = channel.unary_unary(PREDICT, request_serializer=bytes, response_deserializer=PredictResponse.FromString)
        try:
            return call(message, timeout=PATIENCE_S, metadata=metadata)  # type: ignore[no-any-return]
        except grpc.RpcError as error:
            return str(error.code().name)


def said_to(port: int, data: bytes) -> bytes:
    """What is answered to some bytes until the front closes, or has nothing more to say."""
    answer = bytearray()
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as stream, suppress(ConnectionError):
        stream.sendall(data)
        stream.settimeout(0.3)
        with suppress(TimeoutError):
            while piece := stream.recv(1 << 16):
                answer += piece
    return bytes(answer)


# --- HTTP/2 --------------------------------------------------------------------------------------------------------


def frame(kind: int, payload: bytes = b"", *, flags: int = 0, stream: int = 0, length: int | None = None) -> bytes:
    size = len(payload) if length is None else length
    return struct.pack(">I", size)[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def literal(name: bytes, value: bytes) -> bytes:
    """A header field as HPACK has it without its tables and without Huffman's code."""
    return b"\x00" + prefixed(len(name)) + name + prefixed(len(value)) + value


def prefixed(number: int) -> bytes:
    if number < 127:
        return bytes([number])
    number -= 127
    groups = [127]
    while number > 127:
        groups.append(number & 127 | 128)
        number >>= 7
    return bytes([*groups, number])


FIELDS = b"".join(
    literal(name, value)
    for name, value in (
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", PREDICT.encode()),
        (b":authority", b"x"),
        (b"content-type", b"application/grpc"),
        (b"te", b"trailers"),
    )
)
BEGINNING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS)
MESSAGE = GRPC.seeds[0]
FRAMED = struct.pack(">BI", 0, len(MESSAGE)) + MESSAGE


def asked(stream: int, body: bytes, fields: bytes = FIELDS) -> bytes:
    head = frame(HEADERS, fields, flags=END_HEADERS, stream=stream)
    return head + frame(DATA, body, flags=END_STREAM, stream=stream)


MALFORMED = {
    "a length that lies": frame(DATA, b"x", stream=1, length=2**24 - 1),
    "an unknown HPACK index": frame(HEADERS, b"\xff\xff\xff\xff\x7f", flags=END_HEADERS, stream=1),
    "a header that never ends": frame(HEADERS, FIELDS, stream=1) + frame(CONTINUATION, b"", stream=1) * 20_000,
    "a continuation of nothing": frame(CONTINUATION, FIELDS, flags=END_HEADERS, stream=1),
    "a header of 200 KB": asked(1, FRAMED, FIELDS + literal(b"x", b"y" * 15_000))
    + frame(HEADERS, FIELDS, stream=3)
    + frame(CONTINUATION, literal(b"x", b"y" * 15_000), stream=3) * 14,
    "ten thousand headers": frame(HEADERS, FIELDS + literal(b"x", b"y") * 2000, flags=END_HEADERS, stream=1),
    "no path": asked(1, FRAMED, literal(b":method", b"POST")),
    "a path twice": asked(1, FRAMED, FIELDS + literal(b":path", b"/x")),
    "capitals and line breaks": asked(1, FRAMED, FIELDS + literal(b"X", b"a\r\nb: c")),
    "a content-length that lies": asked(1, FRAMED, FIELDS + literal(b"content-length", b"7")),
    "data for no stream": frame(DATA, FRAMED, stream=0) + frame(DATA, FRAMED, stream=7),
    "a stream of the server's": asked(2, FRAMED),
    "a stream that depends on itself": frame(PRIORITY, struct.pack(">IB", 1, 5), stream=1) + asked(1, FRAMED),
    "padding that is longer than its frame": frame(DATA, b"\xffabc", flags=PADDED, stream=1),
    "a window of nothing": frame(WINDOW, struct.pack(">I", 0)) + asked(1, FRAMED),
    "a window beyond all": frame(WINDOW, struct.pack(">I", 2**31 - 1)) * 2,
    "settings that cannot be": frame(SETTINGS, struct.pack(">HI", 4, 2**31)) + frame(SETTINGS, b"abc"),
    "a promise of the client's": frame(PUSH, struct.pack(">I", 2) + FIELDS, flags=END_HEADERS, stream=1),
    "settings without end": frame(SETTINGS) * 20_000,
    "pings without end": frame(PING, bytes(8)) * 20_000,
    "requests that are taken back at once": b"".join(
        frame(HEADERS, FIELDS, flags=END_HEADERS, stream=stream) + frame(RESET, struct.pack(">I", 8), stream=stream)
        for stream in range(1, 20_001, 2)
    ),
    "a message that is never sent": frame(HEADERS, FIELDS, flags=END_HEADERS, stream=1),
    "goodbye before all": frame(GOAWAY, bytes(8)) + asked(1, FRAMED),
    "bytes": bytes(range(256)) * 40,
}


@pytest.mark.parametrize("malformed", MALFORMED)
def test_malformed_http_2_costs_nobody_else(front: Front, malformed: str) -> None:
    for port in (front.admin.grpc_port(), front.admin.rest_port()):
        said_to(port, BEGINNING + MALFORMED[malformed])
        assert is_answered(front)


def test_the_frames_of_these_tests_are_understood(front: Front) -> None:
    """Or else what is refused is refused for their sake."""
    answer = said_to(front.admin.grpc_port(), BEGINNING + asked(1, FRAMED))
    assert b"serving_default" in answer


def test_fuzzed_connections_cost_nobody_else(front: Front) -> None:
    random = Random(6)  # noqa: S311 - to be drawn again, and no secret
    ports = (front.admin.grpc_port(), front.admin.rest_port())
    requests = [*HTTP.seeds[:5], *map(as_http, REQUEST.seeds), BEGINNING + asked(1, FRAMED)]
    with ExitStack() as stack:
        for number in range(400):
            stream = stack.enter_context(socket.create_connection(("127.0.0.1", random.choice(ports))))
            with suppress(ConnectionError):
                stream.sendall(mutated(random.choice(requests), random, HTTP.tokens))
            if number % 50 == 0:
                assert is_answered(front)


# --- gRPC ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "codes"),
    [
        (b"\0\0\0", {"3", "13"}),
        (struct.pack(">BI", 0, 2**32 - 1) + MESSAGE, {"3", "8", "13"}),
        (struct.pack(">BI", 0, len(MESSAGE) + 1) + MESSAGE, {"3", "13"}),
        (struct.pack(">BI", 0, len(MESSAGE) - 1) + MESSAGE, {"3", "13"}),
        (struct.pack(">BI", 1, len(MESSAGE)) + MESSAGE, {"3", "12"}),
        (struct.pack(">BI", 255, len(MESSAGE)) + MESSAGE, {"3", "12", "13"}),
        (FRAMED + FRAMED, {"3", "13"}),
    ],
    ids=[
        "less than a frame",
        "4 GiB announced",
        "a byte too many announced",
        "a byte too few announced",
        "compressed by nothing",
        "an unknown flag",
        "two messages",
    ],
)
def test_a_frame_that_is_none_has_a_clear_status(front: Front, body: bytes, codes: set[str]) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", front.admin.grpc_port(), timeout=PATIENCE_S)
    connection.request("POST", PREDICT, body, {"content-type": "application/grpc", "te": "trailers"})
    response = connection.getresponse()
    response.read()
    connection.close()
    assert response.getheader("grpc-status") in codes


@pytest.mark.parametrize(
    ("metadata", "code"),
    [
        ((("x", "y" * 70_000),), "UNAVAILABLE"),
        ((("x", "y" * 15_000), ("y", "y" * 15_000), ("z", "y" * 15_000), ("w", "y" * 20_000)), "INTERNAL"),
        (tuple((f"x{number}", "y") for number in range(500)), "INTERNAL"),
    ],
    ids=["one that is too large", "several that are", "many"],
)
def test_too_many_headers_cost_their_caller_alone(
    front: Front, metadata: tuple[tuple[str, str], ...], code: str
) -> None:
    """HTTP/2 has no better word than a reset; over HTTP/1.1 it is 431."""
    alone = [("grpc.use_local_subchannel_pool", 1)]  # else the two share a connection, which the first kind costs
    with grpc.insecure_channel(f"127.0.0.1:{front.admin.grpc_port()}", options=alone) as channel:
        call = channel.unary_unary(PREDICT, request_serializer=bytes, response_deserializer=PredictResponse.FromString)
        waiting = call.future(MESSAGE, timeout=PATIENCE_S)
        assert predicted(front, MESSAGE, metadata) == code
        assert waiting.result().model_spec.name == "m"


def test_who_does_not_finish_a_call_keeps_no_worker_waiting(front: Front) -> None:
    """Whole messages, of calls that do not end: more of them than a worker has connections."""
    message = frame(HEADERS, FIELDS, flags=END_HEADERS, stream=1) + frame(DATA, FRAMED, stream=1)
    more = frame(HEADERS, FIELDS, flags=END_HEADERS, stream=1) + frame(DATA, FRAMED + b"\0", stream=1)
    more += frame(DATA, flags=END_STREAM, stream=1)
    with ExitStack() as stack:
        for number in range(160):
            stream = stack.enter_context(socket.create_connection(("127.0.0.1", front.admin.grpc_port())))
            stream.sendall(BEGINNING + (message if number % 2 else more))
        assert is_answered(front)


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_message_that_would_unfold_to_much_more_is_refused(front: Front, bomb: str) -> None:
    message = PredictRequest()
    message.model_spec.name = "m"
    assert (
        predicted(front, message.SerializeToString() + BOMBS[bomb]((LARGEST_MIB << 20) - 4096)) == "RESOURCE_EXHAUSTED"
    )
