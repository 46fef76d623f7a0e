"""Recordings, with the real command, the real Envoy and real sandboxes, and a recorder that is killed.

A recorder runs on the host, whatever the engine, so bubblewrap's are enough.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from numpy.typing import NDArray
from stopgap.client.channel import ServingChannel
from stopgap.client.model import RemoteModel
from stopgap.client.requests import predict_request
from stopgap.client.tensors import to_arrays
from stopgap.journal.reading import Journal
from stopgap.recordings import RECORDINGS
from stopgap.store import Store
from stopgap_protos.serving_pb2 import PredictResponse

from tests import zoo
from tests.backstage import on_bubblewrap
from tests.front_scene import eventually
from tests.stopgap_program import Program, program_in

pytestmark = [pytest.mark.alone, pytest.mark.slow, on_bubblewrap]

MODEL = zoo.load("layers_mlp_norms_control")
STATEFUL = zoo.load("obtain_next_roundrobin_stateful")
PREDICT = "/tensorflow.serving.PredictionService/Predict"
OF_A_USER = "Bearer of-a-user-who-trusts-us"
SETTLED_S = 60.0

Images = NDArray[np.uint8]


@dataclass
class Users:
    """They ask `mlp`, each something else, and keep what they were answered.

    Attributes:
        answered: The logits, by the image's bytes.
    """

    program: Program
    answered: dict[bytes, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._drawn = np.random.default_rng(5)
        with ServingChannel(f"127.0.0.1:{self.program.port}") as channel:
            self._signature = RemoteModel(channel, "mlp").signature("", timeout_s=20)

    def ask(self, times: int, pause_s: float = 0.005) -> None:
        with grpc.insecure_channel(f"127.0.0.1:{self.program.port}") as channel:
            call: Any = channel.unary_unary
            predict = call(PREDICT)
            for _ in range(times):
                image: Images = self._drawn.integers(0, 256, (1, 10, 10, 3), dtype=np.uint8)
                message = predict_request("mlp", {"image": image}, self._signature).SerializeToString()
                answer = predict(message, timeout=20, metadata=(("authorization", OF_A_USER),))
                self.answered[image.tobytes()] = to_arrays(PredictResponse.FromString(answer).outputs)["logits"]
                time.sleep(pause_s)


@dataclass(frozen=True)
class Stage:
    program: Program

    @property
    def folder(self) -> Path:
        return self.program.state / "recordings" / "mlp"

    def record(self, *options: str) -> str:
        """What is said on stderr."""
        done = self.program.run("record", "mlp", "--sample", "100%", *options)
        assert done.returncode == 0, done.stderr
        return done.stderr

    def shown(self, command: str = "record") -> dict[str, Any]:
        done = self.program.run(command, "mlp", "--show", "--json")
        told: dict[str, Any] = json.loads(done.stdout)
        return told

    def settled(self, predictions: int, command: str = "record") -> dict[str, int]:
        """The counts, once all is accounted for: what was sampled is what was done or dropped, one for one."""
        deadline = time.monotonic() + SETTLED_S
        while True:
            counts = self.shown(command)["counts"]
            if counts["predictions"] == predictions and not counts["waiting"] and not counts["unaccounted"]:
                break
            assert time.monotonic() < deadline, counts
            time.sleep(0.5)
        assert counts["mirrored"] == predictions == counts["joined"] + sum(counts["dropped"].values())
        return dict(counts)

    def recorder(self) -> int:
        return int((self.program.state / "recorders" / "mlp" / "monitor.lock").read_text().split()[0])

    def stored(self) -> bytes:
        """Every byte that the recorder has left anywhere."""
        folders = (self.folder, self.program.state / "recorders" / "mlp")
        return b"".join(file.read_bytes() for folder in folders for file in folder.iterdir())


@pytest.fixture
def stage(engine: str, tmp_path: Path) -> Iterator[Stage]:
    with program_in(tmp_path, engine) as program:
        program.serve(MODEL.folder.parent, "mlp")
        yield Stage(program)


def test_what_users_ask_is_written_with_its_answer_and_can_be_replayed_compared_and_warmed_with(
    stage: Stage, tmp_path: Path
) -> None:
    users = Users(stage.program)
    assert "inputs and answers are written as they are" in stage.record()
    users.ask(40)
    assert stage.settled(40)["joined"] == 40
    entries = list(Journal(stage.folder).entries())
    assert len({entry.line.id for entry in entries}) == 40
    for entry in entries:
        log = entry.log.predict_log
        image = to_arrays(log.request.inputs)["image"]
        np.testing.assert_allclose(
            to_arrays(log.response.outputs)["logits"],
            users.answered.pop(image.tobytes()),
            atol=MODEL.atol,
            rtol=MODEL.rtol,
        )
        assert (entry.line.legacy.status, (entry.line.legacy.latency_s or 0) > 0) == ("OK", True)
        assert entry.log.log_metadata.sampling_config.sampling_rate == 1.0
    assert users.answered == {}
    assert OF_A_USER.encode() not in stage.stored()
    assert stage.folder.stat().st_mode & 0o777 == 0o700
    assert {file.stat().st_mode & 0o777 for file in stage.folder.iterdir()} == {0o600}

    folder, program = str(stage.folder), stage.program
    replayed = program.run("replay", folder, "--to", "mlp", "--rate", "100", "--in-flight", "64", "--json")
    assert json.loads(replayed.stdout)["targets"][0]["answered"] == 40
    compared = program.run(
        "compare", "mlp", "mlp", "--data", folder, "--mode", "conversion", "--margin", "0.9", "--json"
    )
    assert json.loads(compared.stdout)["units"] == 40, compared.stderr
    warmed = program.run("replay", folder, "--warm-up", str(tmp_path / "warm"), "--json")
    assert json.loads(warmed.stdout)["warm_up"]["requests"] == 40
    assert stage.settled(40)["joined"] == 40  # nothing of that was recorded itself

    seen = program.status("mlp")["recording"]
    assert (seen["records"], seen["recorder"], seen["counts"]["joined"]) == (40, True, 40)
    exported = program.run("metrics", "--once").stdout
    assert 'stopgap_observer_done_total{model="mlp",observer="recording"} 40.0' in exported


def test_what_a_rule_takes_out_is_nowhere_on_the_disk_and_its_readers_are_told(stage: Stage) -> None:
    users = Users(stage.program)
    said = stage.program.refused("record", "mlp", "--redact", "zero:imgae")
    assert "zero:imgae names neither an input nor an output of the model. It has: image, keypoints, logits" in said
    assert stage.program.status("mlp").get("recording") is None
    assert "as they are" not in stage.record("--redact", "zero:image")
    users.ask(20)
    assert stage.settled(20)["joined"] == 20
    stage.program.refused("record", "mlp", "--redact", "zero:imgae")  # and what records goes on
    assert stage.program.status("mlp")["recording"]["redact"] == ["zero:image"]
    users.ask(20)
    assert stage.settled(40)["joined"] == 40
    stored = stage.stored()
    assert [image for image in users.answered if image[:16] in stored] == []
    assert {entry.line.redacted for entry in Journal(stage.folder).entries()} == {("zero:image",)}
    replayed = stage.program.run("replay", str(stage.folder), "--to", "mlp", "--rate", "100")
    compared = stage.program.run("compare", "mlp", "mlp", "--data", str(stage.folder), "--mode", "conversion")
    for done in (replayed, compared):
        assert "Of 40 recorded requests 40 are not what users sent" in " ".join(done.stderr.split())


def test_beside_a_shadow_a_recorder_is_killed_and_all_is_accounted_for(stage: Stage) -> None:
    users, program = Users(stage.program), stage.program
    program.serve(MODEL.folder.parent, "twin1")
    begun = program.run("shadow", "mlp", "--candidate", "twin1", "--sample", "100%", "--mode", "conversion")
    assert begun.returncode == 0, begun.stderr
    assert (program.status("mlp")["stage"], program.status("mlp")["candidate"]) == ("shadow", "twin1")
    stage.record("--segment-mib", "1")
    users.ask(60, pause_s=0.002)
    os.kill(stage.recorder(), signal.SIGKILL)
    users.ask(20)
    assert any("NOBODY RECORDS" in text for text in stage.shown()["warnings"])
    resumed = program.run("resume", "mlp")
    assert "the recorder of mlp is there again" in resumed.stdout, resumed.stderr
    users.ask(40)
    counts = stage.settled(120)
    entries = list(Journal(stage.folder).entries())  # nothing in it is torn
    assert len(entries) == counts["joined"] >= 40
    assert {to_arrays(entry.log.predict_log.request.inputs)["image"].tobytes() for entry in entries} < {*users.answered}
    assert set(counts["dropped"]) <= {"not delivered", "lost with the observer"}  # type: ignore[call-overload]  # a dict
    assert stage.settled(120, "shadow")["joined"] == 120
    assert program.run("shadow", "mlp", "--stop").returncode == 0
    assert program.status("mlp")["stage"] == "legacy"
    assert "legacy → shadow" in program.run("status", "mlp").stdout
    users.ask(5)
    assert stage.settled(125)["joined"] == counts["joined"] + 5


def test_its_end_leaves_what_was_recorded_and_a_model_with_a_state_has_none(stage: Stage) -> None:
    users, program = Users(stage.program), stage.program
    stage.record()
    recorder = stage.recorder()
    users.ask(5)
    stage.settled(5)
    ended = program.run("record", "mlp", "--stop")
    assert (ended.returncode, ended.stdout) == (0, "the recording of mlp has ended\n")
    eventually(lambda: not Path(f"/proc/{recorder}").exists(), 10)
    users.ask(5)
    assert (stage.shown()["records"], stage.shown()["recording"]) == (5, None)

    stage.record()
    users.ask(5)
    assert stage.settled(10)["joined"] == 10
    store = Store(program.state)
    found = RECORDINGS.find("mlp", store)
    assert found is not None
    RECORDINGS.put(replace(found, per_million=1), store)  # as who is killed before he has told the front leaves it
    assert "had not been told" in program.run("status").stderr
    assert program.run("status").stderr == ""
    stopped = program.run("stop", "mlp")
    assert "the recording of mlp has ended" in stopped.stdout
    assert len(list(Journal(stage.folder).lines())) == 10

    program.serve(STATEFUL.folder.parent, "stateful")
    assert "changes its state" in program.refused("record", "stateful")
    assert list((program.state / "recorders").glob("*/recording.json")) == []
