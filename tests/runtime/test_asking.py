"""Two real models asked the same: in process, over gRPC, with no engine."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stopgap.asking.answers_file import AnswersFile
from stopgap.asking.asking import AS_IT_IS, Manner, Translation, asked, belongs_to, candidate_first
from stopgap.asking.data.opening import open_data
from stopgap.asking.data.reading import Data, Reading
from stopgap.asking.live import LiveSide
from stopgap.asking.noise import noise_pairs
from stopgap.asking.recorded import FAILURE_TEXTS, FAILURES, RecordedLogs, RecordedOutputs
from stopgap.asking.sides import Identity, Question, Side
from stopgap.client.channel import ServingChannel
from stopgap.client.npz import write_npz
from stopgap.client.tensors import to_proto
from stopgap.comparison.pairs import Answer, Case, Pair
from stopgap.errors import DataError, PredictionError
from stopgap.journal.tfrecord import TFRecordWriter
from stopgap_protos.prediction_log_pb2 import PredictionLog
from stopgap_runtime.capi import TensorFlow

from tests import zoo
from tests.runtime_server import model_server

# Without contrib, so that both TensorFlows serve it; its batches can be of any size.
MODEL = zoo.load("layers_mlp_norms_control")
STATEFUL = zoo.load("obtain_next_roundrobin_stateful")
ROWS = 64
PLAIN = Manner()


@pytest.fixture(scope="module")
def inputs() -> dict[str, Any]:
    """Many distinct rows, made of one good case's: sums of multiples of its rows."""
    case = next(case for case in MODEL.cases if case.error is None and case.signature == "serving_default")
    rng = np.random.default_rng(3)
    return {
        name: (
            array[rng.integers(0, len(array), ROWS)] * rng.uniform(0.5, 2, (ROWS,) + (1,) * (array.ndim - 1))
        ).astype(array.dtype)
        for name, array in case.inputs.items()
    }


@pytest.fixture
def data(tmp_path: Path, inputs: dict[str, Any], legacy: Side) -> Data:
    file = tmp_path / "data.npz"
    file.write_bytes(write_npz(inputs))
    return open_data(file, Reading(legacy.signatures(), rows=2))


@contextmanager
def side_of(tensorflow: TensorFlow, model: zoo.ZooModel, state: str) -> Iterator[LiveSide]:
    with model_server(tensorflow, model.folder, model.name) as address:
        side = LiveSide(ServingChannel(address), model.name, lambda: Identity(state, state, state))
        try:
            yield side
        finally:
            side.close()


@pytest.fixture(scope="module")
def legacy(legacy_tensorflow: TensorFlow) -> Iterator[Side]:
    with side_of(legacy_tensorflow, MODEL, "legacy") as side:
        yield side


@pytest.fixture(scope="module")
def candidate(modern_tensorflow: TensorFlow) -> Iterator[Side]:
    with side_of(modern_tensorflow, MODEL, "candidate") as side:
        yield side


class Counted:
    """A side that counts what is asked, and may act before."""

    def __init__(self, side: Side, before: Callable[[Case], Answer | None] = lambda _case: None) -> None:
        self._side = side
        self._before = before
        self.asked: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._side, name)

    def question(self, case: Case) -> Question:
        question = self._side.question(case)

        def ask(timeout_s: float) -> Answer:
            self.asked.append(case.number)
            return self._before(case) or question(timeout_s)

        return ask


@contextmanager
def answers_for(
    data: Data, legacy: Any, candidate: Any, folder: Path, manner: Manner, **how: Any
) -> Iterator[AnswersFile]:
    belonging = belongs_to(data, legacy, candidate, manner, how.get("translation", AS_IT_IS))
    with AnswersFile(folder / "answers", belonging, restart=how.get("restart", False)) as answers:
        yield answers


def pairs_of(data: Data, legacy: Any, candidate: Any, folder: Path, manner: Manner = PLAIN, **how: Any) -> list[Pair]:
    with answers_for(data, legacy, candidate, folder, manner, **how) as answers:
        return list(asked(data, legacy, candidate, answers, manner, translation=how.get("translation", AS_IT_IS)))


def outputs(answer: Answer) -> dict[str, Any]:
    assert answer.outputs is not None, answer.failure
    return dict(answer.outputs)


def test_both_models_answer_every_case_once_in_the_datas_order(
    data: Data, legacy: Side, candidate: Side, tmp_path: Path
) -> None:
    one, other = Counted(legacy), Counted(candidate)
    pairs = pairs_of(data, one, other, tmp_path, Manner(warm_up=0))
    assert [pair.case.number for pair in pairs] == list(range(ROWS // 2))
    assert sorted(one.asked) == sorted(other.asked) == list(range(ROWS // 2))
    for pair in pairs:
        assert outputs(pair.legacy).keys() == outputs(pair.candidate).keys()
        for name, array in outputs(pair.legacy).items():
            np.testing.assert_allclose(outputs(pair.candidate)[name], array, atol=MODEL.atol, rtol=MODEL.rtol)
        assert pair.legacy.latency_s is not None
        assert 0 < pair.legacy.latency_s < 20


def test_a_comparison_that_was_broken_off_anywhere_goes_on_there_and_a_finished_one_asks_nobody(
    data: Data, legacy: Side, candidate: Side, tmp_path: Path
) -> None:
    manner = Manner(warm_up=0, in_flight=2)
    whole = pairs_of(data, legacy, candidate, tmp_path / "whole", manner)
    for given in (1, 7, 31, 32):
        folder = tmp_path / str(given)
        with answers_for(data, legacy, candidate, folder, manner) as answers:
            begun = asked(data, legacy, candidate, answers, manner)
            first = list(itertools.islice(begun, given))
            begun.close()  # type: ignore[attr-defined]  # it is a generator, as Ctrl-C closes it
        one, other = Counted(legacy), Counted(candidate)
        again = pairs_of(data, one, other, folder, manner)
        assert [pair.case.number for pair in again] == list(range(len(whole)))
        assert sorted(one.asked) == sorted(other.asked) == list(range(given, len(whole)))
        assert [pair.legacy.latency_s for pair in again[:given]] == [pair.legacy.latency_s for pair in first]
        for pair, expected in zip(again, whole):
            for name, array in outputs(expected.legacy).items():
                np.testing.assert_array_equal(outputs(pair.legacy)[name], array)


def test_what_is_asked_of_a_changed_candidate_begins_anew(
    data: Data, legacy: Side, candidate: Side, tmp_path: Path
) -> None:
    pairs_of(data, legacy, candidate, tmp_path)
    replaced = Counted(candidate)
    replaced.identity = lambda: Identity("another", "another", "another")  # type: ignore[attr-defined]
    with answers_for(data, legacy, replaced, tmp_path, Manner()) as answers:
        assert answers.begun_anew == ("the candidate",)
        assert answers.count == 0


def test_a_candidate_that_is_replaced_meanwhile_spoils_the_comparison(
    data: Data, legacy: Side, candidate: Side, tmp_path: Path
) -> None:
    states = iter(["before", *["after"] * 9])
    replaced = Counted(candidate)
    replaced.identity = lambda: Identity("it", None, next(states))  # type: ignore[attr-defined]
    with pytest.raises(DataError, match="the candidate changed"):
        pairs_of(data, legacy, replaced, tmp_path)


def test_whom_a_case_asks_first_is_shuffled_by_the_seed_alone(
    data: Data, legacy: Side, candidate: Side, tmp_path: Path
) -> None:
    order: list[str] = []
    one = Counted(legacy, lambda _: order.append("legacy"))
    other = Counted(candidate, lambda _: order.append("candidate"))
    pairs_of(data, one, other, tmp_path, Manner(in_flight=1, warm_up=0, seed=5))
    assert [name == "candidate" for name in order[::2]] == [candidate_first(5, number) for number in range(ROWS // 2)]
    first = [candidate_first(5, number) for number in range(2000)]
    assert 900 < sum(first) < 1100
    assert first != [candidate_first(6, number) for number in range(2000)]


def test_no_more_cases_are_in_flight_than_wanted_and_all_of_those(
    data: Data, legacy: Side, candidate: Side, tmp_path: Path
) -> None:
    lock, now, most = threading.Lock(), 0, 0

    def slow(_case: Case) -> None:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.01)
        with lock:
            now -= 1

    pairs_of(data, Counted(legacy, slow), Counted(candidate, slow), tmp_path, Manner(in_flight=3, warm_up=0))
    assert most == 3


def test_a_refusal_is_an_answer_with_the_models_own_words(
    data: Data, legacy: Side, candidate: Side, tmp_path: Path
) -> None:
    class Broken:
        digest = "broken"

        def for_candidate(self, case: Case) -> Case:
            by = (
                lambda: replace(case, inputs={**case.inputs, "unknown": np.zeros(1)}),
                lambda: replace(case, signature="gone"),
                lambda: replace(case, inputs={name: array[..., :1] for name, array in case.inputs.items()}),
            )
            return by[case.number % 3]()

    translation: Translation = Broken()
    pairs = pairs_of(data, legacy, candidate, tmp_path, Manner(most=6), translation=translation)
    failures = [pair.candidate.failure for pair in pairs]
    assert [failure and failure.code for failure in failures] == [
        "INVALID_ARGUMENT", "FAILED_PRECONDITION", "INVALID_ARGUMENT",
    ] * 2  # fmt: skip
    assert failures[2] is not None
    assert "127.0.0.1" not in failures[2].text
    assert all(pair.legacy.outputs for pair in pairs)


class Mortal:
    """A server that dies when case 10 is asked, once, and is started again at the same port if it `returns`."""

    def __init__(self, tensorflow: TensorFlow, *, returns: bool) -> None:
        self._tensorflow = tensorflow
        self._returns = returns
        self._killed = False
        self._life = ExitStack()
        self._restart: threading.Thread | None = None
        address = self._start(0)
        self.port = int(address.rpartition(":")[2])
        self.side = LiveSide(ServingChannel(address), MODEL.name, lambda: Identity("it", None, "it"))

    def _start(self, port: int) -> str:
        return self._life.enter_context(model_server(self._tensorflow, MODEL.folder, MODEL.name, port=port))

    def before(self, case: Case) -> None:
        if case.number != 10 or self._killed:
            return
        self._killed = True
        self._life.close()
        if self._returns:
            self._restart = threading.Timer(0.3, self._start, [self.port])
            self._restart.start()

    def close(self) -> None:
        self.side.close()
        if self._restart is not None:
            self._restart.join()
        self._life.close()


def test_a_side_that_comes_back_is_asked_once_more(
    data: Data, legacy: Side, modern_tensorflow: TensorFlow, tmp_path: Path
) -> None:
    mortal = Mortal(modern_tensorflow, returns=True)
    one = Counted(mortal.side, mortal.before)
    try:
        pairs = pairs_of(data, legacy, one, tmp_path, Manner(in_flight=1, warm_up=0))
    finally:
        mortal.close()
    assert one.asked.count(10) == 2
    assert all(pair.candidate.outputs for pair in pairs)


def test_a_side_that_stays_away_ends_it_and_what_was_answered_before_is_kept(
    data: Data, legacy: Side, candidate: Side, modern_tensorflow: TensorFlow, tmp_path: Path
) -> None:
    mortal = Mortal(modern_tensorflow, returns=False)
    manner = Manner(in_flight=1, patience_s=0.5, warm_up=0)
    try:
        with pytest.raises(PredictionError, match="Nobody answers any more") as lost:
            pairs_of(data, legacy, Counted(mortal.side, mortal.before), tmp_path, manner)
    finally:
        mortal.close()
    assert "goes on where it ended" in lost.value.remedy
    one = Counted(candidate)
    one.identity = lambda: Identity("it", None, "it")  # type: ignore[attr-defined]
    pairs = pairs_of(data, legacy, one, tmp_path, manner)
    assert one.asked == list(range(10, ROWS // 2))
    assert all(pair.candidate.outputs for pair in pairs)


def test_a_model_that_remembers_is_not_compared(legacy_tensorflow: TensorFlow, tmp_path: Path) -> None:
    case = STATEFUL.cases[0]
    file = tmp_path / "data.npz"
    file.write_bytes(write_npz({name: np.asarray(array) for name, array in case.inputs.items()}))
    with side_of(legacy_tensorflow, STATEFUL, "it") as side:
        data = open_data(file, Reading(side.signatures(), case.signature, rows=None))
        with pytest.raises(PredictionError, match="changes its model's state"):
            pairs_of(data, side, side, tmp_path)


def test_recorded_outputs_are_joined_by_rows_also_when_a_comparison_goes_on(
    data: Data, legacy: Side, tmp_path: Path
) -> None:
    with answers_for(data, legacy, legacy, tmp_path / "first", Manner()) as answers:
        pairs = list(asked(data, legacy, legacy, answers, Manner()))
    recorded = {
        name: np.concatenate([outputs(pair.legacy)[name] for pair in pairs]) for name in outputs(pairs[0].legacy)
    }
    codes = np.array([""] * ROWS, dtype="U16")
    codes[9] = "INTERNAL"
    file = tmp_path / "outputs.npz"
    file.write_bytes(write_npz({**recorded, FAILURES: codes, FAILURE_TEXTS: np.array(["why"] * ROWS)}))
    for most in (7, None):  # the second time it goes on
        side = RecordedOutputs(file)
        joined = pairs_of(data, legacy, side, tmp_path / "second", Manner(most=most))
        side.close()
    assert len(joined) == ROWS // 2
    for pair in joined:
        if pair.case.number == 4:
            assert pair.candidate.failure is not None
            assert (pair.candidate.failure.code, pair.candidate.failure.text) == ("INTERNAL", "why")
            continue
        for name, array in outputs(pair.legacy).items():
            np.testing.assert_array_equal(outputs(pair.candidate)[name], array)


def test_recorded_outputs_of_too_few_rows_are_refused(data: Data, legacy: Side, tmp_path: Path) -> None:
    file = tmp_path / "outputs.npz"
    file.write_bytes(write_npz({"y": np.zeros((ROWS - 1, 2), np.float32)}))
    with pytest.raises(DataError, match=f"holds {ROWS - 1} rows"):
        pairs_of(data, legacy, RecordedOutputs(file), tmp_path)


def test_logged_answers_are_a_side_beside_the_logged_requests(data: Data, legacy: Side, tmp_path: Path) -> None:
    file = tmp_path / "logs"
    with TFRecordWriter(file) as writer:
        for case in itertools.islice(data.cases(), 5):
            log = PredictionLog()
            for name, array in case.inputs.items():
                log.predict_log.request.inputs[name].CopyFrom(to_proto(array))
            for name, array in outputs(legacy.question(case)(20)).items():
                log.predict_log.response.outputs[name].CopyFrom(to_proto(array))
            writer.append(log.SerializeToString())
    pairs = pairs_of(open_data(file, data.reading), RecordedLogs(file), legacy, tmp_path)
    assert len(pairs) == 5
    for pair in pairs:
        for name, array in outputs(pair.legacy).items():
            np.testing.assert_array_equal(outputs(pair.candidate)[name], array)


def test_the_noise_is_that_between_rows_and_batches_of_the_same_rows(data: Data, legacy: Side) -> None:
    pairs = list(noise_pairs(data, legacy, most_rows=48, batch=32))
    assert [len(next(iter(pair.case.inputs.values()))) for pair in pairs] == [32, 16]
    for pair in pairs:
        for name, array in outputs(pair.legacy).items():
            np.testing.assert_allclose(outputs(pair.candidate)[name], array, atol=1e-4, rtol=1e-3)


def test_a_model_equals_itself_bit_by_bit_in_equal_batches(data: Data, legacy: Side, tmp_path: Path) -> None:
    for pair in pairs_of(data, legacy, legacy, tmp_path):
        for name, array in outputs(pair.legacy).items():
            np.testing.assert_array_equal(outputs(pair.candidate)[name], array)
