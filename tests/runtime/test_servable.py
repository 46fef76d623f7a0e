"""A loaded model: which of its tensors are fed and fetched, and in which thread it runs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from stopgap_protos.saved_model_pb2 import SavedModel
from stopgap_protos.tensor_pb2 import DataType
from stopgap_runtime.capi import TensorFlow
from stopgap_runtime.faults import Code, Fault
from stopgap_runtime.host_tensor import HostTensor, array_of, of_array
from stopgap_runtime.servable import Servable
from stopgap_runtime.signatures import DEFAULT_SIGNATURE

from tests import zoo
from tests.graphs import counting_loop, custom_op


@pytest.fixture
def loop(legacy_tensorflow: TensorFlow, tmp_path: Path) -> Iterator[Servable]:
    servable = serve(legacy_tensorflow, counting_loop(tmp_path / "model"))
    yield servable
    servable.close()


def serve(tensorflow: TensorFlow, folder: Path) -> Servable:
    return Servable.load(tensorflow, folder, tags={"serve"}, threads=2, load_timeout_s=30)


def warm(servable: Servable, inputs: dict[str, HostTensor]) -> None:
    """Warms up until the caller's thread has won: on a busy machine one measurement may say otherwise."""
    for _ in range(5):
        servable.warm_up()
        if servable.runs_inline(servable.signatures[DEFAULT_SIGNATURE], inputs):
            return
    pytest.fail("the caller's thread was never faster than the pool")


def limit(number: int) -> dict[str, HostTensor]:
    return {"limit": of_array(np.array(number, np.int64))}


def edited(folder: Path, signature: str, alias: str, tensor_name: str) -> Path:
    """Gives a model of tests.graphs one more output."""
    path = folder / "saved_model.pb"
    model = SavedModel.FromString(path.read_bytes())
    info = model.meta_graphs[0].signature_def[signature].outputs[alias]
    info.name, info.dtype = tensor_name, DataType.DT_INT64
    path.write_bytes(model.SerializeToString())
    return folder


def test_what_a_model_says_of_itself(loop: Servable) -> None:
    assert loop.tensorflow_version == "1.15.5"
    assert loop.signatures.keys() == loop.signature_defs.keys() == {DEFAULT_SIGNATURE}
    assert not loop.changes_state(DEFAULT_SIGNATURE)


def test_two_aliases_may_share_a_tensor_and_its_number_may_be_missing(
    legacy_tensorflow: TensorFlow, tmp_path: Path
) -> None:
    folder = edited(counting_loop(tmp_path / "model"), DEFAULT_SIGNATURE, "again", "exit:0")
    edited(folder, DEFAULT_SIGNATURE, "bare", "exit")
    servable = serve(legacy_tensorflow, folder)
    outputs = servable.run(servable.signatures[DEFAULT_SIGNATURE], limit(4), ("bare", "count", "again"), 5)
    assert {alias: int(array_of(tensor)) for alias, tensor in outputs.items()} == {"bare": 4, "count": 4, "again": 4}
    servable.close()


def test_only_the_wanted_outputs_are_computed(legacy_tensorflow: TensorFlow, tmp_path: Path) -> None:
    folder = edited(counting_loop(tmp_path / "model"), DEFAULT_SIGNATURE, "broken", "nobody:0")
    servable = serve(legacy_tensorflow, folder)
    signature = servable.signatures[DEFAULT_SIGNATURE]
    assert servable.run(signature, limit(2), ("count",), 5).keys() == {"count"}
    with pytest.raises(Fault) as refused:
        servable.run(signature, limit(2), ("count", "broken"), 5)
    assert refused.value.code == Code.INVALID_ARGUMENT
    assert "nobody:0" in refused.value.text
    servable.warm_up()  # which fetches all of them: an error, and no more than that
    assert not servable.runs_inline(signature, limit(2))
    servable.close()


def test_nothing_runs_in_the_callers_thread_before_it_was_measured(loop: Servable) -> None:
    signature = loop.signatures[DEFAULT_SIGNATURE]
    assert not loop.runs_inline(signature, limit(1))
    with pytest.raises(Fault) as ended:
        loop.run(signature, limit(2**62), ("count",), 0.2)
    assert ended.value.code == Code.DEADLINE_EXCEEDED


def test_what_is_short_and_faster_there_moves_into_the_callers_thread(loop: Servable) -> None:
    warm(loop, limit(5))
    signature = loop.signatures[DEFAULT_SIGNATURE]
    assert int(array_of(loop.run(signature, limit(5), ("count",), 5, inline=True)["count"])) == 5


def test_what_takes_long_on_zeros_stays_in_the_pool(legacy_tensorflow: TensorFlow, tmp_path: Path) -> None:
    servable = serve(legacy_tensorflow, counting_loop(tmp_path / "model", at_least=100_000))
    servable.warm_up()
    assert not servable.runs_inline(servable.signatures[DEFAULT_SIGNATURE], limit(0))
    servable.close()


def test_a_warm_up_that_never_ends_is_given_up(legacy_tensorflow: TensorFlow, tmp_path: Path) -> None:
    servable = serve(legacy_tensorflow, counting_loop(tmp_path / "model", at_least=2**61))
    started = time.monotonic()
    servable.warm_up(budget_s=0.5)
    assert time.monotonic() - started < 10
    assert not servable.runs_inline(servable.signatures[DEFAULT_SIGNATURE], limit(0))
    servable.close()


def test_an_inline_run_that_took_long_all_the_same_was_the_last_one(loop: Servable) -> None:
    warm(loop, limit(1))
    signature = loop.signatures[DEFAULT_SIGNATURE]
    loop.run(signature, limit(400_000), ("count",), 30, inline=True)
    assert not loop.runs_inline(signature, limit(1))


def test_large_inputs_go_to_the_pool_until_one_of_their_size_was_quick(legacy_tensorflow: TensorFlow) -> None:
    model = zoo.load("mfcc_frontend_control")
    servable = serve(legacy_tensorflow, model.folder)
    warm(servable, {})
    signature = servable.signatures[DEFAULT_SIGNATURE]
    inputs = {"waveform": of_array(np.tile(model.cases[0].inputs["waveform"], 20))}
    assert not servable.runs_inline(signature, inputs)
    for _ in range(20):
        servable.run(signature, inputs, tuple(signature.outputs), 10)
    assert servable.runs_inline(signature, inputs)
    servable.close()


def test_a_signature_that_changes_state_is_not_warmed_up(legacy_tensorflow: TensorFlow) -> None:
    model = zoo.load("obtain_next_roundrobin_stateful")
    servable = serve(legacy_tensorflow, model.folder)
    assert servable.changes_any_state
    assert servable.changes_state(DEFAULT_SIGNATURE)
    servable.warm_up()
    signature = servable.signatures[DEFAULT_SIGNATURE]
    outputs = servable.run(signature, {}, ("element",), 5)
    zoo.assert_matches(model, model.cases[0], {"element": array_of(outputs["element"])})
    servable.close()


def test_inputs_too_large_to_be_made_up_are_not(legacy_tensorflow: TensorFlow, tmp_path: Path) -> None:
    folder = counting_loop(tmp_path / "model")
    path = folder / "saved_model.pb"
    model = SavedModel.FromString(path.read_bytes())
    shape = model.meta_graphs[0].signature_def[DEFAULT_SIGNATURE].inputs["limit"].tensor_shape
    shape.dim.add(size=2**40)
    shape.dim.add(size=-1)
    path.write_bytes(model.SerializeToString())
    servable = serve(legacy_tensorflow, folder)
    servable.warm_up()
    servable.close()


def test_an_unknown_operation_is_named_before_tensorflow_is_asked(
    legacy_tensorflow: TensorFlow, tmp_path: Path
) -> None:
    with pytest.raises(Fault, match=r"'NobodysOp' \(a custom op: pass its library with --op-library FILE\)"):
        serve(legacy_tensorflow, custom_op(tmp_path / "model", "NobodysOp"))


def test_an_op_library_that_does_not_load_is_named(legacy_tensorflow: TensorFlow, tmp_path: Path) -> None:
    library = tmp_path / "broken.so"
    library.write_bytes(b"not a library")
    with pytest.raises(Fault, match=r"the op library broken\.so does not load"):
        Servable.load(
            legacy_tensorflow, counting_loop(tmp_path / "model"), tags={"serve"}, op_libraries=[library], threads=1
        )
