"""One name, two models: who is answered by which, in a real Envoy before real workers, over both protocols."""

from __future__ import annotations

import http.client
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.wrappers_pb2 import Int64Value
from stopgap.errors import FrontError
from stopgap.front.arm_log import OBSERVER_HEADER
from stopgap.front.arms import Arm, arms, together
from stopgap.front.config import FrontSettings, configuration
from stopgap.front.routes import Kind
from stopgap.front.settings import LEDGER_SOCKET, SHARES, Split, Takeover
from stopgap.ledger.entries import Entry, entries, identity_of, unit_of
from stopgap.ledger.receiver import receiving
from stopgap_protos.serving_pb2 import ModelSpec, PredictRequest

from tests.front_scene import Front, Sandbox, eventually, front_folder, running_front, upstream
from tests.runtime.test_front_envoy import PREDICT, channel_to, message

# A name in which the other's is, and dots.
LEGACY, CANDIDATE = upstream("clicks.v1"), upstream("clicks.v1.grpc", workers=2)
SPLIT = Split(1000, "x-user-id", "(.+)", "5eed")
BY_COOKIE = replace(SPLIT, header="cookie", key=r"(?:.*;\s*)?uid=([^;]+)(?:;.*)?")
TAKEOVER = Takeover("clicks.v1", "clicks.v1.grpc", legacy=True, version=3)
USERS = [f"user-{number}" for number in range(600)]


@dataclass(frozen=True)
class Scene:
    """Both models behind a front."""

    front: Front
    channel: grpc.Channel

    def route(self, takeover: Takeover) -> None:
        self.front.route(LEGACY, CANDIDATE, takeovers=[takeover])

    def grpc(self, *metadata: tuple[str, str], version: int | None = None) -> str:
        """Who has answered, as the worker and as the header have it."""
        spec = ModelSpec(name=LEGACY.name, version=None if version is None else Int64Value(value=version))
        request = PredictRequest(model_spec=spec).SerializeToString()
        _, done = predicting(self.channel).with_call(request, metadata=metadata, timeout=20)
        return str(dict(done.initial_metadata())["stopgap-model"])

    def rest(self, below: str = ":predict", **headers: str) -> str:
        connection = http.client.HTTPConnection("127.0.0.1", self.front.admin.rest_port(), timeout=20)
        try:
            connection.request("POST", f"/v1/models/{LEGACY.name}{below}", b"{}", headers)
            response = connection.getresponse()
            answered = str(response.headers["stopgap-model"])
            assert f'"{answered}/'.encode() in response.read()  # the worker's own word for it
            return answered
        finally:
            connection.close()

    def candidates(self, users: list[str]) -> set[str]:
        return {user for user in users if self.grpc(("x-user-id", user)) == CANDIDATE.name}

    def arms(self, takeover: Takeover) -> list[Arm]:
        return arms(self.front.admin, takeover.counted, [LEGACY.name, CANDIDATE.name])


def predicting(channel: grpc.Channel) -> Any:
    call: Any = channel.unary_unary
    return call(PREDICT)


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with front_folder() as folder, ExitStack() as stack:
        for model in (LEGACY, CANDIDATE):
            stack.enter_context(Sandbox(folder / "sandboxes", model.name, model.workers))
        front = stack.enter_context(running_front(folder, LEGACY, CANDIDATE))
        yield Scene(front, stack.enter_context(channel_to(front)))


def test_the_same_users_are_answered_by_the_candidate_and_stay_so_while_its_share_grows(scene: Scene) -> None:
    scene.route(replace(TAKEOVER, split=SPLIT))
    few = scene.candidates(USERS)
    assert 0.05 * len(USERS) < len(few) < 0.16 * len(USERS)  # five standard deviations about 10 %
    assert few == scene.candidates(USERS)
    scene.route(replace(TAKEOVER, split=replace(SPLIT, share=5000)))
    half = scene.candidates(USERS)
    assert few < half
    assert 0.4 * len(USERS) < len(half) < 0.6 * len(USERS)


def test_with_another_salt_others_are_chosen(scene: Scene) -> None:
    chosen = []
    for salt in ("5eed", "0dd"):
        scene.route(replace(TAKEOVER, split=Split(5000, "x-user-id", "(.+)", salt)))
        chosen.append(scene.candidates(USERS[:200]))
    both = len(chosen[0] & chosen[1])
    assert 0.1 * 200 < both < 0.4 * 200  # of two independent halves a quarter is in both


def test_both_protocols_agree_on_a_user(scene: Scene) -> None:
    scene.route(replace(TAKEOVER, split=replace(SPLIT, share=5000)))
    for user in USERS[:60]:
        assert scene.rest(**{"x-user-id": user}) == scene.grpc(("x-user-id", user))


def test_a_cookie_tells_the_user_wherever_it_stands_among_others(scene: Scene) -> None:
    scene.route(replace(TAKEOVER, split=replace(BY_COOKIE, share=5000)))
    answered = set()
    for user in USERS[:40]:
        whose = {scene.rest(cookie=text.format(user)) for text in ("uid={}", "a=1; uid={}; b=2", "other_uid=x; uid={}")}
        assert len(whose) == 1
        answered |= whose
    assert answered == {LEGACY.name, CANDIDATE.name}
    assert {scene.rest(cookie=text) for text in ("uid=", "other_uid=3", "a=1")} == {LEGACY.name}


def test_who_tells_no_key_is_answered_by_the_legacy_model_and_counted_apart(scene: Scene) -> None:
    takeover = replace(TAKEOVER, split=replace(SPLIT, share=SHARES - 1, salt="apart"))
    scene.route(takeover)
    assert {scene.grpc() for _ in range(20)} == {LEGACY.name}
    assert {scene.rest() for _ in range(5)} == {LEGACY.name}
    assert {scene.grpc(("x-user-id", user)) for user in USERS[:7]} == {CANDIDATE.name}
    scene.rest(**{"x-user-id": USERS[0]})
    call = predicting(scene.channel).future(message(LEGACY.name, "refuse"), metadata=[("x-user-id", "u")])
    assert call.exception() is not None
    eventually(lambda: sum(arm.durations.count for arm in scene.arms(takeover)) == 34, timeout_s=30)
    predicting(scene.channel)(message(LEGACY.name), metadata=((OBSERVER_HEADER, "1"),), timeout=20)  # counted nowhere
    keyed, keyless = scene.arms(takeover)
    assert (keyed.kind, keyed.model) == (Kind.KEYED, CANDIDATE.name)
    assert keyed.codes == {("grpc", "0"): 7, ("rest", "200"): 1, ("grpc", "3"): 1}
    assert (keyed.asked, keyed.judged, keyed.failed) == (9, 9, 1)
    assert (keyless.kind, keyless.model) == (Kind.KEYLESS, LEGACY.name)
    assert keyless.codes == {("grpc", "0"): 20, ("rest", "200"): 5}
    assert together([keyed, keyless], LEGACY.name, Kind.KEYLESS, Kind.PINNED).asked == 25
    assert 0 < keyed.durations.sum_s < 9


def test_a_ledger_hears_of_each_answer_to_a_caller_with_a_key_and_of_no_other(scene: Scene) -> None:
    heard: list[Entry] = []
    takeover = replace(TAKEOVER, split=replace(SPLIT, share=SHARES - 1, salt="heard"))
    path = scene.front.folder / "observers" / LEDGER_SOCKET
    with receiving(path, lambda message: heard.extend(entries(message))):
        scene.route(takeover)
        scene.grpc()
        scene.grpc(("x-user-id", "u"), version=3)
        scene.rest()
        scene.grpc(("x-user-id", "alice"), ("stopgap-request-id", "forged"))
        assert scene.rest(**{"x-user-id": "alice"}) == CANDIDATE.name
        scene.rest(**{"x-user-id": "b\xf6b"})  # no UTF-8
        scene.grpc(("x-user-id", "x" * 20_000))
        call = predicting(scene.channel).future(message(LEGACY.name, "refuse"), metadata=[("x-user-id", "alice")])
        told = dict(call.initial_metadata() or ()) | dict(call.trailing_metadata() or ())
        eventually(lambda: len(heard) == 5)
    assert {entry.split for entry in heard} == {takeover.counted}
    assert {(entry.model, entry.share) for entry in heard} == {(CANDIDATE.name, SHARES - 1)}
    assert Counter(entry.unit for entry in heard if entry.unit == unit_of(b"alice", "heard")).total() == 3
    assert sum(entry.unit is None for entry in heard) == 1  # whose key is too long to be told
    assert sorted(bool(entry.failed) for entry in heard) == [False] * 4 + [True]
    assert len({entry.id for entry in heard} - {None}) == 5
    assert identity_of(told["stopgap-request-id"]) in {entry.id for entry in heard if entry.failed}
    assert all(0 < entry.took_us < 10_000_000 for entry in heard)


def test_no_caller_waits_for_a_ledger_that_never_reads(scene: Scene) -> None:
    with socket_that_never_reads(scene.front.folder / "observers" / LEDGER_SOCKET):
        scene.route(replace(TAKEOVER, split=replace(SPLIT, share=5000, salt="deaf")))
        key = "k" * 7000  # which its entry has several times: what Envoy keeps for a ledger is soon full
        asked = [
            predicting(scene.channel).future(message(LEGACY.name), metadata=[("x-user-id", key + str(n))], timeout=20)
            for n in range(400)
        ]
        assert [call.exception() for call in asked if call.exception()] == []
        eventually(lambda: counted(scene, "logs_dropped") > 0)


@contextmanager
def socket_that_never_reads(path: Path) -> Iterator[None]:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        yield
    path.unlink()


def counted(scene: Scene, name: str) -> int:
    found = scene.front.admin.statistics(rf"^access_logs\.grpc_access_log\.{name}$")
    return sum(int(each["value"]) for each in found)


def test_who_asks_for_the_legacy_models_own_version_gets_it_for_as_long_as_it_stands(scene: Scene) -> None:
    scene.route(TAKEOVER)
    assert (scene.grpc(), scene.grpc(version=3), scene.grpc(version=4)) == (
        CANDIDATE.name,
        LEGACY.name,
        CANDIDATE.name,
    )
    assert scene.rest("/versions/3:predict") == scene.rest("/versions/003:predict") == LEGACY.name
    assert scene.rest("/versions/33:predict") == scene.rest("/metadata") == CANDIDATE.name
    scene.front.route(CANDIDATE, takeovers=[replace(TAKEOVER, legacy=False)])
    assert (scene.grpc(), scene.grpc(version=3)) == (CANDIDATE.name, CANDIDATE.name)
    assert scene.rest("/versions/3:predict") == CANDIDATE.name


def test_without_a_takeover_everybody_is_answered_by_the_model_that_was_asked_for(scene: Scene) -> None:
    scene.front.route(LEGACY, CANDIDATE)
    _, done = predicting(scene.channel).with_call(message(LEGACY.name), metadata=[("x-user-id", USERS[0])], timeout=20)
    assert dict(done.initial_metadata())["stopgap-model"] == LEGACY.name


def test_a_takeover_by_nobody_is_refused() -> None:
    with pytest.raises(FrontError, match=r"clicks\.v1 cannot be taken over: the front has no clicks\.v1\.grpc"):
        configuration(FrontSettings(), [LEGACY], [TAKEOVER])
    with pytest.raises(FrontError, match=r"the front has no clicks\.v1\."):
        configuration(FrontSettings(), [CANDIDATE], [TAKEOVER])
    configuration(FrontSettings(), [CANDIDATE], [replace(TAKEOVER, legacy=False)])
    with pytest.raises(FrontError, match="is no split"):
        replace(SPLIT, share=0)
