"""REST at a real worker's socket: what HTTP clients do, gRPC beside it, and bodies that were made to do harm."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stopgap_protos.serving_pb2 import PredictRequest, PredictResponse
from stopgap_protos.tensor_pb2 import DataType

from tests.graphs import echo, mean_of_all
from tests.rest_client import RestClient
from tests.runtime.test_parent import Runtime, runtime

MIB = 1 << 20
MODEL = "echo"
PREDICT = f"/v1/models/{MODEL}:predict"
TENSORS = {
    "x": (DataType.DT_FLOAT, (-1,)),
    "s": (DataType.DT_STRING, (-1,)),
    "s_bytes": (DataType.DT_STRING, (-1,)),
    "half": (DataType.DT_HALF, (-1,)),
    "brain": (DataType.DT_BFLOAT16, (-1,)),
    "u64": (DataType.DT_UINT64, (-1,)),
    "yes": (DataType.DT_BOOL, (-1,)),
}
ONE_ROW = {"x": 0.1, "s": "é", "s_bytes": "a", "half": 0.5, "brain": -2, "u64": 2**64 - 1, "yes": True}


@pytest.fixture(scope="module")
def served(legacy_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    """A worker whose model gives its inputs back."""
    folder = tmp_path_factory.mktemp("wire")
    with runtime(legacy_bundle, echo(folder / "model", TENSORS), folder, name=MODEL) as running:
        yield running


@pytest.fixture(scope="module")
def averaging(legacy_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    """A worker whose model takes any array."""
    folder = tmp_path_factory.mktemp("mean")
    with runtime(legacy_bundle, mean_of_all(folder / "model"), folder, name=MODEL) as running:
        yield running


@pytest.fixture
def stream(served: Runtime) -> Iterator[socket.socket]:
    """A connection to the worker."""
    with socket.socket(socket.AF_UNIX) as connected:
        connected.settimeout(30)
        connected.connect(str(served.worker().path))
        yield connected


def client_of(running: Runtime) -> RestClient:
    return RestClient(f"unix:{running.worker().path}")


def columns(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {alias: [row[alias] for row in rows] for alias in rows[0]}


def post(document: object, *headers: str) -> bytes:
    """A whole request; with headers of its own, the body is left to them."""
    body = json.dumps(document).encode()
    lines = [f"POST {PREDICT} HTTP/1.1", "host: t", *(headers or [f"content-length: {len(body)}"])]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + (b"" if headers else body)


def answer(stream: socket.socket, method: str = "POST") -> tuple[HTTPResponse, bytes]:
    response = HTTPResponse(stream, method=method)
    response.begin()
    return response, response.read()


def read_until(stream: socket.socket, end: bytes) -> bytes:
    received = b""
    while not received.endswith(end):
        piece = stream.recv(1)
        assert piece, f"the connection ended after {received!r}"
        received += piece
    return received


# --- Values --------------------------------------------------------------------------------------------------------


def test_rows_come_back_as_rows_and_columns_as_columns(served: Runtime) -> None:
    rows = [ONE_ROW, {**ONE_ROW, "x": 16777215, "s": {"b64": "/w=="}, "u64": 0, "yes": False}]
    expected = [{**row, "s_bytes": {"b64": "YQ=="}, "brain": -2.0} for row in rows]
    assert client_of(served).post(PREDICT, {"instances": rows}).json() == {"predictions": expected}
    assert client_of(served).post(PREDICT, {"inputs": columns(rows)}).json() == {"outputs": columns(expected)}


def test_nan_and_infinity_pass_through(served: Runtime) -> None:
    words = "[NaN,Infinity,-Infinity,0.1]"
    inputs = {**{alias: [] for alias in TENSORS}, "x": 0}
    body = json.dumps({"inputs": inputs}).replace('"x": 0', f'"x": {words}').encode()
    assert f'"x":{words}'.encode() in client_of(served).post(PREDICT, body).body


def test_an_empty_batch_comes_back_empty(served: Runtime) -> None:
    nothing: dict[str, list[Any]] = {alias: [] for alias in TENSORS}
    assert client_of(served).post(PREDICT, {"inputs": nothing}).json() == {"outputs": nothing}


def test_status_and_metadata_are_there(served: Runtime) -> None:
    (version,) = client_of(served).status(MODEL)["model_version_status"]
    assert (version["version"], version["state"]) == ("1", "AVAILABLE")
    signatures = client_of(served).metadata(MODEL, 1)["metadata"]["signature_def"]["signature_def"]
    assert set(signatures["serving_default"]["inputs"]) == set(TENSORS)


def test_a_million_values_take_no_longer_than_reading_them_asks_for(averaging: Runtime) -> None:
    values = np.arange(10**6).reshape(1000, 200, 5) / 1e6
    for nested in (values.tolist(), values.ravel().tolist(), (values * 1e6 % 256).astype(int).tolist()):
        body = json.dumps({"inputs": nested}).encode()
        began = time.monotonic()
        outputs = client_of(averaging).post(PREDICT, body).json()["outputs"]
        assert time.monotonic() - began < 5  # element by element it would be minutes
        assert outputs == pytest.approx(np.mean(nested), rel=1e-3)


# --- HTTP ----------------------------------------------------------------------------------------------------------


def test_a_client_that_waits_for_continue_is_told_to_go_on(stream: socket.socket) -> None:
    """So does curl before large bodies, and else it loses a second."""
    body = json.dumps({"instances": [ONE_ROW]}).encode()
    for _ in range(2):
        stream.sendall(post(None, f"content-length: {len(body)}", "expect: 100-continue"))
        assert read_until(stream, b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        stream.sendall(body)
        response, content = answer(stream)
        assert (response.status, len(json.loads(content)["predictions"])) == (200, 1)


def test_a_client_that_does_not_wait_after_all_is_answered_once(stream: socket.socket) -> None:
    whole = post({"instances": [ONE_ROW]}).replace(b"host: t", b"host: t\r\nexpect: 100-continue")
    stream.sendall(whole)
    assert read_until(stream, b"\r\n").startswith(b"HTTP/1.1 200 ")


def test_a_body_that_is_announced_as_too_large_is_refused_before_it_is_sent(stream: socket.socket) -> None:
    stream.sendall(post(None, f"content-length: {129 * MIB}", "expect: 100-continue"))
    response, content = answer(stream)
    assert response.status == 413
    assert b"over the limit" in content


def test_head_gets_the_headers_of_get_and_no_body(stream: socket.socket) -> None:
    lengths = []
    for method in ("HEAD", "GET", "HEAD"):
        stream.sendall(f"{method} /v1/models/{MODEL} HTTP/1.1\r\nhost: t\r\n\r\n".encode())
        response, content = answer(stream, method)
        assert response.status == 200
        assert bool(content) == (method == "GET")
        lengths.append(response.getheader("content-length"))
    assert len(set(lengths)) == 1


def test_a_chunked_body_is_read_whole(stream: socket.socket) -> None:
    body = json.dumps({"instances": [ONE_ROW]}).encode()
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:7], body[7:]))
    stream.sendall(post(None, "transfer-encoding: chunked") + chunks + b"0\r\n\r\n")
    assert answer(stream)[0].status == 200


def test_one_connection_carries_both_faces_in_turn(stream: socket.socket, served: Runtime) -> None:
    request = PredictRequest()
    request.model_spec.name = MODEL
    message = request.SerializeToString()
    frame = b"\0" + len(message).to_bytes(4, "big") + message
    grpc = (
        b"POST /tensorflow.serving.PredictionService/Predict HTTP/1.1\r\nhost: t\r\ncontent-type: application/grpc\r\n"
        b"content-length: %d\r\n\r\n" % len(frame)
    )
    for _ in range(3):
        stream.sendall(post({"instances": [ONE_ROW]}))
        assert answer(stream)[0].getheader("content-type") == "application/json"
        stream.sendall(grpc + frame)
        response, _ = answer(stream)
        assert response.getheader("content-type") == "application/grpc"
        assert "input size does not match signature" in str(response.getheader("grpc-message"))
    assert len(served.worker_pids()) == 1


def test_an_error_leaves_the_connection_open_for_the_next_request(stream: socket.socket) -> None:
    wrong: list[Any] = [{"inputs": {}}, {"instances": [1]}, []]
    for body in wrong:
        stream.sendall(post(body))
        response, content = answer(stream)
        assert (response.status, list(json.loads(content))) == (400, ["error"])
    stream.sendall(post({"instances": [ONE_ROW]}))
    assert answer(stream)[0].status == 200


def test_callers_at_once_get_their_own_answers(averaging: Runtime) -> None:
    def mean(number: int) -> float:
        reply = client_of(averaging).post(PREDICT, {"inputs": [[float(number)] * 100] * (number + 1)})
        value: float = reply.json()["outputs"]
        return value

    with ThreadPoolExecutor(8) as callers:
        assert list(callers.map(mean, range(200))) == [float(number) for number in range(200)]


# --- Bodies that were made to do harm ------------------------------------------------------------------------------

HOSTILE: dict[str, Callable[[], bytes]] = {
    "a string of 100 MB": lambda: b'{"inputs":"' + b"a" * (100 * MIB) + b'"}',
    "a wide string of 100 MB": lambda: '{"inputs":"😀'.encode() + b"a" * (100 * MIB) + b'"}',
    "a million names": lambda: json.dumps({f"name {number}": number for number in range(10**6)}).encode(),
    "a million names in columns": lambda: json.dumps({"inputs": {f"{n}": n for n in range(10**6)}}).encode(),
    "the same name a million times": lambda: b'{"inputs":1' + b',"inputs":1' * 10**6 + b"}",
    "1e400": lambda: b'{"inputs":[1e400]}',
    "a number of a million digits": lambda: b'{"inputs":[' + b"1" * MIB + b"]}",
    "half a surrogate": lambda: b'{"inputs":"\\ud800"}',
    "no UTF-8": lambda: b'{"inputs":"\xff\xfe"}',
    "100,000 lists in lists": lambda: b'{"inputs":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "1,000 lists in lists": lambda: b'{"inputs":' + b"[" * 1000 + b"1" + b"]" * 1000 + b"}",
    "1,000 lists around a word": lambda: b'{"inputs":' + b"[" * 1000 + b"NaN" + b"]" * 1000 + b"}",
    "1,000 objects in objects": lambda: b'{"inputs":1,"a":' + b'{"a":' * 1000 + b"1" + b"}" * 1001,
    "a wrong value behind millions": lambda: b'{"inputs":[' + b"0.5," * (8 * MIB) + b'"a"]}',
    "a list that is ragged at its end": lambda: b'{"inputs":[' + b"[1]," * MIB + b"[]]}",
    "quotes without end": lambda: b'{"inputs":[NaN,"' + b'\\"' * (8 * MIB),
    "zeros": lambda: b"\0" * MIB,
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_body_gets_a_400_and_the_worker_lives_on(averaging: Runtime, what: str) -> None:
    before = averaging.worker_pids()
    reply = client_of(averaging).post(PREDICT, HOSTILE[what]())
    assert reply.status == 400
    assert len(json.loads(reply.body)["error"]) < 1000
    assert averaging.worker_pids() == before
    assert client_of(averaging).post(PREDICT, {"inputs": [1, 2]}).json() == {"outputs": 1.5}


@pytest.mark.parametrize("value", ["[]", "{}", "0", '""'])
def test_a_body_that_would_take_gigabytes_gets_a_429_and_the_worker_lives_on(averaging: Runtime, value: str) -> None:
    before = averaging.worker_pids()
    reply = client_of(averaging).post(PREDICT, b'{"inputs":[' + f"{value},".encode() * (24 * MIB) + b"0]}")
    assert (reply.status, "use gRPC" in json.loads(reply.body)["error"]) == (429, True)
    assert averaging.worker_pids() == before


def test_grpc_callers_are_answered_while_a_large_body_is_read(averaging: Runtime) -> None:
    request = PredictRequest()
    request.model_spec.name = MODEL
    tensor = request.inputs["x"]
    tensor.dtype = DataType.DT_FLOAT
    tensor.tensor_shape.dim.add(size=2)
    tensor.float_val.extend([1, 2])
    body = b'{"inputs":[' + b"0.5," * (4 * MIB) + b"0.5]}"
    caller = threading.Thread(target=client_of(averaging).post, args=(PREDICT, body))
    caller.start()
    answered = 0
    while caller.is_alive():
        reply = averaging.worker().predict(request, timeout_s=10)
        assert PredictResponse.FromString(reply.message).outputs["mean"].float_val[0] == 1.5
        answered += 1
    assert answered > 1
