"""The whole zoo through the C API, in this process, with no server: the first proof that the runtime answers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import pytest
from numpy.typing import NDArray
from stopgap_runtime.capi import TensorFlow, TensorFlowError
from stopgap_runtime.faults import Fault
from stopgap_runtime.host_tensor import array_of, of_array
from stopgap_runtime.servable import Servable
from stopgap_runtime.validation import check_inputs

from tests import zoo

# Signatures that change state by the letter of their operations, though their models' authors call them stateless.
NOT_REPEATABLE: Final = {
    "rpc_try_call": "TryRpc calls somebody else, who may well remember it",
    "py_func_unservable": "PyFunc runs Python that nobody can look into",
}


@contextmanager
def loaded(tensorflow: TensorFlow, model: zoo.ZooModel) -> Iterator[Servable]:
    servable = Servable.load(tensorflow, model.folder, tags={"serve"}, threads=2, load_timeout_s=60)
    try:
        yield servable
    finally:
        servable.close()


def ask(servable: Servable, case: zoo.Case) -> dict[str, NDArray[Any]]:
    signature = servable.signatures[case.signature]
    inputs = {alias: of_array(array) for alias, array in case.inputs.items()}
    check_inputs(signature, inputs)
    inline = servable.runs_inline(signature, inputs)
    outputs = servable.run(signature, inputs, tuple(signature.outputs), timeout_s=20, inline=inline)
    return {alias: array_of(tensor) for alias, tensor in outputs.items()}


def answer_all(servable: Servable, model: zoo.ZooModel) -> None:
    for case in model.cases:
        if case.error is None:
            zoo.assert_matches(model, case, ask(servable, case))
            continue
        with pytest.raises(Fault) as refused:
            ask(servable, case)
        assert refused.value.code == case.error.code, f"{model.name}/{case.name}: {refused.value}"


@pytest.mark.parametrize("name", zoo.NAMES)
def test_every_model_answers_as_tensorflow_1_15_does(legacy_tensorflow: TensorFlow, name: str) -> None:
    model = zoo.load(name)
    with loaded(legacy_tensorflow, model) as servable:
        if not model.servable:
            with pytest.raises(TensorFlowError):
                ask(servable, model.cases[0])
            return
        answer_all(servable, model)


@pytest.mark.parametrize("name", zoo.NAMES)
def test_every_model_answers_the_same_after_its_warm_up(legacy_tensorflow: TensorFlow, name: str) -> None:
    """Warm-up feeds zeros, which may be errors, then moves what is short into the caller's thread."""
    model = zoo.load(name)
    if not model.servable:
        return
    with loaded(legacy_tensorflow, model) as servable:
        servable.warm_up(budget_s=5)
        answer_all(servable, model)


@pytest.mark.parametrize("name", zoo.CONTROLS)
def test_models_without_contrib_ops_answer_the_same_from_a_tensorflow_2(
    modern_tensorflow: TensorFlow, name: str
) -> None:
    model = zoo.load(name)
    with loaded(modern_tensorflow, model) as servable:
        assert servable.tensorflow_version.startswith("2.")
        answer_all(servable, model)


@pytest.mark.parametrize("name", zoo.NAMES)
def test_whether_a_model_changes_state_is_known_from_its_graph(legacy_tensorflow: TensorFlow, name: str) -> None:
    model = zoo.load(name)
    with loaded(legacy_tensorflow, model) as servable:
        assert servable.changes_any_state == (model.stateful or name in NOT_REPEATABLE)


def test_a_tensorflow_2_names_the_contrib_module_that_it_lacks(modern_tensorflow: TensorFlow) -> None:
    with pytest.raises(Fault, match=r"'Resampler' \(of tf.contrib.resampler\)"):
        Servable.load(modern_tensorflow, zoo.load("stn_affine_resampler").folder, tags={"serve"}, threads=1)
