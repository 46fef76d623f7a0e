"""`stopgap.load` with arrays: what is shared, what ends when, and what a model can be asked."""

from __future__ import annotations

import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import stopgap
from stopgap.client.status import (
    DEADLINE_EXCEEDED,
    FAILED_PRECONDITION,
    INVALID_ARGUMENT,
    PERMISSION_DENIED,
    UNAVAILABLE,
)
from stopgap.store import Store
from stopgap_protos.example_pb2 import Example
from stopgap_protos.saved_model_pb2 import SavedModel
from stopgap_protos.tensor_pb2 import DataType

from tests import zoo
from tests.backstage import on_bubblewrap
from tests.graphs import counting_loop, echo, sparse_echo
from tests.stopgap_program import Program, free_port

pytestmark = pytest.mark.slow

STN = zoo.load("stn_affine_resampler")
IMAGE = STN.cases[0].inputs["image"]
PROBS = STN.cases[0].outputs["probs"]
STATEFUL = zoo.load("obtain_next_roundrobin_stateful")


def folder_of(model: zoo.ZooModel) -> Path:
    return zoo.ZOO / model.name


def load(model: zoo.ZooModel | Path, engine: str = "bubblewrap", **how: Any) -> stopgap.LoadedModel:
    return stopgap.load(model if isinstance(model, Path) else folder_of(model), engine=engine, **how)


def shared_sandboxes() -> list[str]:
    return [each.name for each in Store.default().deployments()]


def until(holds: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def waited_for(child: int, seconds: float) -> int | None:
    """Its exit status; None where it had to be killed."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return status
        time.sleep(0.05)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def refused(ask: Callable[[], object]) -> stopgap.PredictionError:
    with pytest.raises(stopgap.PredictionError) as raised:
        ask()
    return raised.value


@pytest.mark.usefixtures("state")
def test_a_contrib_model_answers_from_its_folder_as_tensorflow_1_15_did(engine: str) -> None:
    with load(STN, engine) as model:
        answer = model.signatures["serving_default"].numpy(image=IMAGE)
        for alias, expected in STN.cases[0].outputs.items():
            np.testing.assert_allclose(answer[alias], expected, atol=STN.atol, rtol=STN.rtol)
        assert shared_sandboxes() == [model.name]
    assert shared_sandboxes() == []


@on_bubblewrap
@pytest.mark.usefixtures("state")
class TestSharing:
    def test_the_same_content_is_one_sandbox_until_its_last_user_leaves(self, tmp_path: Path) -> None:
        copy = shutil.copytree(folder_of(STN), tmp_path / "elsewhere")
        first, second = load(STN), load(copy)
        assert first.name == second.name
        first.close()
        np.testing.assert_allclose(second.signatures["serving_default"].numpy(image=IMAGE)["probs"], PROBS, atol=1e-4)
        second.close()
        second.close()
        assert shared_sandboxes() == []

    def test_a_sandbox_whose_folder_is_not_what_it_was_is_shared_with_nobody_new(self, tmp_path: Path) -> None:
        first_folder = shutil.copytree(folder_of(STN), tmp_path / "first")
        with load(first_folder) as first:
            assets = next(first_folder.rglob("saved_model.pb")).with_name("assets")
            assets.mkdir()
            (assets / "added").touch()
            with load(STN) as second:
                assert first.name != second.name
                shutil.rmtree(first_folder)
                with load(STN) as third:
                    assert third.name == second.name
                    np.testing.assert_allclose(third.predict(IMAGE)["probs"], PROBS, atol=1e-4)

    def test_status_says_whose_it_is(self) -> None:
        with load(STN) as model:
            done = command("status")
            assert model.name in done.stdout.decode()
            said = " ".join(done.stderr.decode().split())
            assert f"{model.name} is what programs have loaded from {STN.folder}; it ends with the last" in said

    def test_what_is_asked_for_otherwise_is_another(self) -> None:
        with load(STN) as one, load(STN, workers=2) as other:
            assert one.name != other.name
            assert one.address == other.address, "behind one front"

    def test_a_model_that_changes_state_is_shared_with_nobody(self) -> None:
        with load(STATEFUL) as one, load(STATEFUL) as other:
            assert one.name != other.name
            for model in (one, other):
                for case in STATEFUL.cases:
                    answer = model.signatures[case.signature].numpy(**case.inputs)
                    zoo.assert_matches(STATEFUL, case, answer)

    def test_two_at_once_make_one_sandbox(self) -> None:
        with ThreadPoolExecutor() as threads:
            models = list(threads.map(lambda _: load(STN), range(3)))
        assert len({model.name for model in models}) == 1
        for model in models:
            model.close()

    def test_another_process_shares_it_and_ends_it_when_it_is_last(self) -> None:
        with load(STN) as model:
            other = python("model = stopgap.load(PATH, engine='bubblewrap'); print(model.name, flush=True); input()")
            assert read_line(other) == model.name
        assert shared_sandboxes() == [model.name], "the other process uses it still"
        other.communicate("\n", timeout=60)
        assert other.returncode == 0
        assert shared_sandboxes() == []

    def test_a_program_that_just_ends_leaves_nothing(self) -> None:
        code = "stopgap.load(PATH, engine='bubblewrap').signatures['serving_default'].numpy(image=IMAGE)"
        said, errors = python(code).communicate(timeout=120)
        assert (said, errors) == ("", "")
        assert shared_sandboxes() == []

    def test_what_a_killed_process_leaves_the_next_load_takes_away(self) -> None:
        killed = python("model = stopgap.load(PATH, engine='bubblewrap'); print(model.name, flush=True); input()")
        left = read_line(killed)
        killed.kill()
        killed.communicate(timeout=60)
        assert shared_sandboxes() == [left]
        with load(zoo.load("sparsemax_attention_control")) as other:
            assert shared_sandboxes() == [other.name]

    def test_a_sandbox_that_somebody_has_stopped_is_started_anew_by_the_next_load(self) -> None:
        with load(STN) as model:
            assert command("stop", model.name).returncode == 0
            with load(STN) as again:
                assert again.name == model.name
                np.testing.assert_allclose(again.predict(IMAGE)["probs"], PROBS, atol=1e-4)

    def test_a_forked_process_asks_by_a_connection_of_its_own_and_has_its_own_part(self) -> None:
        model = load(STN)
        ask = model.signatures["serving_default"]
        ask.numpy(image=IMAGE)
        reader, writer = os.pipe()
        if (child := os.fork()) == 0:
            os.read(reader, 1)  # the parent has closed its model meanwhile
            same = np.allclose(ask.numpy(image=IMAGE)["probs"], PROBS, atol=1e-4)
            os._exit(0 if same else 1)
        model.close()
        assert shared_sandboxes() == [model.name], "the child uses it still"
        os.write(writer, b".")
        os.close(writer)
        os.close(reader)
        assert os.waitpid(child, 0)[1] == 0
        load(zoo.load("sparsemax_attention_control")).close()
        assert shared_sandboxes() == []

    def test_what_a_load_that_was_killed_half_way_leaves_the_next_takes_away(self, tmp_path: Path) -> None:
        slow = counting_loop(tmp_path / "slow", at_least=10**8)  # its load takes as long as its warm-up may
        killed = python(f"stopgap.load({str(slow)!r}, engine='bubblewrap')")
        until(lambda: bool(Store.default().sandbox_names()), 60)
        killed.kill()
        killed.communicate(timeout=60)
        assert Store.default().sandbox_names()
        with load(STN) as model:
            assert Store.default().sandbox_names() == {model.name}

    def test_two_state_folders_load_the_same_model(self, tmp_path: Path) -> None:
        with load(STN) as mine:
            code = "model = stopgap.load(PATH, engine='bubblewrap'); model.predict(IMAGE); print(model.name)"
            said, errors = python(code, STOPGAP_STATE=str(tmp_path / "other")).communicate(timeout=120)
            assert errors == ""
            assert said.strip() not in ("", mine.name)

    def test_a_load_that_fails_leaves_nothing(self, tmp_path: Path) -> None:
        with pytest.raises(stopgap.ModelError, match="not registered"):
            load(with_unknown_op(tmp_path / "model"))
        assert shared_sandboxes() == []


@on_bubblewrap
@pytest.mark.usefixtures("state")
class TestAsking:
    def test_threads_ask_at_once(self) -> None:
        with load(STN) as model, ThreadPoolExecutor(8) as threads:
            ask = model.signatures["serving_default"].numpy
            for answer in threads.map(lambda _: ask(image=IMAGE), range(64)):
                np.testing.assert_allclose(answer["probs"], PROBS, atol=1e-4)

    def test_many_rows_go_in_batches_and_come_back_in_order(self) -> None:
        rows = np.concatenate([IMAGE * factor for factor in np.linspace(0, 1, 23, dtype="f")])
        with load(STN) as model:
            whole = model.predict({"image": rows})
            for size, in_flight in ((1, 4), (5, 3), (23, 1), (100, 2)):
                parts = model.predict(rows, batch_size=size, in_flight=in_flight, show_progress=False)
                for alias, expected in whole.items():
                    np.testing.assert_allclose(parts[alias], expected, atol=1e-5)

    def test_no_rows_are_asked_for_as_they_are(self, tmp_path: Path) -> None:
        with load(echo(tmp_path / "echo", {"x": (DataType.DT_FLOAT, (-1, 2))})) as model:
            assert model.predict(np.zeros((0, 2), "f"), batch_size=4)["x"].shape == (0, 2)

    def test_what_cannot_be_asked_in_batches_says_why(self, tmp_path: Path) -> None:
        with load(STN) as model:
            wrong = np.zeros((6, 24, 24, 2), "f")
            problem = refused(lambda: model.predict(wrong, batch_size=4, in_flight=1)).problem
            assert problem.startswith("In the 4 rows from 0 on: ")
            assert "at least 1" in refused(lambda: model.predict(IMAGE, batch_size=0)).problem
        fixed = echo(tmp_path / "fixed", {"x": (DataType.DT_FLOAT, (3,))})
        with load(fixed) as model:
            error = refused(lambda: model.predict(np.zeros(3, "f"), batch_size=2))
            assert "the first dimension of 'x' is not free" in error.problem

    def test_errors_are_of_one_tree_and_say_what_to_do(self) -> None:
        with load(STN) as model:
            unknown = refused(lambda: model.signatures["nope"])
            assert (unknown.code, "serving_default" in unknown.remedy) == (FAILED_PRECONDITION, True)
            positional = refused(lambda: model.signatures["serving_default"](IMAGE, IMAGE))
            assert positional.remedy == "Write image="
            missing = refused(model.signatures["serving_default"].numpy)
            assert (missing.code, "missing: 'image'" in missing.problem) == (INVALID_ARGUMENT, True)
        with pytest.raises(stopgap.ModelError, match="does not exist"):
            stopgap.load("./nowhere")

    def test_a_request_that_costs_its_worker_is_not_asked_again_and_again(self) -> None:
        """An empty batch ends Resampler; the front asks once more, in the lane, and that is all."""
        with load(STN) as model:
            assert refused(lambda: model.predict(IMAGE[:0])).code == UNAVAILABLE
            until(lambda: refused(lambda: model.predict(IMAGE[:0])).code == INVALID_ARGUMENT)
            np.testing.assert_allclose(model.predict(IMAGE)["probs"], PROBS, atol=1e-4)
            before = command("logs", model.name).stdout.decode().count(" ended: SIGFPE")
            for _ in range(3):
                assert refused(lambda: model.predict(IMAGE[:0])).code == INVALID_ARGUMENT
            assert command("logs", model.name).stdout.decode().count(" ended: SIGFPE") == before

    def test_what_cannot_be_is_told_before_anything_is_started(self) -> None:
        for deadline_s in (0, -1, float("nan"), float("inf")):
            with pytest.raises(stopgap.DeploymentError, match="cannot be"):
                load(STN, timeout_s=deadline_s)
        wrong: tuple[Any, ...] = ({"a": 1}, {1: {}}, {"": {}}, {"stopgap:x": {"inputs": {}, "outputs": {"y": "y"}}})
        for signatures in wrong:
            with pytest.raises(stopgap.ModelError, match="cannot be used"):
                load(STN, signatures=signatures)
        assert shared_sandboxes() == []

    def test_a_deadline_is_kept(self, tmp_path: Path) -> None:
        with load(counting_loop(tmp_path / "loop"), timeout_s=0.5) as model:
            assert refused(lambda: model.predict({"limit": 10**12})).code == DEADLINE_EXCEEDED
            assert refused(lambda: model.predict({"limit": 10**12}, timeout_s=0.2)).code == DEADLINE_EXCEEDED

    def test_a_requests_own_deadline_must_be_one(self) -> None:
        with load(STN) as model:
            for deadline_s in (0, -1, float("nan"), 1e12, "3", True):
                problem = refused(lambda deadline_s=deadline_s: model.predict(IMAGE, timeout_s=deadline_s)).problem  # type: ignore[misc]
                assert problem == f"A deadline of {deadline_s!r} s cannot be."

    def test_signatures_are_a_mapping_like_any_other(self) -> None:
        with load(STN) as model:
            assert model.signatures.get("nope") is None
            with pytest.raises(KeyError, match="has no signature 'nope'"):
                model.signatures["nope"]

    def test_a_copy_in_another_process_opens_the_model_again(self) -> None:
        with load(STN) as model:
            again = pickle.loads(pickle.dumps(model))  # noqa: S301 - our own
            with again:
                assert again.name == model.name
                np.testing.assert_allclose(again.predict(IMAGE)["probs"], PROBS, atol=1e-4)
            assert repr(again).endswith("closed>")

    def test_what_is_of_the_wrong_form_is_told_within_our_tree(self, tmp_path: Path) -> None:
        scalar = echo(tmp_path / "scalar", {"x": (DataType.DT_FLOAT, None)})
        with load(scalar) as model:
            assert "without rows" in refused(lambda: model.predict(3.0, batch_size=2)).problem
            for batch_size in (0, True, 1.5, "a"):
                assert "whole number" in refused(lambda size=batch_size: model.predict([3.0], batch_size=size)).problem  # type: ignore[misc]
            assert len(model.predict([3.0, 4.0], batch_size=np.int64(1))["x"]) == 2  # type: ignore[arg-type]
            for feeds in (None, {"x": ["a"]}, 7):
                assert "names no tensors" in refused(lambda feeds=feeds: model.prune(feeds, "x:0")).problem  # type: ignore[misc]
        predictor = stopgap.predictor(folder_of(STN), engine="bubblewrap")
        with predictor:
            for asked in (IMAGE, None, {1: IMAGE}):
                assert "called with a dict" in refused(lambda asked=asked: predictor(asked)).problem  # type: ignore[misc]
        assert "must be a dict" in refused(lambda: stopgap.predictor(folder_of(STN), input_names=["x"])).problem  # type: ignore[arg-type]

    def test_children_that_are_forked_while_others_ask_can_ask_as_well(self) -> None:
        with load(STN) as model:
            over = threading.Event()

            def keep_asking() -> None:
                while not over.is_set():
                    model.predict(IMAGE)

            with ThreadPoolExecutor(3) as threads:
                asking = [threads.submit(keep_asking) for _ in range(3)]
                try:
                    children = []
                    for _ in range(10):
                        time.sleep(0.05)
                        if (child := os.fork()) == 0:
                            same = np.allclose(model.predict(IMAGE, timeout_s=20)["probs"], PROBS, atol=1e-4)
                            os._exit(0 if same else 1)
                        children.append(child)
                    ended = [waited_for(child, 30) for child in children]
                finally:
                    over.set()
                assert ended == [0] * 10
                for caller in asking:
                    caller.result()

    def test_a_model_that_is_closed_answers_no_more(self) -> None:
        with load(STN) as model:
            ask = model.signatures["serving_default"]
        for asked in (lambda: ask.numpy(image=IMAGE), model.keras_layer):
            assert refused(asked).code == FAILED_PRECONDITION

    def test_what_has_a_default_may_be_left_out(self) -> None:
        components = zoo.load("connected_components")
        with load(components) as model:
            for case in components.cases:
                if case.error is None:
                    answer = model.signatures[case.signature].numpy(**case.inputs)
                    zoo.assert_matches(components, case, answer)

    def test_a_sparse_tensor_is_one_value(self, tmp_path: Path) -> None:
        sparse = stopgap.SparseValue(np.array([[0, 1], [2, 0]]), np.array([1.5, 2.5], "f"), np.array([3, 2]))
        with load(sparse_echo(tmp_path / "sparse")) as model:
            back = model.predict({"sp": sparse})["sp"]
            assert isinstance(back, stopgap.SparseValue)
            for sent, received in zip(sparse, back):
                np.testing.assert_array_equal(sent, received)

    def test_examples_are_made_from_columns_of_features(self) -> None:
        for name, signature in (
            ("estimator_dnn_forward_key_control", "predict"),
            ("ads_ctr_sparse_cross_v2", "predict"),
            ("contrib_rnn_estimator_control", "predict"),
        ):
            model = zoo.load(name)
            case = next(one for one in model.cases if one.signature == signature and one.error is None)
            with load(model) as loaded:
                columns = columns_of(case.inputs["examples"])
                zoo.assert_matches(model, case, loaded.signatures[signature].numpy(features=columns))
                zoo.assert_matches(model, case, loaded.predict(signature=signature, features=columns))

    def test_features_that_do_not_fit_are_told_with_those_that_do(self) -> None:
        with load(zoo.load("estimator_dnn_forward_key_control")) as model:
            ask = model.signatures["predict"].numpy
            assert "no feature 'size'" in refused(lambda: ask(features={"age": [1.0], "size": [2]})).problem
            missing = refused(lambda: ask(features={"gender": ["f"]}))
            assert "needs the feature 'age'" in missing.problem
            assert "age: float32 × 1, required" in missing.remedy
            assert "has 1 values" in refused(lambda: ask(features={"age": [[1.0, 2.0]]})).problem
            assert "different numbers" in refused(lambda: ask(features={"age": [1.0], "gender": ["f", "m"]})).problem
        with load(STN) as model:
            none = refused(lambda: model.signatures["serving_default"].numpy(features={"age": [1.0]}))
            assert "none that does" in none.problem

    def test_tensors_of_the_graph_can_be_fed_and_fetched(self) -> None:
        theta, probs = "fully_connected_1/BiasAdd:0", "Softmax:0"
        expected = STN.cases[0].outputs
        with load(STN) as model:
            one = model.prune("image:0", theta).numpy(IMAGE)
            np.testing.assert_allclose(one, expected["theta"], atol=1e-4)
            several = model.prune(["image:0"], [theta, probs]).numpy(IMAGE)
            np.testing.assert_allclose(several[1], expected["probs"], atol=1e-4)
            named = model.prune({"x": "image:0"}, {"p": probs, "t": theta}).numpy(x=IMAGE)
            assert named.keys() == {"p", "t"}
            unknown = refused(lambda: model.prune("image:0", "nowhere:0"))
            assert "no tensor 'nowhere:0'" in unknown.problem
            assert "Give: image:0" in refused(lambda: model.prune("image:0", probs).numpy()).remedy

    def test_a_predictor_is_called_as_contribs_was(self) -> None:
        with stopgap.predictor(folder_of(STN), engine="bubblewrap") as predict:
            assert predict.feed_tensors == {"image": "image"}
            np.testing.assert_allclose(predict({"image": IMAGE})["probs"], PROBS, atol=1e-4)
        by_tensors: dict[str, Any] = {"input_names": {"x": "image:0"}, "output_names": {"p": "Softmax:0"}}
        with stopgap.predictor(folder_of(STN), engine="bubblewrap", **by_tensors) as predict:
            np.testing.assert_allclose(predict({"x": IMAGE})["p"], PROBS, atol=1e-4)
        assert "either" in refused(lambda: stopgap.predictor(folder_of(STN), "a", **by_tensors)).problem

    def test_a_model_without_signatures_is_given_some(self, tmp_path: Path) -> None:
        bare = without_signatures(tmp_path / "bare")
        overlay = tmp_path / "signatures.toml"
        overlay.write_text('[serving_default]\ninputs = { picture = "image:0" }\noutputs = { p = "Softmax:0" }\n')
        with load(bare, signatures=overlay) as model:
            np.testing.assert_allclose(model.predict(IMAGE)["p"], PROBS, atol=1e-4)
        overlay.write_text('[serving_default]\ninputs = { picture = "image:0" }\noutputs = { p = "nowhere:0" }\n')
        with pytest.raises(stopgap.ModelError, match="no tensor 'nowhere:0'"):
            load(bare, signatures=overlay)

    def test_tags_choose_the_graph(self) -> None:
        exported = zoo.load("tpu_estimator_export_control")
        case = exported.cases[0]
        with load(exported, tags=("serve",)) as model:
            zoo.assert_matches(exported, case, model.signatures[case.signature].numpy(**case.inputs))
        with pytest.raises(stopgap.ModelError, match="no graph tagged gpu"):
            load(exported, tags=("gpu",))


@on_bubblewrap
def test_a_running_deployment_is_loaded_by_name_and_by_address_and_stays(state: Path) -> None:
    program = Program(state, free_port(), "bubblewrap")
    program.serve(folder_of(STN), "ranker")
    try:
        for model in (stopgap.load("ranker"), stopgap.load(f"127.0.0.1:{program.port}/ranker")):
            with model:
                np.testing.assert_allclose(model.predict(IMAGE)["probs"], PROBS, atol=1e-4)
                closed = refused(lambda: model.prune("image:0", "Softmax:0"))  # noqa: B023 - asked at once
                assert (closed.code, "--allow-tensors" in closed.problem) == (PERMISSION_DENIED, True)
        with pytest.raises(stopgap.DeploymentError, match="Which model"):
            stopgap.load(f"127.0.0.1:{program.port}")
        assert program.answers("ranker")
    finally:
        program.run("stop", "ranker")


@on_bubblewrap
def test_a_deployment_that_was_replaced_is_told(state: Path, tmp_path: Path) -> None:
    program = Program(state, free_port(), "bubblewrap")
    program.serve(folder_of(STN), "ranker")
    try:
        with stopgap.load("ranker") as model:
            model.predict(IMAGE)
            assert program.run("stop", "ranker").returncode == 0
            program.serve(echo(tmp_path / "echo", {"x": (DataType.DT_FLOAT, (-1, 2))}), "ranker")
            assert "Another model is served as ranker by now" in refused(lambda: model.predict(IMAGE)).remedy
            assert list(model.signatures["serving_default"].signature.inputs) == ["x"]
    finally:
        program.run("stop", "ranker")


@on_bubblewrap
@pytest.mark.usefixtures("state")
def test_a_shared_sandbox_that_was_loaded_by_its_name_stays_as_long() -> None:
    with load(STN) as first:
        second = stopgap.load(first.name)
    with second:
        np.testing.assert_allclose(second.predict(IMAGE)["probs"], PROBS, atol=1e-4)
    assert shared_sandboxes() == []


@on_bubblewrap
def test_a_deployment_may_have_given_signatures_and_let_callers_name_tensors(state: Path, tmp_path: Path) -> None:
    program = Program(state, free_port(), "bubblewrap")
    overlay = tmp_path / "signatures.toml"
    overlay.write_text('[mine]\ninputs = { picture = "image:0" }\noutputs = { p = "Softmax:0" }\n')
    program.serve(folder_of(STN), "ranker", "--signatures", str(overlay), "--allow-tensors")
    try:
        with stopgap.load("ranker") as model:
            assert sorted(model.signatures) == ["mine", "serving_default"]
            np.testing.assert_allclose(model.predict(IMAGE, signature="mine")["p"], PROBS, atol=1e-4)
            np.testing.assert_allclose(model.prune("image:0", "Softmax:0").numpy(IMAGE), PROBS, atol=1e-4)
    finally:
        program.run("stop", "ranker")


def test_an_address_where_nobody_answers_is_told_at_once() -> None:
    error = refused(lambda: stopgap.load(f"127.0.0.1:{free_port()}/ranker", timeout_s=5))
    assert error.code == UNAVAILABLE


def python(code: str, **environment: str) -> subprocess.Popen[str]:
    """A program that has the model's path and an image."""
    preface = f"import stopgap, numpy as np; PATH = {str(folder_of(STN))!r}; IMAGE = np.zeros((1, 24, 24, 1), 'f')\n"
    return subprocess.Popen(
        [sys.executable, "-c", preface + code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **environment},
        text=True,
    )


def read_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    timer = threading.Timer(120, process.send_signal, [signal.SIGKILL])
    timer.start()
    try:
        line = process.stdout.readline().strip()
    finally:
        timer.cancel()
    assert line, process.communicate()[1]
    return line


def command(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(Program.command(*arguments), check=False, capture_output=True, timeout=120)


def with_unknown_op(folder: Path) -> Path:
    return edited(folder, lambda model: setattr(model.meta_graphs[0].graph_def.node[0], "op", "Unheard"))


def without_signatures(folder: Path) -> Path:
    return edited(folder, lambda model: model.meta_graphs[0].ClearField("signature_def"))


def edited(folder: Path, edit: Callable[[SavedModel], None]) -> Path:
    """A copy of the spatial transformer, changed."""
    shutil.copytree(STN.folder, folder)
    file = folder / "saved_model.pb"
    model = SavedModel.FromString(file.read_bytes())
    edit(model)
    file.write_bytes(model.SerializeToString())
    return folder


def columns_of(examples: Any) -> dict[str, list[object]]:
    """Serialised tf.Examples as columns of features."""
    rows = [values_of(Example.FromString(example)) for example in examples.tolist()]
    names = sorted({name for row in rows for name in row})
    return {name: [row.get(name) for row in rows] for name in names}


def values_of(example: Example) -> dict[str, list[object]]:
    features = example.features.feature.items()
    return {name: list(getattr(feature, feature.WhichOneof("kind") or "").value) for name, feature in features}
