"""What a front says and counts of each model: in a real Envoy, before real workers, asked by grpcio and over HTTP."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from stopgap.errors import FrontError
from stopgap.front.admin import Admin
from stopgap.front.sunset_headers import http_date
from stopgap.front.traffic import Answered, Traffic, traffic

from tests.front_scene import COUNTER, RANKER, SUNSET, Front, Sandbox, eventually, front_folder, running_front, upstream
from tests.runtime.test_front_envoy import PREDICT, channel_to, message

# A name in which other names are, and Envoy's own words.
DOTTED = upstream("ranker.grpc.upstream_rq_200")
HEADERS = {"deprecation": "@1795348800", "sunset": "Wed, 31 Mar 2027 23:59:59 GMT"}


@dataclass(frozen=True)
class Scene:
    """Three models behind a front, asked over both protocols."""

    front: Front
    channel: grpc.Channel
    sandboxes: dict[str, Sandbox]

    def grpc(self, model: str, *actions: str) -> dict[str, str]:
        """What comes with an answer, or with a refusal: in front of the message or, where there is none, behind."""
        done = self.asked(model, *actions)
        done.exception()  # waits for its end, whatever that is
        metadata = (*done.initial_metadata(), *done.trailing_metadata())
        return {key: value for key, value in metadata if key in HEADERS}

    def asked(self, model: str, *actions: str) -> Any:
        """The call, under way."""
        predict: Any = self.channel.unary_unary
        return predict(PREDICT).future(message(model, *actions), timeout=20)

    def rest(self, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str]]:
        connection = http.client.HTTPConnection("127.0.0.1", self.front.admin.rest_port(), timeout=20)
        try:
            connection.request(method, path, b"{}" if method == "POST" else None, headers)
            response = connection.getresponse()
            return response.status, {key: value for key, value in response.getheaders() if key in HEADERS}
        finally:
            connection.close()

    def traffic(self, *names: str) -> list[Traffic]:
        return list(traffic(self.front.admin, names).values())


@pytest.fixture
def scene() -> Iterator[Scene]:
    with front_folder() as folder, ExitStack() as stack:
        models = (RANKER, COUNTER, DOTTED)
        sandboxes = {
            model.name: stack.enter_context(Sandbox(folder / "sandboxes", model.name, model.workers))
            for model in models
        }
        front = stack.enter_context(running_front(folder, *models))
        yield Scene(front, stack.enter_context(channel_to(front)), sandboxes)


def test_every_answer_says_since_when_its_model_is_deprecated_and_when_it_will_be_gone(scene: Scene) -> None:
    assert scene.grpc("ranker") == HEADERS
    assert scene.grpc("ranker", "refuse") == HEADERS
    assert scene.rest("/v1/models/ranker") == (200, HEADERS)
    assert scene.rest("/v1/models/ranker:predict", "POST", do="refuse") == (400, HEADERS)


def test_so_does_what_the_front_says_itself_of_a_model_but_not_of_others(scene: Scene) -> None:
    assert scene.grpc("counter", "die") == HEADERS
    for listening in scene.sandboxes["counter"].sockets:
        listening.close()
    assert scene.grpc("counter") == HEADERS
    assert scene.rest("/v1/models/counter") == (503, HEADERS)
    assert scene.grpc("nobody") == {}
    assert scene.rest("/v1/models/nobody") == (404, {})
    assert scene.rest("/healthz") == (200, {})


def test_a_date_that_moves_is_said_from_then_on_and_the_others_stay(scene: Scene) -> None:
    later = SUNSET.replace(year=2028)
    scene.front.route(replace(RANKER, sunset_at=later), COUNTER, DOTTED)
    assert scene.grpc("ranker")["sunset"] == http_date(later) == "Fri, 31 Mar 2028 23:59:59 GMT"
    assert scene.rest("/v1/models/ranker")[1]["sunset"] == http_date(later)
    assert scene.grpc("counter") == HEADERS


def test_answers_are_counted_by_model_protocol_and_code(scene: Scene) -> None:
    for actions in ((), (), ("refuse",)):
        scene.grpc("ranker", *actions)
    scene.grpc(DOTTED.name)
    scene.rest("/v1/models/ranker")
    scene.rest("/v1/models/ranker:predict", "POST", do="refuse")
    scene.rest(f"/v1/models/{DOTTED.name}")
    ranker, dotted, nobody = scene.traffic("ranker", DOTTED.name, "nobody")
    assert set(ranker.answered) == {
        Answered("grpc", "Predict", "0", 2),
        Answered("grpc", "Predict", "3", 1),
        Answered("rest", "", "200", 1),
        Answered("rest", "", "400", 1),
    }
    assert set(dotted.answered) == {Answered("grpc", "Predict", "0", 1), Answered("rest", "", "200", 1)}
    assert (nobody.answered, nobody.durations.count) == ((), 0)


def test_times_are_counted_in_seconds(scene: Scene) -> None:
    scene.grpc("ranker", "sleep:0.3")
    scene.grpc("ranker")
    # Envoy adds up what its threads have counted every five seconds.
    eventually(lambda: scene.traffic("ranker")[0].durations.count == 2, timeout_s=30)
    (ranker,) = scene.traffic("ranker")
    assert ranker.durations.up_to_s[0.25] == 1
    assert ranker.durations.up_to_s[60.0] == 2
    assert 0.28 < ranker.durations.sum_s < 20


def test_a_lost_worker_and_who_has_to_wait_are_counted(scene: Scene) -> None:
    scene.grpc("counter", "die")
    (counter,) = scene.traffic("counter")
    assert (counter.lost, counter.retried, counter.refused) == (1, 0, 0)
    assert Answered("grpc", "Predict", "14", 1) in counter.answered
    call = scene.asked("ranker", "sleep:5")
    try:
        eventually(lambda: scene.traffic("ranker")[0].in_flight == 1)
    finally:
        call.cancel()
    eventually(lambda: scene.traffic("ranker")[0].in_flight == 0)


def test_without_envoy_there_is_nothing_to_tell(tmp_path: Path) -> None:
    with pytest.raises(FrontError, match="does not answer"):
        traffic(Admin(tmp_path), ["ranker"])
