"""Shadows, with the real command, the real Envoy, real sandboxes, and a candidate that does what it should not.

On Docker only what its front and its folders have a part in: an observer runs on the host, whatever the engine.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from stopgap.client.channel import ServingChannel
from stopgap.client.model import RemoteModel
from stopgap.client.requests import predict_request
from stopgap.client.tensors import to_arrays
from stopgap.comparison.document import read_document
from stopgap.containment.specs import sandbox_container
from stopgap.front.admin import Admin
from stopgap.handover.evidence import check_evidence, read_evidence
from stopgap.store import Store
from stopgap_protos.serving_pb2 import PredictResponse

from tests import zoo
from tests.backstage import children_of, on_bubblewrap
from tests.front_scene import eventually
from tests.relay import Relay, relayed
from tests.stopgap_program import Program, program_in

pytestmark = [pytest.mark.alone, pytest.mark.slow]

# Without contrib, so that a TensorFlow 2 serves it too.
MODEL = zoo.load("layers_mlp_norms_control")
STATEFUL = zoo.load("obtain_next_roundrobin_stateful")
PREDICT = "/tensorflow.serving.PredictionService/Predict"
OF_A_USER = "Bearer of-a-user-who-trusts-us"
TOP_1 = ("--mode", "retrained", "--output", "logits", "--margin", "0.9")
SETTLED_S = 60.0


@dataclass
class Users:
    """They ask the legacy model, each something else, and look at what they get."""

    program: Program
    seed: int = 0

    def __post_init__(self) -> None:
        self._drawn = np.random.default_rng(self.seed)
        with ServingChannel(f"127.0.0.1:{self.program.port}") as channel:
            self._signature = RemoteModel(channel, "mlp").signature("", timeout_s=20)

    def ask(self, times: int, *, rows: int = 1, pause_s: float = 0.0) -> list[float]:
        """The latencies in seconds; all answers are those of the twin, which nobody shadows."""
        seconds = []
        with grpc.insecure_channel(f"127.0.0.1:{self.program.port}") as channel:
            call: Any = channel.unary_unary
            predict = call(PREDICT)
            for _ in range(times):
                image = self._drawn.integers(0, 256, (rows, 10, 10, 3), dtype=np.uint8)
                told = []
                for name in ("mlp", "twin1"):
                    message = predict_request(name, {"image": image}, self._signature).SerializeToString()
                    began = time.perf_counter()
                    answer = predict(message, timeout=20, metadata=(("authorization", OF_A_USER),))
                    seconds += [time.perf_counter() - began] if name == "mlp" else []
                    told.append(to_arrays(PredictResponse.FromString(answer).outputs))
                np.testing.assert_allclose(told[0]["logits"], told[1]["logits"], atol=MODEL.atol, rtol=MODEL.rtol)
                time.sleep(pause_s)
        return seconds


def is_judged(told: dict[str, Any]) -> bool:
    """Whether the result, which is written every two seconds, is as new as the counts."""
    counts = told["counts"]
    return bool(told.get("requests") == counts["joined"] and told["dropped"] == counts["dropped"])


@dataclass(frozen=True)
class Stage:
    """The legacy model `mlp`, and the same once more as `twin1`, which a relay asks in a candidate's place."""

    program: Program
    relay: Relay

    def shadow(self, candidate: str, *options: str) -> None:
        done = self.program.run("shadow", "mlp", "--candidate", candidate, "--sample", "100%", *options)
        assert done.returncode == 0, done.stderr

    def shown(self) -> dict[str, Any]:
        done = self.program.run("shadow", "mlp", "--show", "--json")
        told: dict[str, Any] = json.loads(done.stdout)
        assert done.returncode == {"PASS": 0, "FAIL": 3, "INCONCLUSIVE": 4}[told["outcome"]], done.stderr
        return told

    def settled(self, predictions: int) -> dict[str, Any]:
        """Once all of them are accounted for: what was sampled is what was compared or dropped, one for one."""
        deadline = time.monotonic() + SETTLED_S
        while True:
            told = self.shown()
            counts = told["counts"]
            on_the_way = counts["waiting"] or counts["unaccounted"]  # the observer tells each second
            if counts["predictions"] == predictions and not on_the_way and is_judged(told):
                break
            assert time.monotonic() < deadline, counts
            time.sleep(1)
        assert counts["mirrored"] == predictions
        assert counts["mirrored"] == counts["joined"] + sum(counts["dropped"].values())
        return told

    def observer(self) -> int:
        return int((self.folder / "monitor.lock").read_text().split()[0])

    def aside(self, name: str) -> int:
        """The process of a model that answers observers."""
        parent = self.program.backstage.first_process(sandbox_container(name))
        (pid,) = (pid for pid in children_of(parent) if Path(f"/proc/{pid}/comm").read_text() == "worker aside\n")
        return pid

    @property
    def folder(self) -> Path:
        return self.program.state / "shadows" / "mlp"


@pytest.fixture(scope="module")
def program(engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    with program_in(tmp_path_factory.mktemp("shadow"), engine) as program:
        program.serve(MODEL.folder.parent, "mlp")
        program.serve(MODEL.folder.parent, "twin1")
        yield program
    assert program.leftovers() == []


@pytest.fixture
def stage(program: Program) -> Iterator[Stage]:
    with relayed(f"127.0.0.1:{program.port}", "twin1") as relay:
        yield Stage(program, relay)
        program.run("shadow", "mlp", "--stop", "--forget")
    assert not (program.state / "shadows" / "mlp").exists()
    assert sorted(told["name"] for told in json.loads(program.run("status", "--json").stdout)) == ["mlp", "twin1"]


@pytest.fixture
def users(program: Program) -> Users:
    return Users(program)


def test_the_same_model_served_by_tensorflow_2_passes_and_goes_with_its_shadow(stage: Stage, users: Users) -> None:
    stage.shadow(str(MODEL.folder.parent), "--mode", "conversion", "--margin", "0.9")
    assert stage.program.status("mlp-candidate")["bundle"].startswith("tf-2.")
    users.ask(150, pause_s=0.01)
    told = stage.settled(150)
    assert (told["outcome"], told["units"], told["counts"]["dropped"]) == ("PASS", 150, {})
    assert told["experiment"]["legacy"]["digest"] == told["experiment"]["candidate"]["digest"]
    assert told["latency"]["candidate"]["count"] == 150
    assert told["warnings"] == []
    for file in stage.folder.iterdir():
        assert file.stat().st_mode & 0o077 == 0, file
    assert OF_A_USER.encode() not in b"".join(file.read_bytes() for file in stage.folder.iterdir())
    seen = stage.program.status("mlp")["shadow"]
    assert (seen["outcome"], seen["counts"]["joined"]) == ("PASS", 150)
    assert stage.program.run("shadow", "mlp", "--stop").returncode == 0
    assert stage.shown()["units"] == 150  # what was found stays


def test_an_observer_and_who_answers_it_only_have_what_of_the_processors_nobody_else_wants(
    stage: Stage, users: Users
) -> None:
    stage.shadow("twin1", *TOP_1)
    users.ask(20)
    stage.settled(20)
    for pid in (stage.observer(), stage.aside("mlp"), stage.aside("twin1")):
        threads = [int(task.name) for task in Path(f"/proc/{pid}/task").iterdir()]
        assert len(threads) > 1
        assert {os.sched_getscheduler(thread) for thread in threads} == {os.SCHED_IDLE}
    group = Path(f"/proc/{stage.observer()}/autogroup")  # where the kernel has them
    assert not group.exists() or group.read_text().endswith("nice 19\n")


@on_bubblewrap
def test_what_was_found_is_evidence_for_a_promotion_and_a_page(stage: Stage, users: Users, tmp_path: Path) -> None:
    out, page = tmp_path / "result.json", tmp_path / "page.html"
    stage.shadow("twin1", *TOP_1)
    assert "compared nothing yet" in stage.program.refused("shadow", "mlp", "--show", "--out", str(out))
    users.ask(60, pause_s=0.01)
    stage.settled(60)
    shown = stage.program.run("shadow", "mlp", "--show", "--out", str(out), "--report", str(page))
    assert shown.returncode == 0, shown.stderr
    evidence = read_evidence(out)
    assert (evidence.outcome, evidence.units, evidence.scope) == ("PASS", 60, "stream")
    store = Store(stage.program.state)
    check_evidence(evidence, store.deployment("mlp"), store.deployment("twin1"))
    written = read_document(out)
    assert written.stated["mode"] == "retrained"
    assert written.data.file.startswith("what users asked mlp from ")
    assert "what users asked mlp" in page.read_text()


@on_bubblewrap
def test_a_candidate_with_permuted_classes_fails(stage: Stage, users: Users) -> None:
    stage.relay.changed = lambda outputs: {**outputs, "logits": outputs["logits"][:, ::-1].copy()}
    stage.shadow(stage.relay.address, *TOP_1)
    users.ask(100, pause_s=0.01)
    told = stage.settled(100)
    assert told["outcome"] == "FAIL"
    assert told["experiment"]["candidate"]["digest"] == "unpinned"


@on_bubblewrap
def test_without_a_margin_nothing_passes(stage: Stage, users: Users) -> None:
    stage.shadow(stage.relay.address, "--mode", "retrained", "--output", "logits")
    users.ask(60, pause_s=0.01)
    told = stage.settled(60)
    assert (told["outcome"], "no margin" in told["reason"]) == ("INCONCLUSIVE", True)


@on_bubblewrap
def test_nothing_of_a_users_credentials_reaches_the_candidate(stage: Stage, users: Users) -> None:
    stage.shadow(stage.relay.address, *TOP_1)
    users.ask(20, pause_s=0.01)
    stage.settled(20)
    assert stage.relay.predictions >= 20
    assert {key for key, _ in stage.relay.metadata} <= {"user-agent"}


@on_bubblewrap
@pytest.mark.parametrize("fault", ["refusing", "hanging", "ten times slower"])
def test_users_are_answered_whatever_the_candidate_does_and_what_is_lost_is_counted(
    fault: str, stage: Stage, users: Users
) -> None:
    stage.shadow(stage.relay.address, *TOP_1, "--queue", "5", "--deadline", "1")
    usual = np.median(users.ask(40, pause_s=0.01))
    stage.settled(40)
    if fault == "refusing":
        stage.relay.twin = "nobody"
    stage.relay.slower_s = {"refusing": 0, "hanging": 60, "ten times slower": 10 * float(usual)}[fault]
    seconds = users.ask(80, pause_s=0.005)
    assert np.median(seconds) < 5 * usual + 0.05
    told = stage.settled(120)
    assert told["outcome"] != "PASS" or fault == "ten times slower"
    if fault != "refusing":
        assert told["counts"]["dropped"].get("the queue was full", 0) > 0
        assert any("DROPPED" in text for text in told["warnings"])


@on_bubblewrap
def test_a_candidate_that_nobody_serves_any_more_is_counted_as_down(program: Program, users: Users) -> None:
    with relayed(f"127.0.0.1:{program.port}", "twin1") as relay:
        stage = Stage(program, relay)
        stage.shadow(relay.address, *TOP_1)
    try:
        before = asked_by_observers(program, "mlp")
        users.ask(30, pause_s=0.01)
        told = stage.settled(30)
        assert told["counts"]["dropped"] == {"the candidate was down": 30}
        assert told["outcome"] == "INCONCLUSIVE"
        # The first question may have asked the legacy model first; after it, nobody works for a pair that cannot be.
        assert asked_by_observers(program, "mlp") - before <= 1
    finally:
        program.run("shadow", "mlp", "--stop", "--forget")


@on_bubblewrap
def test_what_waits_when_a_shadow_is_stopped_is_lost_and_what_was_to_be_told_stays(stage: Stage, users: Users) -> None:
    stage.shadow(stage.relay.address, *TOP_1, "--in-flight", "1")
    stage.relay.slower_s = 60
    users.ask(20)
    done = stage.program.run("shadow", "mlp", "--stop")
    assert done.returncode == 0, done.stderr
    told = stage.shown()
    counts = told["counts"]
    assert (counts["mirrored"], counts["joined"], counts["waiting"]) == (20, 0, 0)
    assert counts["dropped"] == {"lost with the observer": 20}
    assert told["dropped"] == counts["dropped"]
    assert any("20 of 20 sampled requests were DROPPED" in text for text in told["warnings"])


def asked_by_observers(program: Program, name: str) -> int:
    """How often, of that model."""
    admin = Admin(Store(program.state).front_folder(program.port) / "admin")
    (told,) = admin.statistics(rf"^cluster\.asked/{name}\.upstream_rq_total$")
    return int(told["value"])


def test_a_request_that_is_too_large_is_told_loudly(stage: Stage, users: Users) -> None:
    stage.shadow(stage.relay.address, *TOP_1, "--largest-mib", "1")
    users.ask(2, rows=4000)
    users.ask(3)
    told = stage.settled(5)
    assert told["counts"]["dropped"] == {"too large": 2}
    status = stage.program.run("status")
    assert "2 of 5 sampled requests were DROPPED" in status.stderr
    assert "too large" in status.stderr


@on_bubblewrap
def test_what_is_not_mirrored_is_told_loudly(stage: Stage) -> None:
    stage.shadow(stage.relay.address, *TOP_1)
    assert any("No prediction" in text for text in stage.shown()["warnings"])
    with closing(http.client.HTTPConnection("127.0.0.1", stage.program.port + 1)) as connection:
        connection.request("POST", "/v1/models/mlp:predict", b"{}")
        connection.getresponse().read()
    eventually(lambda: any("never mirrored" in text for text in stage.shown()["warnings"]), 20)


@on_bubblewrap
def test_a_sample_is_changed_while_it_lasts_and_the_experiment_goes_on(stage: Stage, users: Users) -> None:
    stage.shadow(stage.relay.address, *TOP_1)
    users.ask(20)
    stage.settled(20)
    number = stage.shown()["experiment"]["number"]
    assert stage.program.run("shadow", "mlp", "--sample", "1%").returncode == 0
    users.ask(40)
    told = stage.shown()
    assert told["experiment"]["number"] == number
    assert told["shadow"]["sample"] == 0.01
    assert told["counts"]["mirrored"] < 30


def test_a_killed_observer_is_told_of_and_comes_back_to_the_same_experiment(stage: Stage, users: Users) -> None:
    stage.shadow(stage.relay.address, *TOP_1)
    users.ask(30, pause_s=0.01)
    before = stage.settled(30)
    time.sleep(2)
    os.kill(stage.observer(), signal.SIGKILL)
    users.ask(10)
    assert any("NOBODY OBSERVES" in text for text in stage.shown()["warnings"])
    with closing(sqlite3.connect(stage.folder / "results.sqlite3")) as base:
        assert base.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    resumed = stage.program.run("resume", "mlp")
    assert resumed.returncode == 0, resumed.stderr
    assert resumed.stdout == "mlp was not down\nthe observer of mlp is there again\n"
    users.ask(30, pause_s=0.01)
    told = stage.settled(70)
    assert told["experiment"]["number"] == before["experiment"]["number"]
    assert told["counts"]["dropped"] == {"not delivered": 10}
    assert told["counts"]["joined"] == told["units"] == 60


@on_bubblewrap
def test_a_kill_in_the_middle_of_the_work_loses_the_last_second_at_most_and_all_is_accounted_for(
    stage: Stage, users: Users
) -> None:
    stage.shadow(stage.relay.address, *TOP_1)
    users.ask(150, pause_s=0.01)
    os.kill(stage.observer(), signal.SIGKILL)
    joined = stage.shown()["counts"]["joined"]
    assert stage.program.run("status").returncode == 0  # brings it back
    told = stage.settled(150)
    assert told["counts"]["joined"] == joined
    dropped = told["counts"]["dropped"]
    assert dropped.pop("not delivered", 0) + dropped.pop("lost with the observer", 0) + joined == 150
    assert not dropped
    assert told["units"] == joined


@on_bubblewrap
def test_a_model_that_changes_its_state_is_refused_with_the_reason(stage: Stage) -> None:
    stage.program.serve(STATEFUL.folder.parent, "stateful")
    try:
        said = stage.program.refused("shadow", "stateful", "--candidate", "twin1", "--mode", "conversion")
        assert "changes its state" in said
        said = stage.program.refused("shadow", "mlp", "--candidate", "stateful", "--mode", "conversion")
        assert "The candidate model changes its state" in said
        assert list((stage.program.state / "shadows").glob("*/shadow.json")) == []
        stage.shadow(str(MODEL.folder.parent), *TOP_1)
        stage.program.refused("shadow", "mlp", "--candidate", "stateful", "--mode", "conversion")
        stage.program.refused("shadow", "mlp", "--candidate", "/nowhere", "--mode", "conversion")
        seen = stage.program.status("mlp")  # the one that there was goes on, with its candidate
        assert (seen["stage"], seen["candidate"]) == ("shadow", "mlp-candidate")
        assert (seen["shadow"]["ready"], seen["shadow"]["observer"]) == (True, True)
        assert stage.program.answers("mlp-candidate")
    finally:
        stage.program.run("stop", "stateful")


@on_bubblewrap
def test_a_command_that_is_killed_leaves_nothing_that_the_next_one_does_not_take_away(stage: Stage) -> None:
    drawn = random.Random(7)  # noqa: S311 - no secret
    folder = str(MODEL.folder.parent)
    began = time.monotonic()
    stage.shadow(folder, *TOP_1)
    whole_s = time.monotonic() - began
    assert stage.program.run("shadow", "mlp", "--stop", "--forget").returncode == 0
    for _ in range(4):
        started = stage.program.start("shadow", "mlp", "--candidate", folder, *TOP_1)
        time.sleep(whole_s * drawn.random())
        started.kill()
        started.communicate(timeout=60)
        stage.program.run("serve", "/nowhere", *stage.program.at("any"))  # fails, after it has looked after the others
        ready = list((stage.program.state / "shadows").glob("*/shadow.json"))
        if ready:  # it was done in time
            assert json.loads(ready[0].read_text())["ready"]
            assert stage.program.run("shadow", "mlp", "--stop").returncode == 0
        told = json.loads(stage.program.run("status", "--json").stdout)
        assert {each["name"] for each in told if each["state"] != "unfinished"} == {"mlp", "twin1"}
        stage.program.run("stop", "mlp-candidate")
    assert stage.program.answers("mlp")


def test_stopping_the_model_ends_its_shadow(engine: str, tmp_path: Path) -> None:
    with program_in(tmp_path, engine) as program:
        program.serve(MODEL.folder.parent, "own")  # the stage has a container of its model's name
        done = program.run("shadow", "own", "--candidate", str(MODEL.folder.parent), *TOP_1)
        assert done.returncode == 0, done.stderr
        observer = int((program.state / "shadows" / "own" / "monitor.lock").read_text().split()[0])
        assert program.run("stop", "own").returncode == 0
        assert program.leftovers() == []
        eventually(lambda: not Path(f"/proc/{observer}").exists(), 10)
