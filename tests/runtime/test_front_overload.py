"""More than a model can take, at a real Envoy: told so, with when to ask again, and never a growing queue."""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
from stopgap.front.config import CLUSTERS, configuration
from stopgap.front.xds import publish
from stopgap_protos.serving_pb2 import PredictRequest, PredictResponse

from tests.front_scene import COUNTER, MIB, Front, Sandbox, eventually, front_folder, running_front, upstream

PREDICT = "/tensorflow.serving.PredictionService/Predict"
CONNECTIONS, WAITING = 64, 3  # of the one worker, and in this test's queue
RETRIED = upstream("counter")
CALLERS = CONNECTIONS + WAITING + 20


@pytest.fixture
def folder() -> Iterator[Path]:
    with front_folder() as folder:
        yield folder


@pytest.fixture
def front(folder: Path) -> Iterator[Front]:
    """A front with one model, whose worker may have 64 requests; three more may wait."""
    with Sandbox(folder / "sandboxes", "counter", 1), running_front(folder, COUNTER) as front:
        clusters = configuration(front.settings, [COUNTER])[CLUSTERS]
        short = clusters.replace('"max_pending_requests": 4096', f'"max_pending_requests": {WAITING}')
        assert short != clusters
        before = front.admin.applied()
        wanted = publish(folder / "xds", {CLUSTERS: short})
        front.admin.wait_until_applied(wanted, timeout_s=10, since=before, log=front.log)
        yield front


def request(*actions: str, padding: int = 0) -> bytes:
    message = PredictRequest(output_filter=actions)
    message.model_spec.name = "counter"
    message.inputs["x"].tensor_content = bytes(padding)
    return message.SerializeToString()


def call_to(channel: grpc.Channel) -> Any:
    return channel.unary_unary(PREDICT, request_serializer=bytes, response_deserializer=PredictResponse.FromString)


def test_a_full_queue_is_resource_exhausted_with_when_to_ask_again(front: Front) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{front.admin.grpc_port()}") as channel:
        call = call_to(channel)
        calls = [call.future(request("sleep:2"), timeout=30) for _ in range(CALLERS)]
        refused = [one for one in calls if one.code() is not grpc.StatusCode.OK]
        assert 0 < len(refused) < CALLERS
        for one in refused:
            assert one.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert "ask again" in one.details()
            metadata = dict([*one.initial_metadata(), *one.trailing_metadata()])
            assert metadata["grpc-retry-pushback-ms"] == "1000"
        assert call(request(), timeout=20).model_spec.name == "counter"


def test_a_full_queue_is_429_over_rest_with_when_to_ask_again(front: Front) -> None:
    address = ("127.0.0.1", front.admin.rest_port())
    with ExitStack() as stack:
        streams = [stack.enter_context(socket.create_connection(address, timeout=30)) for _ in range(CALLERS)]
        for stream in streams:
            stream.sendall(b"GET /v1/models/counter HTTP/1.1\r\nhost: x\r\ndo: sleep:2\r\n\r\n")
        answers = [answer_from(stream) for stream in streams]
    refused = [answer for answer in answers if answer[0] != 200]
    assert 0 < len(refused) < CALLERS
    for status, again, error in refused:
        assert (status, again) == (429, "1")
        assert "ask again" in error


def test_a_front_whose_memory_is_taken_refuses_and_goes_on(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a memory of 96 MiB, and requests of 7 MiB, each kept to be asked again."""
    monkeypatch.setattr("stopgap.front.config.front_memory_mib", lambda _largest: 96)
    with ExitStack() as stack:
        stack.enter_context(Sandbox(folder / "sandboxes", "counter", 1))
        front = stack.enter_context(running_front(folder, RETRIED, max_message_mib=8))
        options = [("grpc.max_send_message_length", -1)]
        channel = stack.enter_context(grpc.insecure_channel(f"127.0.0.1:{front.admin.grpc_port()}", options=options))
        call = call_to(channel)
        large = request("sleep:2", padding=7 * MIB)
        calls = []
        for _ in range(20):
            calls.append(call.future(large, timeout=30))
            time.sleep(0.1)
        refused = [one for one in calls if one.code() is not grpc.StatusCode.OK]
        assert 0 < len(refused) < len(calls)
        assert {one.code() for one in refused} == {grpc.StatusCode.RESOURCE_EXHAUSTED}
        for one in refused:
            assert "memory" in one.details()
            assert dict(one.trailing_metadata())["grpc-retry-pushback-ms"] == "1000"

        def answers() -> bool:
            with suppress(grpc.RpcError):
                return bool(call(request(), timeout=20).model_spec.name == "counter")
            return False

        eventually(answers)


def answer_from(stream: socket.socket) -> tuple[int, str | None, str]:
    response = http.client.HTTPResponse(stream)
    response.begin()
    return response.status, response.getheader("retry-after"), json.loads(response.read()).get("error", "")
