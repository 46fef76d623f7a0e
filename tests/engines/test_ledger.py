"""A split with its ledger: real commands, a real Envoy, real sandboxes; it dies, it hangs, and nobody waits for it."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from stopgap_protos.serving_pb2 import PredictResponse

from tests import zoo
from tests.backstage import on_bubblewrap
from tests.front_scene import eventually
from tests.load import image_request
from tests.stopgap_program import Program, free_port
from tests.zoo import ZOO

pytestmark = [pytest.mark.slow, on_bubblewrap]

RESAMPLER = ZOO / "stn_affine_resampler"
PREDICT = "/tensorflow.serving.PredictionService/Predict"
SETTLED_S = 30.0


@dataclass(frozen=True)
class Answer:
    """One, and who has given it."""

    identity: str
    model: str


@dataclass(frozen=True)
class Stage:
    """`clicks`, split with `clicks2`."""

    program: Program
    feedback_port: int

    def by_grpc(self, user: str, **more: str) -> Answer:
        with grpc.insecure_channel(f"127.0.0.1:{self.program.port}") as channel:
            call: Any = channel.unary_unary
            predict = call(PREDICT, response_deserializer=PredictResponse.FromString)
            metadata = (("x-user-id", user), *((name.replace("_", "-"), value) for name, value in more.items()))
            _, done = predict.with_call(image_request("clicks").SerializeToString(), metadata=metadata, timeout=20)
        told = dict(done.initial_metadata())
        return Answer(told["stopgap-request-id"], told["stopgap-model"])

    def by_rest(self, user: str) -> Answer:
        inputs = {name: array[:1].tolist() for name, array in zoo.load(RESAMPLER.name).cases[0].inputs.items()}
        connection = http.client.HTTPConnection("127.0.0.1", self.program.port + 1, timeout=20)
        try:
            connection.request("POST", "/v1/models/clicks:predict", json.dumps({"inputs": inputs}), {"x-user-id": user})
            response = connection.getresponse()
            assert response.status == 200, response.read()
            return Answer(str(response.headers["stopgap-request-id"]), str(response.headers["stopgap-model"]))
        finally:
            connection.close()

    def feedback(self, **fields: Any) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self.feedback_port, timeout=20)
        try:
            connection.request("POST", "/v1/feedback", json.dumps(fields))
            return connection.getresponse().status
        finally:
            connection.close()

    def done(self, *arguments: str) -> str:
        ended = self.program.run(*arguments)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    def ledger(self) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(self.done("split", "clicks", "--show", "--json"))["ledger"]
        return told

    def until(self, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        deadline = time.monotonic() + SETTLED_S
        while not holds(told := self.ledger()):
            assert time.monotonic() < deadline, told
            time.sleep(0.5)
        return told

    def keeper(self) -> int:
        folder = self.program.state / "ledgers" / "fronts" / str(self.program.port)
        return int((folder / "monitor.lock").read_text().split()[0])


def requests(told: dict[str, Any]) -> int:
    return sum(int(arm["requests"]) for arm in told["arms"].values())


@pytest.fixture
def stage(stopgap: Program, tmp_path: Path) -> Stage:
    stopgap.serve(RESAMPLER, "clicks")
    shutil.copytree(RESAMPLER / "1", tmp_path / "clicks2" / "2")
    stopgap.serve(tmp_path / "clicks2", "clicks2", "--also-called", "clicks")
    stage = Stage(stopgap, free_port())
    stage.done(
        "split", "clicks", "--candidate", "clicks2", "--candidate-share", "50%", "--by", "header:x-user-id",
        "--feedback-port", str(stage.feedback_port), "--reward-margin", "0.9",
    )  # fmt: skip
    return stage


def test_callers_are_counted_once_and_say_what_came_of_their_answers(stage: Stage, tmp_path: Path) -> None:
    users = [f"user-{number}" for number in range(60)]
    answers = [stage.by_grpc(user) for user in users] + [stage.by_rest(user) for user in users[:20]]
    by_user = {user: answer.model for user, answer in zip(users, answers)}
    assert [by_user[user] for user in users[:20]] == [answer.model for answer in answers[60:]]
    assert len({answer.identity for answer in answers}) == len(answers)
    forged = stage.by_grpc("user-0", stopgap_request_id=answers[1].identity, x_request_id=answers[2].identity)
    assert forged.identity not in {answer.identity for answer in answers}
    hers = sum(model == "clicks2" for model in by_user.values())

    assert stage.feedback(id=forged.identity, reward=0.9) == 200  # at once, though it may not be noted yet
    assert stage.feedback(id=forged.identity, reward=0.1) == 409
    assert stage.feedback(id="0b866e72-4c26-4914-ae3d-eb6e68b0fbfa", reward=1) == 404
    assert stage.feedback(id="nonsense", reward=1) == 400
    told = stage.until(lambda told: requests(told) == len(answers) + 1)
    assert (told["callers"], told["candidates"], told["mismatch"], told["kept"]) == (60, hers, False, True)
    assert told["arms"]["candidate"]["units"] == hers
    assert told["warnings"] == []
    assert (told["moved"], told["not_units"], told["lost"]) == (0, 0, 0)
    assert told["well"]["difference"] == 0

    lines = [json.dumps({"id": answer.identity, "reward": 0.5, "label": answer.model}) for answer in answers]
    (tmp_path / "feedback.jsonl").write_text("\n".join(lines))
    taken = json.loads(stage.done("feedback", "clicks", str(tmp_path / "feedback.jsonl"), "--json"))
    assert (taken["taken"], taken["before"], taken["unknown"]) == (len(answers), 0, 0)
    told = stage.ledger()
    rewards = {arm: told["rewards"][arm]["units"] for arm in ("candidate", "legacy")}
    assert rewards == {"candidate": hers, "legacy": 60 - hers}
    assert told["rewards"]["outcome"] == "PASS"  # half a point apart could be, and nine tenths may
    assert told["arms"]["candidate"]["labels"] == {"clicks2": sum(a.model == "clicks2" for a in answers)}
    shown = stage.done("split", "clicks", "--show")
    assert "as its shares so far would have it" in shown
    assert "at most 0.9 lower: PASS" in shown

    book = stage.program.state / "ledgers" / "books" / "clicks.sqlite3"
    written = b"".join(part.read_bytes() for part in book.parent.glob("clicks.sqlite3*"))
    assert not any(user.encode() in written for user in users)
    metrics = stage.done("metrics", "--once")
    assert f'stopgap_split_callers_total{{arm="candidate",model="clicks"}} {hers}.0' in metrics
    assert 'stopgap_split_shares_wrong{model="clicks"} 0.0' in metrics
    assert 'stopgap_split_ledger_up{model="clicks"} 1.0' in metrics

    stage.done("promote", "clicks", "--force", "--reason", "a test", "--watch", "0", "--peak-rate", "1")
    with pytest.raises(ConnectionRefusedError):
        stage.feedback(id=forged.identity, reward=1)
    assert not is_there(stage.keeper())
    (tmp_path / "late.jsonl").write_text(json.dumps({"id": forged.identity, "reward": 1}))
    assert json.loads(stage.done("feedback", "clicks", str(tmp_path / "late.jsonl"), "--json"))["before"] == 1


def test_a_ledger_that_dies_or_hangs_costs_no_request_and_what_it_misses_is_told(stage: Stage) -> None:
    for number in range(20):
        stage.by_grpc(f"user-{number}")
    stage.until(lambda told: requests(told) == 20)

    killed = stage.keeper()
    os.kill(killed, signal.SIGKILL)
    eventually(lambda: not is_there(killed))
    for number in range(20, 60):
        stage.by_grpc(f"user-{number}")
        stage.by_rest(f"user-{number}")
    said = stage.program.run("status")
    assert "had died, and is there again" in said.stderr
    told = stage.until(lambda told: requests(told) + told["lost"] == 100)
    assert told["lost"] > 0
    assert told["kept"]

    hanging = stage.keeper()
    assert hanging != killed
    os.kill(hanging, signal.SIGSTOP)
    try:
        answered = [stage.by_grpc(f"user-{number}") for number in range(60, 100)]
    finally:
        os.kill(hanging, signal.SIGCONT)
    assert stage.feedback(id=answered[-1].identity, label="x") == 200
    after = stage.until(lambda told: requests(told) + told["lost"] == 140)
    assert after["lost"] == told["lost"]  # it was told when it went on
    stage.done("stop", "clicks")
    assert not is_there(hanging)


def is_there(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
