"""REST through the front: the generated configuration in a real Envoy, before real workers, asked over plain HTTP."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Union

import pytest

from tests.front_scene import COUNTER, MIB, RANKER, Front, Sandbox, eventually, front_folder, running_front, upstream

PREDICT = "/v1/models/ranker:predict"
NOT_READY = "Not ready: a model behind this address has no worker that answers its health check, or there is no model."

Body = Union[bytes, Iterable[bytes]]


@dataclass(frozen=True)
class Answer:
    """What came back: always JSON."""

    status: int
    headers: Mapping[str, str]
    content: Any

    @property
    def error(self) -> tuple[int, str]:
        assert list(self.content) == ["error"]
        return self.status, self.content["error"]


class Caller:
    """One connection to a front's REST port, opened again where the front has closed it."""

    def __init__(self, front: Front) -> None:
        self.address = ("127.0.0.1", front.admin.rest_port())
        self._connection = http.client.HTTPConnection(*self.address, timeout=30)

    def __enter__(self) -> Caller:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def get(self, path: str, **headers: str) -> Answer:
        return self.ask("GET", path, **headers)

    def post(self, path: str, body: Body = b"{}", /, **headers: str) -> Answer:
        return self.ask("POST", path, body, **headers)

    def ask(self, method: str, path: str, body: Body | None = None, /, **headers: str) -> Answer:
        """The headers' names with dashes for underscores."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self._connection.request(method, path, body, named)
        return answer_of(self._connection.getresponse())

    def send(self, request: bytes) -> Answer:
        """Every byte of a request of one's own, on a connection of its own."""
        with socket.create_connection(self.address, timeout=10) as stream:
            stream.sendall(request)
            return answer_from(stream)


def answer_from(stream: socket.socket) -> Answer:
    response = http.client.HTTPResponse(stream)
    response.begin()
    return answer_of(response)


def answer_of(response: http.client.HTTPResponse) -> Answer:
    headers = dict(response.getheaders())
    assert headers["content-type"] == "application/json"
    return Answer(response.status, headers, json.loads(response.read()))


@pytest.fixture
def folder() -> Iterator[Path]:
    with front_folder() as folder:
        yield folder


@dataclass(frozen=True)
class Scene:
    """Two models, asked by REST: `ranker` with two workers and `counter` with one."""

    front: Front
    caller: Caller
    ranker: Sandbox
    counter: Sandbox


@pytest.fixture
def scene(folder: Path) -> Iterator[Scene]:
    with ExitStack() as stack:
        ranker = stack.enter_context(Sandbox(folder / "sandboxes", "ranker", 2))
        counter = stack.enter_context(Sandbox(folder / "sandboxes", "counter", 1))
        front = stack.enter_context(running_front(folder, RANKER, COUNTER))
        yield Scene(front, stack.enter_context(Caller(front)), ranker, counter)


def test_each_model_gets_whatever_is_below_its_name(scene: Scene) -> None:
    below = ("", ":predict", ":classify", "/metadata", "/versions/3", "/versions/3:predict", "/no/such?thing=1", ":x/y")
    for rest in below:
        for method in ("GET", "POST", "PUT"):
            seen = scene.caller.ask(method, f"/v1/models/counter{rest}").content
            assert (seen["worker"], seen["method"], seen["path"]) == ("counter/0", method, f"/v1/models/counter{rest}")
    assert scene.caller.get("/V1/Models/counter").content["worker"] == "counter/0"
    workers = {scene.caller.post(PREDICT).content["worker"] for _ in range(50)}
    assert workers == {"ranker/0", "ranker/1"}


def test_a_workers_own_refusal_arrives_as_it_is(scene: Scene) -> None:
    assert scene.caller.post(PREDICT, do="refuse").error == (400, "as asked: 100 %")


def test_http_2_is_spoken_as_well(scene: Scene) -> None:
    address = "http://{}:{}".format(*scene.caller.address)
    done = subprocess.run(
        ["nghttp", f"{address}/v1/models/ranker/metadata"], capture_output=True, timeout=10, check=True
    )
    assert json.loads(done.stdout)["path"] == "/v1/models/ranker/metadata"
    assert scene.caller.send(b"GET /v1/models/ranker HTTP/1.0\r\n\r\n").content["path"] == "/v1/models/ranker"


def test_a_name_takes_nothing_from_a_longer_one_or_from_one_that_a_pattern_would_match(scene: Scene) -> None:
    dotted = upstream("a.b-c")
    with Sandbox(scene.front.folder / "sandboxes", dotted.name, 1):
        scene.front.route(RANKER, COUNTER, dotted)
        assert scene.caller.get("/v1/models/a.b-c").content["worker"] == "a.b-c/0"
        for name in ("axb-c", "a.b-cd", "xa.b-c", "A.B-C", "ranker2", "rank", "ranker%3Apredict", "ranker%2F"):
            assert scene.caller.get(f"/v1/models/{name}").error == (404, f"Could not find any versions of model {name}")


NO_LATEST = (404, "Servable not found for request: Latest(nobody)")
NO_SPECIFIC = (404, "Servable not found for request: Specific(nobody, 12)")
NO_NAME = (400, "Missing model name in request.")


@pytest.mark.parametrize(
    ("method", "path", "error"),
    [
        ("POST", "/v1/models/nobody:predict", NO_LATEST),
        ("POST", "/v1/models/nobody:classify", NO_LATEST),
        ("POST", "/v1/models/nobody:regress?a=b:predict", NO_LATEST),
        ("POST", "/v1/models/nobody/versions/12:predict", NO_SPECIFIC),
        ("POST", "/V1/MODELS/nobody/Versions/0012:predict?x", NO_SPECIFIC),
        ("GET", "/v1/models/nobody/metadata", NO_LATEST),
        ("GET", "/v1/models/nobody/versions/12/metadata?x", NO_SPECIFIC),
        ("GET", "/v1/models/nobody", (404, "Could not find any versions of model nobody")),
        ("GET", "/v1/models/nobody/versions/0", (404, "Could not find version 0 of model nobody")),
        ("GET", "/v1/models/metadata", (404, "Could not find any versions of model metadata")),
        ("GET", "/v1/models", NO_NAME),
        ("GET", "/v1/models?name=nobody", NO_NAME),
        ("GET", "/V1/models/versions/3", NO_NAME),
        ("GET", "/v1/models/versions/3/metadata", NO_NAME),
        ("GET", "/v1/models/nobody:predict", (400, "Malformed request: GET /v1/models/nobody:predict")),
        ("POST", "/v1/models/nobody", (400, "Malformed request: POST /v1/models/nobody")),
        ("POST", "/v1/models/nobody:PREDICT?x", (400, "Malformed request: POST /v1/models/nobody:PREDICT")),
        ("POST", "/v1/models/nobody:predict/", (400, "Malformed request: POST /v1/models/nobody:predict/")),
        ("GET", "/v1/models/nobody/versions/x", (400, "Malformed request: GET /v1/models/nobody/versions/x")),
        ("GET", "/v1/models/", (400, "Malformed request: GET /v1/models/")),
        ("POST", "/v1/models", (400, "Malformed request: POST /v1/models")),
        ("DELETE", "/v1/models/nobody", (400, "Malformed request: DELETE /v1/models/nobody")),
        ("GET", "/v1/", (400, "Malformed request: GET /v1/")),
    ],
)
def test_what_no_model_takes_is_refused_in_tf_servings_words(
    scene: Scene, method: str, path: str, error: tuple[int, str]
) -> None:
    assert scene.caller.ask(method, path).error == error


@pytest.mark.parametrize("path", ["/", "/v1", "/v2/models/ranker", "/v1x", "/models/ranker", "//v1/models/ranker"])
def test_what_is_not_tf_servings_is_not_found(scene: Scene, path: str) -> None:
    status, text = scene.caller.get(path).error
    assert status == 404
    assert "/v1/models/NAME" in text


@pytest.mark.parametrize(
    "name", ['"}', "\\", "\\u0000", '","x"="', "%0d%0aset-cookie%3ax", "<script>", "%PATH%", "n" * 2000]
)
def test_a_callers_bytes_stay_within_their_string(scene: Scene, name: str) -> None:
    answer = scene.caller.get(f"/v1/models/{name}")
    assert answer.error == (404, f"Could not find any versions of model {name}")
    assert answer.headers.keys() == {"content-length", "content-type", "date", "server"}
    assert scene.caller.get(f"/v1/models/{name}/").error == (400, f"Malformed request: GET /v1/models/{name}/")


@pytest.mark.parametrize("byte", [b"\xff", b"\x00", b"\x7f", b"\r", b"\t", "ü".encode()])
def test_bytes_that_are_in_no_path_are_refused(scene: Scene, byte: bytes) -> None:
    assert scene.caller.send(b"GET /v1/models/a" + byte + b"b HTTP/1.1\r\nhost: x\r\n\r\n").error[0] == 400


def test_what_envoy_itself_refuses_is_json_as_well(scene: Scene) -> None:
    refusals = {
        b"garbage\r\n\r\n": (400, "codec_error"),
        b"GET /healthz HTTP/1.1\r\n\r\n": (400, "host"),
        b"GET /healthz HTTP/1.1\r\nhost: x\r\ny: " + b"z" * 70_000 + b"\r\n\r\n": (431, "headers"),
        b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n": (403, "upgrade"),
        b"OPTIONS * HTTP/1.1\r\nhost: x\r\n\r\n": (404, "rejected"),
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n": (400, "http1"),
    }
    for request, (status, word) in refusals.items():
        seen, text = scene.caller.send(request).error
        assert seen == status
        assert text.startswith("The request cannot be taken: ")
        assert word in text


def test_a_name_that_is_too_long_to_be_repeated_is_not(scene: Scene) -> None:
    assert scene.caller.get("/v1/models/" + "n" * 50_000).error == (404, "Could not find any versions of model -")


def test_a_callers_notes_to_the_front_do_not_count(scene: Scene) -> None:
    """Neither ours nor Envoy's: no other model, no deadline, no asking again."""
    impatient = {"x_envoy_upstream_rq_timeout_ms": "100", "grpc_timeout": "100m", "x_forwarded_for": "127.0.0.1"}
    chosen = {"x_stopgap_model": "counter", "x_stopgap_version": "1", "x_envoy_original_path": "/v1/models/counter"}
    seen = scene.caller.post(PREDICT, do="sleep:0.5", **impatient, **chosen).content
    assert seen["worker"].startswith("ranker/")
    assert seen["path"] == PREDICT
    assert not {name for name in seen["headers"] if name.startswith("x-envoy-")}


def test_a_body_of_100_mib_passes_in_both_directions(scene: Scene) -> None:
    body = b'"' + b"x" * (100 * MIB) + b'"'
    assert scene.caller.post(PREDICT, body, do="echo").content == "x" * (100 * MIB)


def test_a_body_over_the_limit_is_refused_with_the_limit_and_its_flag(folder: Path) -> None:
    with ExitStack() as stack:
        stack.enter_context(Sandbox(folder / "sandboxes", "ranker", 2))
        front = stack.enter_context(running_front(folder, RANKER, max_message_mib=1))
        caller = stack.enter_context(Caller(front))
        assert caller.post(PREDICT, b"x" * MIB).content["length"] == MIB
        assert caller.post(PREDICT, iter([b"x" * MIB])).content["length"] == MIB
        for body in (b"x" * (MIB + 1), b"x" * (60 * MIB), iter([b"x" * (MIB + 1)])):
            status, text = caller.post(PREDICT, body).error
            assert status == 413
            assert "1 MiB" in text
            assert "--max-message-mib" in text
        assert caller.post("/v1/models/nobody:predict", b"x" * (MIB + 1)).status == 413
        assert caller.post(PREDICT).status == 200


def test_a_body_over_the_limit_is_refused_over_http_2_as_well(folder: Path) -> None:
    body = folder / "body"
    body.write_bytes(b"x" * (3 * MIB))
    with Sandbox(folder / "sandboxes", "ranker", 2), running_front(folder, RANKER, max_message_mib=1) as front:
        address = f"http://127.0.0.1:{front.admin.rest_port()}{PREDICT}"
        done = subprocess.run(["nghttp", f"--data={body}", address], capture_output=True, timeout=10, check=True)
        assert "1 MiB" in json.loads(done.stdout)["error"]


def test_who_sends_slowly_keeps_no_worker_waiting(scene: Scene) -> None:
    with ExitStack() as stack:
        for _ in range(100):  # a worker takes 64
            slow = stack.enter_context(socket.create_connection(scene.caller.address))
            slow.sendall(b"POST /v1/models/counter:predict HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n{")
        time.sleep(0.2)
        assert scene.caller.post("/v1/models/counter:predict").status == 200


def test_who_never_finishes_sending_is_let_go(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stopgap.front.listener.ARRIVAL_S", 0)
    with ExitStack() as stack:
        stack.enter_context(Sandbox(folder / "sandboxes", "ranker", 2))
        # A second for its MiB. From the start: a listener that takes another's place resets who is in that one's queue.
        caller = stack.enter_context(Caller(stack.enter_context(running_front(folder, RANKER, max_message_mib=1))))
        status, text = caller.send(
            b"POST " + PREDICT.encode() + b" HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n{"
        ).error
        assert (status, text) == (408, "The request cannot be taken: request_overall_timeout")
        assert caller.post(PREDICT, do="sleep:1.5").status == 200


def test_a_request_whose_worker_dies_is_asked_again_in_the_lane(scene: Scene, folder: Path) -> None:
    poison = folder / "poison"
    poison.touch()
    body = b'"' + b"x" * (20 * MIB) + b'"'
    assert scene.caller.post(PREDICT, body, do=f"die-if:{poison} echo").content == "x" * (20 * MIB)
    *workers, lane = (process.poll() for process in scene.ranker.processes)
    assert sorted(workers, key=str) == [0, None]
    assert lane is None


def test_a_request_whose_only_worker_dies_goes_to_the_lane_and_the_others_wait_for_the_next(folder: Path) -> None:
    poison = folder / "poison"
    poison.touch()
    alone = upstream("alone")
    with ExitStack() as stack:
        sandbox = stack.enter_context(Sandbox(folder / "sandboxes", "alone", 1))
        caller = stack.enter_context(Caller(stack.enter_context(running_front(folder, alone))))
        parent = threading.Thread(target=sandbox.replace_when_dead, args=[0])
        parent.start()
        assert caller.post("/v1/models/alone:predict", do=f"die-if:{poison}").content["worker"] == "alone/lane"
        assert caller.post("/v1/models/alone:predict").content["worker"] == "alone/0"
        parent.join(timeout=10)
        assert not poison.exists()


def test_a_model_that_changes_state_is_never_asked_twice(scene: Scene, folder: Path) -> None:
    """Not even where the caller asks for it in Envoy's own words."""
    poison = folder / "poison"
    for please in ({}, {"x_envoy_retry_on": "reset", "x_envoy_max_retries": "3", "x_forwarded_for": "127.0.0.1"}):
        poison.touch()
        status, text = scene.caller.post("/v1/models/counter:predict", do=f"die-if:{poison}", **please).error
        assert status == 503
        assert "died" in text
        scene.counter.replace_when_dead(0)
    assert scene.caller.post("/v1/models/counter:predict").content["worker"] == "counter/0"


def test_poison_is_asked_again_once_and_no_more(scene: Scene) -> None:
    assert scene.caller.post(PREDICT, do="die").error[0] == 503
    *workers, lane = scene.ranker.processes
    assert lane.wait(timeout=5) == 0
    eventually(lambda: sorted((worker.poll() for worker in workers), key=str) == [0, None])


def test_a_sandbox_that_is_gone_is_unavailable(scene: Scene) -> None:
    close(scene.counter)
    status, text = scene.caller.get("/v1/models/counter").error
    assert status == 503
    assert "model's" in text


def test_health_is_envoys_own(folder: Path) -> None:
    with running_front(folder, COUNTER) as front, Caller(front) as caller:
        answer = caller.get("/healthz")
        assert (answer.status, answer.content) == (200, {"status": "ok"})


def test_readiness_follows_the_workers(scene: Scene) -> None:
    def ready() -> bool:
        return scene.caller.get("/readyz?verbose").status == 200

    assert scene.caller.get("/readyz").content == {"status": "ok"}
    scene.ranker.processes[0].kill()
    eventually(lambda: scene.front.admin.cluster_health("ranker").healthy == 1)
    assert ready()  # one of its workers is enough
    scene.ranker.processes[1].kill()
    eventually(lambda: not ready())
    assert scene.caller.get("/readyz").error == (503, NOT_READY)
    assert scene.caller.get("/healthz").status == 200
    scene.ranker.replace_when_dead(1)
    eventually(ready)
    close(scene.counter)
    eventually(lambda: not ready())
    scene.front.route(RANKER)
    assert ready()


def test_a_front_without_a_model_is_not_ready(folder: Path) -> None:
    with ExitStack() as stack:
        front = stack.enter_context(running_front(folder))
        caller = stack.enter_context(Caller(front))
        assert caller.get("/readyz").error == (503, NOT_READY)
        stack.enter_context(Sandbox(folder / "sandboxes", "counter", 1))
        front.route(COUNTER)
        eventually(lambda: caller.get("/readyz").status == 200)
        front.route()
        assert caller.get("/readyz").error == (503, NOT_READY)
        assert caller.get("/v1/models/counter").error == (404, "Could not find any versions of model counter")


def test_no_connection_is_lost_when_models_join_and_leave(scene: Scene) -> None:
    newcomer = upstream("newcomer")
    with ExitStack() as stack:
        stack.enter_context(Sandbox(scene.front.folder / "sandboxes", "newcomer", 1))
        stream = stack.enter_context(socket.create_connection(scene.caller.address, timeout=10))
        channel = stack.enter_context(
            socket.create_connection(("127.0.0.1", scene.front.admin.grpc_port()), timeout=10)
        )

        def statuses() -> list[int]:
            return [status_of(stream, f"/v1/models/{model}") for model in ("ranker", "newcomer")]

        for _ in range(5):
            scene.front.route(RANKER, COUNTER, newcomer)
            assert (statuses(), status_of(stream, "/readyz")) == ([200, 200], 200)
            scene.front.route(RANKER, COUNTER)
            assert (statuses(), status_of(stream, "/readyz")) == ([200, 404], 200)
            assert status_of(channel, "/") == 415


def status_of(stream: socket.socket, path: str) -> int:
    """Of a request on a connection that stays open."""
    stream.sendall(f"GET {path} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
    response = http.client.HTTPResponse(stream)
    response.begin()
    response.read()
    assert response.getheader("connection") is None
    return response.status


def close(sandbox: Sandbox) -> None:
    """Ends the workers and takes their sockets away."""
    for listening in sandbox.sockets:
        listening.close()
    for process in sandbox.processes:
        process.kill()
        process.wait()
