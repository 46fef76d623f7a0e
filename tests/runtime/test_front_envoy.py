"""gRPC through the front: the generated configuration in a real Envoy, before real workers, asked by grpcio."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import pytest
from stopgap.errors import FrontError
from stopgap.front.admin import Admin, ClusterHealth
from stopgap.front.config import FrontSettings, configuration
from stopgap.front.xds import publish
from stopgap_protos.serving_pb2 import PredictRequest, PredictResponse

from tests.front_scene import COUNTER, MIB, RANKER, Front, Sandbox, eventually, front_folder, running_front, upstream

PREDICTION = "/tensorflow.serving.PredictionService"
PREDICT = f"{PREDICTION}/Predict"
GET_MODEL_STATUS = "/tensorflow.serving.ModelService/GetModelStatus"


@pytest.fixture
def folder() -> Iterator[Path]:
    with front_folder() as folder:
        yield folder


@dataclass(frozen=True)
class Scene:
    """Two models, asked by gRPC: `ranker` with two workers and `counter` with one."""

    front: Front
    channel: grpc.Channel
    ranker: Sandbox
    counter: Sandbox


def channel_to(front: Front) -> grpc.Channel:
    unlimited = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    return grpc.insecure_channel(f"127.0.0.1:{front.admin.grpc_port()}", options=unlimited)


@pytest.fixture
def scene(folder: Path) -> Iterator[Scene]:
    with ExitStack() as stack:
        ranker = stack.enter_context(Sandbox(folder / "sandboxes", "ranker", 2))
        counter = stack.enter_context(Sandbox(folder / "sandboxes", "counter", 1))
        front = stack.enter_context(running_front(folder, RANKER, COUNTER))
        yield Scene(front, stack.enter_context(channel_to(front)), ranker, counter)


def message(model: str | None, *actions: str, padding: int = 0) -> bytes:
    request = PredictRequest(output_filter=actions)
    if model is not None:
        request.model_spec.name = model
    if padding:
        request.inputs["x"].tensor_content = bytes(padding)
    return request.SerializeToString()


def ask(
    channel: grpc.Channel,
    request: bytes,
    *,
    method: str = PREDICT,
    timeout: float | None = 20,
    metadata: tuple[tuple[str, str], ...] | None = None,
    compression: grpc.Compression | None = None,
) -> PredictResponse:
    call = channel.unary_unary(method, request_serializer=bytes, response_deserializer=PredictResponse.FromString)
    answer = call(request, timeout=timeout, metadata=metadata, compression=compression)
    assert isinstance(answer, PredictResponse)
    return answer


def refusal(channel: grpc.Channel, request: bytes, **settings: object) -> tuple[str, str]:
    with pytest.raises(grpc.RpcError) as caught:
        ask(channel, request, **settings)  # type: ignore[arg-type]  # passed on as they came
    return caught.value.code().name, caught.value.details() or ""


def headers_seen(answer: PredictResponse) -> dict[str, str]:
    headers = json.loads(answer.outputs["headers"].string_val[0])
    assert isinstance(headers, dict)
    return headers


@dataclass
class Load:
    """What callers that ask a model without a pause have met."""

    channel: grpc.Channel
    model: str
    answers: int = 0
    failures: list[str] = field(default_factory=list)

    def ask_once(self) -> None:
        try:
            ask(self.channel, message(self.model))
            self.answers += 1
        except grpc.RpcError as error:
            self.failures.append(f"{error.code().name}: {error.details()}")

    def goes_on(self, answers: int = 20) -> None:
        """Return once there are that many more answers."""
        wanted = self.answers + answers
        eventually(lambda: self.answers >= wanted)


@contextmanager
def under_load(channel: grpc.Channel, model: str, callers: int = 4) -> Iterator[Load]:
    load = Load(channel, model)
    done = threading.Event()

    def keep_asking() -> None:
        while not done.is_set():
            load.ask_once()

    threads = [threading.Thread(target=keep_asking) for _ in range(callers)]
    for thread in threads:
        thread.start()
    try:
        load.goes_on()
        yield load
        load.goes_on()
    finally:
        done.set()
        for thread in threads:
            thread.join(timeout=30)


def test_each_model_gets_its_own_requests_by_every_method(scene: Scene) -> None:
    for method in ("Predict", "Classify", "Regress", "GetModelMetadata"):
        answer = ask(scene.channel, message("counter"), method=f"{PREDICTION}/{method}")
        assert answer.model_spec.signature_name == "counter/0"
        assert answer.outputs["path"].string_val == [f"{PREDICTION}/{method}".encode()]
    assert ask(scene.channel, message("counter"), method=GET_MODEL_STATUS).model_spec.signature_name == "counter/0"
    workers = {ask(scene.channel, message("ranker")).model_spec.signature_name for _ in range(50)}
    assert workers == {"ranker/0", "ranker/1"}


def test_a_workers_own_refusal_arrives_as_it_is(scene: Scene) -> None:
    assert refusal(scene.channel, message("ranker", "refuse")) == ("INVALID_ARGUMENT", "as asked: 100 %")


def test_a_header_of_the_callers_does_not_choose_the_model(scene: Scene) -> None:
    chosen = (("x-stopgap-model", "ranker"), ("x-envoy-original-path", "/"))
    answer = ask(scene.channel, message("counter"), metadata=chosen)
    assert answer.model_spec.signature_name == "counter/0"
    assert not [name for name in headers_seen(answer) if name.startswith("x-envoy-")]
    assert refusal(scene.channel, message(None), metadata=chosen)[0] == "INVALID_ARGUMENT"
    assert refusal(scene.channel, message(None), method=f"{PREDICTION}/Other", metadata=chosen)[0] == "UNIMPLEMENTED"


@pytest.mark.parametrize("name", ["nobody", "Ranker", "ranker2", "a b%c", "größer", "x\0y", "line\nbreak", "n" * 600])
def test_an_unknown_model_is_answered_in_tf_servings_words(scene: Scene, name: str) -> None:
    servable = ("NOT_FOUND", f"Servable not found for request: Latest({name})")
    for method in ("Predict", "Classify", "Regress", "GetModelMetadata"):
        assert refusal(scene.channel, message(name), method=f"{PREDICTION}/{method}") == servable
    status = refusal(scene.channel, message(name), method=GET_MODEL_STATUS)
    assert status == ("NOT_FOUND", f"Could not find any versions of model {name}")


def test_a_long_name_is_answered_with_its_beginning(scene: Scene) -> None:
    beginning = "n" * 1024
    assert refusal(scene.channel, message("n" * 100_000)) == (
        "NOT_FOUND",
        f"Servable not found for request: Latest({beginning})",
    )


@pytest.mark.parametrize("version", [1, 2**31, 2**63 - 1, -1])
def test_a_version_of_an_unknown_model_is_answered_in_tf_servings_words(scene: Scene, version: int) -> None:
    request = PredictRequest()
    request.model_spec.name = "nobody"
    request.model_spec.version.value = version
    servable = ("NOT_FOUND", f"Servable not found for request: Specific(nobody, {version})")
    assert refusal(scene.channel, request.SerializeToString()) == servable
    status = refusal(scene.channel, request.SerializeToString(), method=GET_MODEL_STATUS)
    assert status == ("NOT_FOUND", f"Could not find version {version} of model nobody")
    request.model_spec.name = "counter"
    assert ask(scene.channel, request.SerializeToString()).model_spec.signature_name == "counter/0"


@pytest.mark.parametrize("request_", [message(None), message(""), b"garbage", b"\xff\xff\xff\xff"])
def test_a_request_that_names_no_model_is_an_invalid_argument(scene: Scene, request_: bytes) -> None:
    assert refusal(scene.channel, request_) == ("INVALID_ARGUMENT", "Missing ModelSpec")


def test_garbage_behind_the_models_name_is_the_workers_to_refuse(scene: Scene) -> None:
    assert refusal(scene.channel, message("ranker") + b"\x12\x7f") == ("INVALID_ARGUMENT", "not a message")


@pytest.mark.parametrize(
    "method",
    [
        f"{PREDICTION}/MultiInference",
        f"{PREDICTION}/PredictStreamed",
        "/tensorflow.serving.ModelService/HandleReloadConfigRequest",
        "/tensorflow.serving.SessionService/SessionRun",
        "/some.Other/Method",
    ],
)
def test_an_unknown_method_is_unimplemented(scene: Scene, method: str) -> None:
    assert refusal(scene.channel, message("ranker"), method=method)[0] == "UNIMPLEMENTED"


def test_what_is_not_grpc_gets_an_http_error(scene: Scene) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", scene.front.admin.grpc_port(), timeout=10)
    connection.request("POST", PREDICT, b"{}", {"content-type": "application/json"})
    response = connection.getresponse()
    assert response.status == 415
    assert b"speaks gRPC" in response.read()
    connection.close()


def test_a_compressed_message_is_refused_with_the_remedy(scene: Scene) -> None:
    request = message("ranker", padding=10_000)
    code, text = refusal(scene.channel, request, compression=grpc.Compression.Gzip)
    assert code == "UNIMPLEMENTED"
    assert "identity" in text


def test_the_callers_deadline_reaches_the_worker_and_is_kept(scene: Scene) -> None:
    told = headers_seen(ask(scene.channel, message("ranker"), timeout=7))["grpc-timeout"]
    assert told.endswith("m")
    assert 6000 <= int(told[:-1]) <= 7100  # milliseconds: as gRPC rounds it, less what has passed on the way
    started = time.monotonic()
    assert refusal(scene.channel, message("ranker", "sleep:5"), timeout=0.3)[0] == "DEADLINE_EXCEEDED"
    assert time.monotonic() - started < 2


def test_envoy_itself_ends_a_request_at_its_deadline(scene: Scene) -> None:
    """Said over plain HTTP, because a gRPC client would give up first."""
    connection = http.client.HTTPConnection("127.0.0.1", scene.front.admin.grpc_port(), timeout=10)
    body = message("ranker", "sleep:5")
    headers = {"content-type": "application/grpc", "te": "trailers", "grpc-timeout": "300m"}
    connection.request("POST", PREDICT, b"\0" + len(body).to_bytes(4, "big") + body, headers)
    assert connection.getresponse().getheader("grpc-status") == "4"
    connection.close()


def test_a_message_of_100_mib_passes_in_both_directions(scene: Scene) -> None:
    answer = ask(scene.channel, message("ranker", "echo", padding=100 * MIB), timeout=60)
    assert len(answer.outputs["x"].tensor_content) == 100 * MIB


def test_a_message_over_the_limit_is_refused_with_the_limit_and_its_flag(folder: Path) -> None:
    frame = len(message("ranker", padding=MIB)) - MIB
    with ExitStack() as stack:
        stack.enter_context(Sandbox(folder / "sandboxes", "ranker", 2))
        front = stack.enter_context(running_front(folder, RANKER, max_message_mib=1))
        channel = stack.enter_context(channel_to(front))
        assert ask(channel, message("ranker", padding=MIB - frame)).model_spec.name == "ranker"
        for excess in (1, 5 * MIB):
            code, text = refusal(channel, message("ranker", padding=MIB - frame + excess))
            assert code == "RESOURCE_EXHAUSTED"
            assert "1 MiB" in text
            assert "--max-message-mib" in text
        assert ask(channel, message("ranker")).model_spec.name == "ranker"


def test_a_request_whose_worker_dies_is_asked_again_in_the_lane(scene: Scene, folder: Path) -> None:
    poison = folder / "poison"
    poison.touch()
    answer = ask(scene.channel, message("ranker", f"die-if:{poison}", "echo", padding=20 * MIB))
    assert len(answer.outputs["x"].tensor_content) == 20 * MIB
    assert answer.model_spec.signature_name == "ranker/lane"
    *workers, lane = (process.poll() for process in scene.ranker.processes)
    assert sorted(workers, key=str) == [0, None]
    assert lane is None


def test_the_lane_is_asked_nothing_else(scene: Scene) -> None:
    answered = {ask(scene.channel, message("ranker")).model_spec.signature_name for _ in range(50)}
    assert answered == {"ranker/0", "ranker/1"}


@pytest.fixture
def alone(folder: Path) -> Iterator[tuple[Front, grpc.Channel, Sandbox]]:
    """One model, one worker, asked again."""
    with ExitStack() as stack:
        sandbox = stack.enter_context(Sandbox(folder / "sandboxes", "alone", 1))
        front = stack.enter_context(running_front(folder, upstream("alone")))
        yield front, stack.enter_context(channel_to(front)), sandbox


def test_a_request_whose_only_worker_dies_goes_to_the_lane_and_the_others_wait_for_the_next(
    alone: tuple[Front, grpc.Channel, Sandbox],
) -> None:
    front, channel, sandbox = alone
    poison = front.folder / "poison"
    poison.touch()
    parent = threading.Thread(target=sandbox.replace_when_dead, args=[0])
    parent.start()
    assert ask(channel, message("alone", f"die-if:{poison}")).model_spec.signature_name == "alone/lane"
    assert ask(channel, message("alone")).model_spec.signature_name == "alone/0"
    parent.join(timeout=10)
    assert not poison.exists()


def test_requests_go_to_the_lane_while_the_only_worker_is_away_for_longer_than_its_health_check(
    alone: tuple[Front, grpc.Channel, Sandbox],
) -> None:
    front, channel, sandbox = alone
    with under_load(channel, "alone") as load:
        sandbox.processes[0].kill()
        eventually(lambda: front.admin.cluster_health("alone") == ClusterHealth(healthy=0, workers=1))
        sandbox.replace_when_dead(0)
        eventually(lambda: front.admin.cluster_health("alone") == ClusterHealth(healthy=1, workers=1))
    assert load.failures == []


def test_a_model_that_changes_state_is_never_asked_twice(scene: Scene, folder: Path) -> None:
    """Not even where the caller asks for it in Envoy's own words."""
    poison = folder / "poison"
    poison.touch()
    please = (("x-envoy-retry-on", "reset"), ("x-envoy-max-retries", "3"), ("x-forwarded-for", "127.0.0.1"))
    for metadata in (None, please, please[:2]):
        poison.touch()
        code, text = refusal(scene.channel, message("counter", f"die-if:{poison}"), metadata=metadata)
        assert code == "UNAVAILABLE"
        assert "died" in text
        scene.counter.replace_when_dead(0)
    assert ask(scene.channel, message("counter")).model_spec.signature_name == "counter/0"


def test_poison_is_asked_again_once_and_no_more(scene: Scene) -> None:
    assert refusal(scene.channel, message("ranker", "die"))[0] == "UNAVAILABLE"
    *workers, lane = scene.ranker.processes
    assert lane.wait(timeout=5) == 0
    eventually(lambda: sorted((worker.poll() for worker in workers), key=str) == [0, None])


def test_killed_workers_under_load_cost_no_caller_an_answer(scene: Scene) -> None:
    with under_load(scene.channel, "ranker") as load:
        for worker in (0, 1, 0, 1):
            scene.ranker.processes[worker].kill()
            scene.ranker.replace_when_dead(worker)
            load.goes_on(100)
    assert load.failures == []


def test_models_join_and_leave_while_others_are_asked(scene: Scene, folder: Path) -> None:
    newcomer = upstream("newcomer")
    with Sandbox(folder / "sandboxes", "newcomer", 1), under_load(scene.channel, "ranker") as load:
        for _ in range(5):
            scene.front.route(RANKER, COUNTER, newcomer)
            assert ask(scene.channel, message("newcomer")).model_spec.signature_name == "newcomer/0"
            scene.front.route(RANKER, COUNTER)
            assert refusal(scene.channel, message("newcomer"))[0] == "NOT_FOUND"
    assert load.failures == []


def test_a_request_in_flight_is_finished_after_its_model_has_left(scene: Scene) -> None:
    answers: list[PredictResponse] = []
    caller = threading.Thread(target=lambda: answers.append(ask(scene.channel, message("counter", "sleep:1"))))
    caller.start()
    time.sleep(0.3)
    scene.front.route(RANKER)
    caller.join(timeout=10)
    assert [answer.model_spec.name for answer in answers] == ["counter"]


def test_the_largest_message_can_be_changed_under_load(scene: Scene) -> None:
    port = scene.front.admin.grpc_port()
    fixed = FrontSettings(**{**vars(scene.front.settings), "grpc_port": port, "max_message_mib": 256})
    with under_load(scene.channel, "ranker") as load:
        scene.front.route(RANKER, COUNTER, settings=fixed)
        ask(scene.channel, message("ranker"))
    assert load.failures == []


def test_a_broken_file_is_told_with_envoys_reason_and_changes_nothing(scene: Scene) -> None:
    files = configuration(scene.front.settings, [RANKER, COUNTER])
    breakages = {
        "cds.json": ('"LEAST_REQUEST"', '"CLUSTER_PROVIDED"'),
        "rds.json": ('"cluster": "counter"', '"cluster": ""'),
        "rest_rds.json": ('"cluster": "counter"', '"cluster": ""'),
        "ecds.json": ('"pass_through_mode": false', '"pass_through_mode": null'),
        "lds.json": ("extensions.filters.http.set_filter_state", "unheard_of"),
    }
    for name, (right, wrong) in breakages.items():
        broken = {name: files[name].replace(right, wrong).replace('"version_info": "', '"version_info": "broken')}
        before = scene.front.admin.applied()
        wanted = publish(scene.front.folder / "xds", broken)
        with pytest.raises(FrontError) as caught:
            scene.front.admin.wait_until_applied(wanted, timeout_s=5, since=before, log=scene.front.log)
        assert caught.value.problem == f"The front refused {name} and keeps its old configuration."
        assert len(caught.value.remedy) > len("Its log tells why.")
        with pytest.raises(FrontError, match="refused"):  # also without having looked beforehand
            scene.front.admin.wait_until_applied(wanted, timeout_s=5, log=scene.front.log)
        assert ask(scene.channel, message("counter")).model_spec.signature_name == "counter/0"
        publish(scene.front.folder / "xds", {name: files[name]})


def test_half_a_file_changes_nothing(scene: Scene) -> None:
    text = configuration(scene.front.settings, [RANKER, COUNTER])["cds.json"]
    before = scene.front.admin.applied()
    half = scene.front.folder / "xds" / "half"
    half.write_text(text[: len(text) // 2])
    half.replace(scene.front.folder / "xds" / "cds.json")
    with pytest.raises(FrontError, match=r"refused cds\.json"):
        scene.front.admin.wait_until_applied({"cds.json": "new"}, timeout_s=5, since=before, log=scene.front.log)
    assert ask(scene.channel, message("counter")).model_spec.signature_name == "counter/0"


def test_the_admin_page_tells_health_by_worker(scene: Scene) -> None:
    assert scene.front.admin.ready()
    assert scene.front.admin.cluster_health("ranker") == ClusterHealth(healthy=2, workers=2)
    scene.ranker.processes[1].kill()
    eventually(lambda: scene.front.admin.cluster_health("ranker") == ClusterHealth(healthy=1, workers=2))
    with pytest.raises(FrontError, match="knows no model nobody"):
        scene.front.admin.cluster_health("nobody")


def test_the_admin_socket_is_reached_through_a_path_of_any_length(scene: Scene, tmp_path: Path) -> None:
    long = tmp_path / ("x" * 120)
    long.symlink_to(scene.front.folder / "admin")
    assert Admin(long).ready()


def test_without_envoy_nothing_is_ready(tmp_path: Path) -> None:
    admin = Admin(tmp_path)
    assert not admin.ready()
    with pytest.raises(FrontError, match="does not answer"):
        admin.applied()
    with pytest.raises(FrontError, match=r"within 0.1 s: .*does not answer"):
        admin.wait_until_applied({"cds.json": "1"}, timeout_s=0.1)


def test_a_sandbox_that_is_gone_is_unavailable(scene: Scene) -> None:
    for listening in scene.counter.sockets:
        listening.close()
    for process in scene.counter.processes:
        process.kill()
        process.wait()
    code, text = refusal(scene.channel, message("counter"))
    assert code == "UNAVAILABLE"
    assert "model's" in text
