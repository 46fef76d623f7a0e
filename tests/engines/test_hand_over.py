"""A name goes from one model to another and back, under load: nobody notices but by the version that answers.

Ten swaps and four kills here; `make test-hand-over` has a hundred and fifty.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Lock
from typing import Any

import grpc
import numpy as np
import pytest
from stopgap.client.channel import ServingChannel
from stopgap.client.model import RemoteModel
from stopgap.client.requests import predict_request
from stopgap.containment.specs import front_container, sandbox_container
from stopgap.errors import PredictionError
from stopgap_protos.saved_model_pb2 import SavedModel
from stopgap_protos.serving_pb2 import PredictRequest, PredictResponse
from stopgap_protos.tensor_pb2 import DataType

from tests import zoo
from tests.backstage import on_bubblewrap, workers_of
from tests.comparison.candidates import PERMUTED, changed_model
from tests.graphs import echo
from tests.load import image_request, until
from tests.stopgap_program import Program
from tests.zoo import ZOO

pytestmark = [pytest.mark.slow, on_bubblewrap]

SWAPS = int(os.environ.get("SWAPS", "10"))
KILLS = int(os.environ.get("KILLS", "4"))
RESAMPLER, MLP = ZOO / "stn_affine_resampler", ZOO / "layers_mlp_norms_control"
LEGACY, CANDIDATE = 1, 2  # by the version with which each answers
CALLERS = 4
AFTER_EACH_SWAP = 100
PREDICT = "/tensorflow.serving.PredictionService/Predict"
FORCED = ("--force", "--reason", "a test", "--watch", "0", "--peak-rate", "1")
USERS = [f"user-{number}" for number in range(400)]


@dataclass(frozen=True)
class Heard:
    """One answer: when it was asked for, and by which version it was given."""

    asked_at: float
    version: int


class Witness:
    """Callers without a pause, who remember which model has answered, and every error."""

    def __init__(self, address: str, request: PredictRequest) -> None:
        self._address, self._request = address, request
        self._over, self._lock = Event(), Lock()
        self.heard: list[Heard] = []
        self.errors: list[str] = []

    def __enter__(self) -> Witness:
        self._threads = ThreadPoolExecutor(CALLERS)
        self._callers = [self._threads.submit(self._call) for _ in range(CALLERS)]
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._threads.shutdown()
        for caller in self._callers:
            caller.result()

    def next_versions(self, number: int) -> set[int]:
        """Of so many answers, at least, that are asked for from now on."""
        moment = time.monotonic()
        until(lambda: len(self._since(moment)) >= number, 30)
        return set(self._since(moment))

    def _since(self, moment: float) -> list[int]:
        with self._lock:
            return [each.version for each in self.heard if each.asked_at > moment]

    def _call(self) -> None:
        with ServingChannel(self._address) as channel:
            while not self._over.is_set():
                asked_at = time.monotonic()
                try:
                    version = channel.predict(self._request, timeout_s=20).model_spec.version.value
                except PredictionError as error:
                    self.errors.append(str(error))
                    time.sleep(0.02)
                else:
                    with self._lock:
                        self.heard.append(Heard(asked_at, version))


@pytest.fixture
def both(stopgap: Program, tmp_path: Path) -> dict[str, Any]:
    """`clicks` in version 1, and `clicks2`, which may take its place, in version 2."""
    served = stopgap.serve(RESAMPLER, "clicks")
    shutil.copytree(RESAMPLER / "1", tmp_path / "clicks2" / "2")
    stopgap.serve(tmp_path / "clicks2", "clicks2", "--also-called", "clicks")
    return served


def done(stopgap: Program, *arguments: str) -> str:
    ended = stopgap.run(*arguments)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def by_user(address: str, users: list[str]) -> dict[str, int]:
    """The version that answers to each, told in a header."""
    request = image_request("clicks").SerializeToString()
    with grpc.insecure_channel(address) as channel:
        call: Any = channel.unary_unary
        predict = call(PREDICT, response_deserializer=PredictResponse.FromString)
        return {
            user: predict(request, metadata=(("x-user-id", user),), timeout=20).model_spec.version.value
            for user in users
        }


def version_that_answers(address: str, version: int | None = None) -> int:
    request = image_request("clicks")
    if version is not None:
        request.model_spec.version.value = version
    with ServingChannel(address) as channel:
        return channel.predict(request, timeout_s=20).model_spec.version.value


def test_no_request_fails_while_the_name_goes_to_and_fro(stopgap: Program, both: dict[str, Any]) -> None:
    with Witness(both["grpc"], image_request("clicks")) as witness:
        until(lambda: len(witness.heard) > AFTER_EACH_SWAP, 20)
        for number in range(SWAPS):
            if number % 2 == 0:
                done(stopgap, "promote", "clicks", "--candidate", "clicks2", *FORCED)
            else:
                done(stopgap, "rollback", "clicks")
            assert witness.next_versions(AFTER_EACH_SWAP) == {CANDIDATE if number % 2 == 0 else LEGACY}
    assert witness.errors == []
    assert len(witness.heard) > SWAPS * AFTER_EACH_SWAP


def test_the_same_users_stay_with_the_candidate_while_its_share_grows(
    stopgap: Program, both: dict[str, Any], tmp_path: Path
) -> None:
    address = both["grpc"]
    done(stopgap, "split", "clicks", "--candidate", "clicks2", "--candidate-share", "10%", "--by", "header:x-user-id")
    few = by_user(address, USERS)
    tenth = {user for user, version in few.items() if version == CANDIDATE}
    assert 0.04 * len(USERS) < len(tenth) < 0.16 * len(USERS)  # four standard deviations about 10 %
    assert by_user(address, USERS) == few
    assert version_that_answers(address) == LEGACY  # who tells no key
    assert version_that_answers(address, LEGACY) == LEGACY
    until(lambda: timed(stopgap) >= 2 * len(USERS) + 2, 30)
    arms = json.loads(done(stopgap, "split", "clicks", "--show", "--json"))["arms"]
    asked = {arm: arms[arm]["asked"] for arm in arms}
    assert asked == {
        "candidate": 2 * len(tenth),
        "legacy": 2 * (len(USERS) - len(tenth)),
        "keyless": 1,
        "pinned": 1,
    }
    assert [arms[arm]["failed"] for arm in arms] == [0, 0, 0, 0]
    assert 0 < arms["candidate"]["mean_ms"] < 1000

    done(stopgap, "split", "clicks", "--candidate-share", "50%")
    half = {user for user, version in by_user(address, USERS).items() if version == CANDIDATE}
    assert tenth < half
    assert 0.4 * len(USERS) < len(half) < 0.6 * len(USERS)
    assert "split 50 %, clicks2" in done(stopgap, "status")

    names = {LEGACY: "clicks", CANDIDATE: "clicks2"}
    answers = tmp_path / "answers.jsonl"
    answers.write_text(
        "".join(json.dumps({"key": u, "model": names[v]}) + "\n" for u, v in by_user(address, USERS).items())
    )
    ratio = json.loads(done(stopgap, "split", "clicks", "--check", str(answers), "--json"))
    assert (ratio["callers"], ratio["candidates"], ratio["mismatch"]) == (len(USERS), len(half), False)

    parent = stopgap.backstage.first_process(sandbox_container("clicks2"))
    hanging = (parent, *workers_of(parent))
    for process in hanging:
        os.kill(process, signal.SIGSTOP)
    refused = stopgap.run("split", "clicks", "--candidate-share", "60%")
    assert "clicks2 does not answer" in refused.stderr
    done(stopgap, "split", "clicks", "--candidate-share", "5%")
    for process in reversed(hanging):  # its parent last, which would end a worker that it finds stopped
        os.kill(process, signal.SIGCONT)

    done(stopgap, "split", "clicks", "--off")
    assert set(by_user(address, USERS[:50]).values()) == {LEGACY}
    assert stopgap.status("clicks")["stage"] == "legacy"


def timed(stopgap: Program) -> int:
    """How many have been counted with their times, which Envoy adds up every few seconds."""
    arms = json.loads(done(stopgap, "split", "clicks", "--show", "--json"))["arms"]
    return sum(arm["up_to_s"].get("60.0", 0) for arm in arms.values())


@dataclass(frozen=True)
class Instant:
    """When a command is killed, as a share of the time that it takes."""

    command: tuple[str, ...]
    share: float
    stages: set[str]


SPLIT = ("split", "clicks", "--candidate", "clicks2", "--candidate-share", "50%", "--by", "header:x-user-id")


def instants() -> Iterator[Instant]:
    drawn = random.Random(7)  # noqa: S311 - no secret
    for number in range(KILLS):
        share = drawn.random()
        if number % 2 == 1:
            yield Instant(("rollback", "clicks"), share, {"promoted", "split", "legacy"})
        elif number % 4 == 0:
            yield Instant(("promote", "clicks", "--candidate", "clicks2", *FORCED), share, {"legacy", "promoted"})
        else:
            yield Instant(SPLIT, share, {"legacy", "split"})


def test_a_change_that_is_killed_is_made_or_not_made(stopgap: Program, both: dict[str, Any]) -> None:
    """Whatever the record says, that is who answers once the next command has run; and nobody is ever refused."""
    address = both["grpc"]
    takes_s: dict[str, float] = {}
    for command in (("promote", "clicks", "--candidate", "clicks2", *FORCED), ("rollback", "clicks"), SPLIT):
        began = time.monotonic()
        done(stopgap, *command)
        takes_s[command[0]] = time.monotonic() - began
    done(stopgap, "rollback", "clicks")
    with Witness(address, image_request("clicks")) as witness:
        for instant in instants():
            if instant.command[0] == "rollback" and stopgap.status("clicks")["stage"] == "legacy":
                done(stopgap, "promote", "clicks", "--candidate", "clicks2", *FORCED)
            elif instant.command[0] != "rollback" and stopgap.status("clicks")["stage"] != "legacy":
                done(stopgap, "rollback", "clicks")
            started = stopgap.start(*instant.command)
            with contextlib.suppress(subprocess.TimeoutExpired):
                started.wait(timeout=instant.share * takes_s[instant.command[0]] * 1.2)
            started.kill()
            started.communicate(timeout=60)
            stage = stopgap.status("clicks")["stage"]
            assert stage in instant.stages
            assert witness.next_versions(20) == {CANDIDATE if stage == "promoted" else LEGACY}, stage
    assert witness.errors == []
    if stopgap.status("clicks")["stage"] != "legacy":
        done(stopgap, "rollback", "clicks")
    assert version_that_answers(address) == LEGACY


def test_a_retirement_that_is_killed_is_brought_to_its_end(stopgap: Program, both: dict[str, Any]) -> None:
    """The name stays answered meanwhile, by the candidate, and nothing of the legacy model stays behind."""
    forced = ("retire", "clicks", "--force", "--reason", "a test")
    drawn = random.Random(8)  # noqa: S311 - no secret
    for _ in range(max(2, KILLS // 10)):
        done(stopgap, "promote", "clicks", "--candidate", "clicks2", *FORCED)
        with Witness(both["grpc"], image_request("clicks")) as witness:
            started = stopgap.start(*forced)
            with contextlib.suppress(subprocess.TimeoutExpired):
                started.wait(timeout=drawn.uniform(0.5, 4))
            started.kill()
            started.communicate(timeout=60)
            if stopgap.status("clicks")["state"] != "retired":
                done(stopgap, *forced)
            assert witness.next_versions(AFTER_EACH_SWAP) == {CANDIDATE}
        assert witness.errors == []
        assert {each.version for each in witness.heard} == {CANDIDATE}
        assert stopgap.status("clicks")["state"] == "retired"
        assert "stopgap-clicks" not in stopgap.backstage.containers()
        assert list(stopgap.state.glob("retirements/clicks-*.md"))
        done(stopgap, "stop", "clicks")
        stopgap.serve(RESAMPLER, "clicks")


def test_a_candidate_that_fails_is_taken_back_by_itself(stopgap: Program, tmp_path: Path) -> None:
    served = stopgap.serve(RESAMPLER, "clicks")
    stopgap.serve(echo(tmp_path / "other", {"x": (DataType.DT_FLOAT, None)}), "other", "--also-called", "clicks")
    with Witness(served["grpc"], image_request("clicks")) as witness:
        until(lambda: len(witness.heard) > 500, 30)
        refused = stopgap.refused("promote", "clicks", "--candidate", "other", "--evidence", "/nowhere.json")
        assert "cannot be read" in refused
        promoted = stopgap.run(
            "promote",
            "clicks",
            "--candidate",
            "other",
            "--force",
            "--reason",
            "a test",
            "--watch",
            "60s",
            "--peak-rate",
            "1",
        )
        assert promoted.returncode == 1
        assert "Rolled back" in promoted.stderr
        assert "requests failed, 100.0%" in " ".join(promoted.stderr.split())
        errors = len(witness.errors)
        assert witness.next_versions(AFTER_EACH_SWAP) == {LEGACY}
        assert len(witness.errors) == errors
    assert errors > 0
    told = done(stopgap, "status", "clicks")
    assert "promoted → legacy" in told
    assert "the guard:" in told


def with_permuted_classes(folder: Path) -> Path:
    """The control model, but for what its classes are called."""
    changed = changed_model(MLP / "1", folder / "1", "logits")
    saved = SavedModel.FromString((changed / "saved_model.pb").read_bytes())
    signatures = saved.meta_graphs[0].signature_def
    signatures["serving_default"].CopyFrom(signatures[PERMUTED])
    (changed / "saved_model.pb").write_bytes(saved.SerializeToString())
    return folder


@contextlib.contextmanager
def asked_something_else_each_time(address: str) -> Iterator[list[str]]:
    """The model `clicks`; gives the errors."""
    over, errors = Event(), list[str]()
    drawn = np.random.default_rng(11)

    def ask() -> None:
        with ServingChannel(address) as channel:
            signature = RemoteModel(channel, "clicks").signature("", timeout_s=20)
            while not over.wait(0.01):
                image = drawn.integers(0, 256, (1, 10, 10, 3), dtype=np.uint8)
                try:
                    channel.predict(predict_request("clicks", {"image": image}, signature), timeout_s=20)
                except PredictionError as error:
                    errors.append(str(error))

    with ThreadPoolExecutor(1) as thread:
        asking = thread.submit(ask)
        try:
            yield errors
        finally:
            over.set()
            asking.result()


@pytest.mark.alone
def test_a_candidate_that_no_longer_agrees_is_taken_back_by_its_shadow(stopgap: Program, tmp_path: Path) -> None:
    served = stopgap.serve(MLP, "clicks")
    stopgap.serve(with_permuted_classes(tmp_path / "other"), "other", "--also-called", "clicks")
    margin = ("--mode", "retrained", "--output", "logits", "--margin", "0.9")
    done(stopgap, "shadow", "clicks", "--candidate", "other", "--sample", "100%", *margin)
    assert stopgap.status("clicks")["stage"] == "shadow"
    with asked_something_else_each_time(served["grpc"]) as errors:
        forced = ("--force", "--reason", "a test", "--peak-rate", "1")
        promoted = stopgap.run("promote", "clicks", "--candidate", "other", *forced, "--watch", "60s")
        assert promoted.returncode == 1
        assert "Rolled back: of " in promoted.stderr
        assert "top_1 of logits holds for" in " ".join(promoted.stderr.split())
    assert errors == []
    assert "promoted → shadow" in done(stopgap, "status", "clicks")


def evidence(stopgap: Program, tmp_path: Path) -> Path:
    """What a comparison of the two has found."""
    drawn = np.random.default_rng(3)
    rows = {
        name: drawn.random((150, *array.shape[1:])).astype(array.dtype)
        for name, array in zoo.load(RESAMPLER.name).cases[0].inputs.items()
    }
    np.savez(tmp_path / "data.npz", **rows)  # type: ignore[arg-type]  # its stub takes none by name
    result = tmp_path / "result.json"
    done(
        stopgap, "compare", "clicks", "clicks2", "--data", str(tmp_path / "data.npz"), "--mode", "conversion",
        "--margin", "0.95", "--independent", "--out", str(result),
    )  # fmt: skip
    return result


def check_what_is_no_ground_for_a_promotion(stopgap: Program, result: Path, tmp_path: Path) -> None:
    """Evidence that says otherwise or is of others, and requests that the candidate does not take."""
    found = json.loads(result.read_text())
    for changes, problem in (
        ({"outcome": "FAIL"}, "The evidence says FAIL"),
        ({"outcome": "INCONCLUSIVE", "reason": "the file is too small"}, "INCONCLUSIVE: the file is too small"),
        ({"candidate": {"told": "x", "digest": "unpinned"}}, "does not say which candidate model"),
        ({"legacy": {"told": "x", "digest": "f" * 64}}, "of another legacy model"),
        ({"schema": 99}, "is no result of a comparison"),
    ):
        (tmp_path / "wrong.json").write_text(json.dumps({**found, **changes}))
        wrong = ("--evidence", str(tmp_path / "wrong.json"))
        assert problem in stopgap.refused("promote", "clicks", "--candidate", "clicks2", *wrong)
    others = {name: np.zeros((2, 3), np.float32) for name in zoo.load(RESAMPLER.name).cases[0].inputs}
    np.savez(tmp_path / "others.npz", **others)  # type: ignore[arg-type]  # its stub takes none by name
    asked = ("--evidence", str(result), "--peak-rate", "20", "--requests", str(tmp_path / "others.npz"))
    told = stopgap.refused("promote", "clicks", "--candidate", "clicks2", *asked)
    assert "answered 0 of 100" in told
    assert "INVALID_ARGUMENT" in told
    assert "--workers" not in told


def test_promotion_rests_on_evidence_and_retirement_on_quiet(
    stopgap: Program, both: dict[str, Any], tmp_path: Path
) -> None:
    address = both["grpc"]
    result = evidence(stopgap, tmp_path)
    found = json.loads(result.read_text())
    check_what_is_no_ground_for_a_promotion(stopgap, result, tmp_path)
    assert version_that_answers(address) == LEGACY

    measured = ("--peak-rate", "20", "--requests", str(tmp_path / "data.npz"), "--watch", "2s")
    shown = ("--candidate", "clicks2", "--evidence", str(result))
    promoted = json.loads(done(stopgap, "promote", "clicks", *shown, *measured, "--json"))
    assert promoted["stage"] == "promoted"
    assert promoted["capacity"].startswith("Measured: clicks2 answered 100 of 100 at 20 requests a second")
    assert (version_that_answers(address), version_that_answers(address, LEGACY)) == (CANDIDATE, LEGACY)
    until(lambda: "asked for by its own version: 1 time" in done(stopgap, "status", "clicks"), 30)

    os.kill(stopgap.backstage.first_process(front_container(stopgap.port)), signal.SIGKILL)  # and what it has counted
    until(lambda: stopgap.answers("clicks"), 30)
    assert "since" in (told := stopgap.refused("retire", "clicks"))
    assert "it was asked 1 time for its own version" in told
    assert "the name would go too" in stopgap.refused("stop", "clicks")
    assert "stopgap rollback clicks" in stopgap.refused("stop", "clicks2")
    done(stopgap, "shadow", "clicks", "--candidate", "clicks2", "--sample", "100%", "--mode", "conversion")
    with Witness(address, image_request("clicks")) as witness:
        witness.next_versions(AFTER_EACH_SWAP)
        retired = json.loads(done(stopgap, "retire", "clicks", "--after-days", "0", "--json"))
        witness.next_versions(AFTER_EACH_SWAP)
    assert witness.errors == []
    shown = json.loads(stopgap.run("shadow", "clicks", "--show", "--json").stdout)["counts"]
    assert shown["mirrored"] >= AFTER_EACH_SWAP  # to the last, though its front's own counts went with the model
    assert (shown["unaccounted"], shown["waiting"]) == (0, 0)
    assert {each.version for each in witness.heard} == {CANDIDATE}
    record, page = json.loads(Path(retired["record"]).read_text()), Path(retired["page"]).read_text()
    assert record["legacy"]["digest"] == found["legacy"]["digest"]
    (kept,) = record["evidence"].values()
    assert (kept["outcome"], Path(kept["file"]).read_bytes()) == ("PASS", result.read_bytes())
    assert record["requests_for_its_own_version"] == 1
    assert [step["to"] for step in record["hand_over"]["history"]] == ["promoted", "retired"]
    assert page.startswith("# clicks is retired")
    assert not any(container == "stopgap-clicks" for container in stopgap.backstage.containers())

    assert stopgap.status("clicks") == {
        "name": "clicks",
        "state": "retired",
        "stage": "retired",
        "candidate": "clicks2",
        "candidate_share": 0.0,
    }
    assert "was retired, and its successor answers to it" in stopgap.refused(
        "serve", str(RESAMPLER), *stopgap.at("clicks")
    )
    assert "is retired" in stopgap.refused("rollback", "clicks")
    assert "Give up the name clicks first: stopgap stop clicks" in stopgap.refused("stop", "clicks2")
    done(stopgap, "predict", "clicks", "--inputs", str(tmp_path / "data.npz"))
    done(stopgap, "stop", "clicks")
    assert not stopgap.answers("clicks")
    assert stopgap.answers("clicks2")


def test_what_cannot_be_is_refused_before_anything_is_changed(stopgap: Program, both: dict[str, Any]) -> None:
    del both
    stopgap.serve(RESAMPLER, "stranger")
    split = ("split", "clicks", "--candidate-share", "10%", "--by", "header:x-user-id", "--candidate")
    assert "does not answer to the name clicks" in stopgap.refused(*split, "stranger")
    assert "cannot take its own place" in stopgap.refused(*split, "clicks")
    swapped = stopgap.refused("promote", "clicks2", "--candidate", "clicks", *FORCED)
    assert "Are they swapped? clicks --candidate clicks2" in swapped
    assert "There is no deployment 'nobody'" in stopgap.refused(*split, "nobody")
    assert "has no candidate yet" in stopgap.refused("promote", "clicks", *FORCED)
    assert "nothing to go back from" in stopgap.refused("rollback", "clicks")
    assert "is not being handed over" in stopgap.refused("retire", "clicks")
    assert "are not split" in stopgap.refused("split", "clicks", "--off")
    assert stopgap.refused("promote", "clicks", "--candidate", "clicks2", code=2)
    assert stopgap.refused("promote", "clicks", "--candidate", "clicks2", "--force", code=2)
    assert not list(stopgap.state.glob("handovers/*.json"))
    done(stopgap, *split, "clicks2")
    assert "clicks2 answers some callers of clicks" in (told := stopgap.refused("stop", "clicks2"))
    assert "stopgap split clicks --off" in told
    assert stopgap.answers("clicks2")
