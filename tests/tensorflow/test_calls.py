"""A loaded model's signatures, called from TensorFlow 2.21: eagerly, in its graphs, and where they cannot work."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import stopgap
import tensorflow as tf
from stopgap_protos.tensor_pb2 import DataType
from tensorflow_serving.apis import predict_pb2

from tests import zoo
from tests.graphs import echo, sparse_echo

STN = zoo.load("stn_affine_resampler")
IMAGE = STN.cases[0].inputs["image"]
PROBS = STN.cases[0].outputs["probs"]


@pytest.fixture(scope="module")
def model() -> Iterator[stopgap.LoadedModel]:
    with stopgap.load(zoo.ZOO / STN.name, engine="bubblewrap") as loaded:
        yield loaded


def explanation(error: BaseException) -> str:
    """What an error and its causes say."""
    return f"{error} {explanation(error.__cause__)}" if error.__cause__ else str(error)


def test_tensorflow_itself_cannot_load_it() -> None:
    with pytest.raises(tf.errors.NotFoundError, match="Op type not registered 'Resampler'"):
        tf.saved_model.load(str(STN.folder))


def test_eagerly_it_gives_a_dict_of_tensors(model: stopgap.LoadedModel) -> None:
    answer = model.signatures["serving_default"](image=tf.constant(IMAGE))
    assert answer.keys() == STN.cases[0].outputs.keys()
    assert all(isinstance(tensor, tf.Tensor) for tensor in answer.values())
    np.testing.assert_allclose(answer["probs"], PROBS, atol=1e-4)


def test_the_only_input_needs_no_name(model: stopgap.LoadedModel) -> None:
    answer = model.signatures["serving_default"](tf.constant(IMAGE))
    np.testing.assert_allclose(answer["probs"], PROBS, atol=1e-4)


def test_a_value_that_would_change_is_refused_as_it_is_for_arrays(model: stopgap.LoadedModel) -> None:
    for wrong in (IMAGE.astype("complex64"), np.full(IMAGE.shape, 1e300), np.zeros(IMAGE.shape, bool)):
        with pytest.raises(stopgap.PredictionError, match="cannot be"):
            model.signatures["serving_default"](image=wrong)


def test_plain_values_become_tensors_of_the_inputs_dtype(model: stopgap.LoadedModel) -> None:
    answer = model.signatures["serving_default"](image=IMAGE.tolist())
    np.testing.assert_allclose(answer["probs"], PROBS, atol=1e-4)


def test_its_specs_are_tensorflows(model: stopgap.LoadedModel) -> None:
    function = model.signatures["serving_default"]
    assert function.structured_input_signature == ((), {"image": tf.TensorSpec((None, 24, 24, 1), tf.float32, "image")})
    assert function.structured_outputs["probs"] == tf.TensorSpec((None, 10), tf.float32, "probs")


def test_in_a_tf_function_shapes_are_known_before_anything_runs(model: stopgap.LoadedModel) -> None:
    @tf.function(input_signature=[tf.TensorSpec((None, 24, 24, 1), tf.float32)])  # type: ignore[untyped-decorator]
    def best(image: tf.Tensor) -> tf.Tensor:
        probs = model.signatures["serving_default"](image=image)["probs"]
        assert probs.shape.as_list() == [None, 10]
        return tf.argmax(probs, axis=-1)

    for batch in (1, 3):
        np.testing.assert_array_equal(best(tf.repeat(tf.constant(IMAGE), batch, 0)), [PROBS.argmax()] * batch)


def test_in_tf_data(model: stopgap.LoadedModel) -> None:
    images = tf.data.Dataset.from_tensor_slices(np.repeat(IMAGE, 7, 0)).batch(3)
    ask = model.signatures["serving_default"]
    answers = list(images.map(lambda image: ask(image=image)["probs"], num_parallel_calls=2).as_numpy_iterator())
    assert [len(answer) for answer in answers] == [3, 3, 1]
    np.testing.assert_allclose(np.concatenate(answers), np.repeat(PROBS, 7, 0), atol=1e-4)


def test_strings(tmp_path: Path) -> None:
    texts = np.array([[b"a\0", "ü".encode()]], object)
    with stopgap.load(echo(tmp_path / "m", {"s": (DataType.DT_STRING, (-1, 2))}), engine="bubblewrap") as model:
        ask = model.signatures["serving_default"]
        assert ask(s=tf.constant(texts))["s"].numpy().tolist() == texts.tolist()
        assert tf.function(lambda s: ask(s=s)["s"])(tf.constant(texts)).numpy().tolist() == texts.tolist()


@pytest.mark.parametrize("in_graph", [False, True])
def test_every_dtype_comes_back_as_it_went(tmp_path: Path, in_graph: bool) -> None:
    dtypes = {
        "half": tf.float16, "bf": tf.bfloat16, "double": tf.float64, "bool": tf.bool, "u8": tf.uint8, "i64": tf.int64,
        "c64": tf.complex64, "q8": tf.qint8, "q32": tf.qint32,
    }  # fmt: skip
    shapes: dict[str, Any] = {name: (dtype.as_datatype_enum, (-1,)) for name, dtype in dtypes.items()}
    given = {
        name: tf.bitcast(tf.constant([1, 2], tf.int8 if name == "q8" else tf.int32), dtype)
        if name in ("q8", "q32")
        else tf.cast(tf.constant([1, 0]), dtype)
        for name, dtype in dtypes.items()
    }
    with stopgap.load(echo(tmp_path / "m", shapes), engine="bubblewrap") as model:
        ask = model.signatures["serving_default"]
        call = tf.function(ask.__call__) if in_graph else ask
        for name, tensor in call(**given).items():
            assert tensor.dtype == dtypes[name]
            assert tensor.numpy().tolist() == given[name].numpy().tolist(), name


def test_sparse_tensors_go_and_come_whole(tmp_path: Path) -> None:
    sparse = tf.SparseTensor([[0, 1], [2, 0]], tf.constant([1.5, 2.5]), [3, 2])
    with stopgap.load(sparse_echo(tmp_path / "sparse"), engine="bubblewrap") as model:
        ask = model.signatures["serving_default"]
        assert ask.structured_outputs["sp"] == tf.SparseTensorSpec([None, None], tf.float32)
        for call in (ask, tf.function(lambda sp: ask(sp=sp))):
            back = call(sp=sparse)["sp"]
            assert isinstance(back, tf.SparseTensor)
            np.testing.assert_array_equal(tf.sparse.to_dense(back), tf.sparse.to_dense(sparse))


def test_two_models_at_once_in_one_graph(model: stopgap.LoadedModel) -> None:
    other_model = zoo.load("sparsemax_attention_control")
    case = other_model.cases[0]
    with stopgap.load(zoo.ZOO / other_model.name, engine="bubblewrap") as other:
        one, two = model.signatures["serving_default"], other.signatures[case.signature]
        both = tf.function(lambda image, **inputs: (one(image=image), two(**inputs)))
        answer = both(tf.constant(IMAGE), **{name: tf.constant(value) for name, value in case.inputs.items()})
        np.testing.assert_allclose(answer[0]["probs"], PROBS, atol=1e-4)
        zoo.assert_matches(other_model, case, {name: tensor.numpy() for name, tensor in answer[1].items()})


def test_pruned_functions_are_called_with_tensors(model: stopgap.LoadedModel) -> None:
    theta = model.prune("image:0", "fully_connected_1/BiasAdd:0")
    np.testing.assert_allclose(tf.function(theta)(tf.constant(IMAGE)), STN.cases[0].outputs["theta"], atol=1e-4)


def test_threads_share_it(model: stopgap.LoadedModel) -> None:
    ask = tf.function(lambda image: model.signatures["serving_default"](image=image)["probs"])
    with ThreadPoolExecutor(4) as threads:
        for answer in threads.map(lambda _: ask(tf.constant(IMAGE)), range(24)):
            np.testing.assert_allclose(answer, PROBS, atol=1e-4)


def test_a_forked_process_asks_with_arrays(model: stopgap.LoadedModel) -> None:
    """With arrays: TensorFlow itself does not survive a fork."""
    model.predict(IMAGE)
    if (child := os.fork()) == 0:
        same = np.allclose(model.predict(IMAGE)["probs"], PROBS, atol=1e-4)
        os._exit(0 if same else 1)
    assert os.waitpid(child, 0)[1] == 0
    np.testing.assert_allclose(model.predict(IMAGE)["probs"], PROBS, atol=1e-4)


def test_no_gradient_flows_through_it_and_that_is_said(model: stopgap.LoadedModel) -> None:
    image = tf.Variable(IMAGE)
    for call in (model.signatures["serving_default"], tf.function(model.signatures["serving_default"].__call__)):
        with pytest.raises(stopgap.PredictionError, match="No gradient flows"), tf.GradientTape() as tape:
            tape.gradient(call(image=image)["probs"], image)


def test_a_saved_model_that_could_not_run_is_refused(model: stopgap.LoadedModel, tmp_path: Path) -> None:
    for traced_before in (False, True):
        module = tf.Module()
        module.ask = tf.function(
            lambda image: model.signatures["serving_default"](image=image)["probs"],
            input_signature=[tf.TensorSpec((None, 24, 24, 1), tf.float32)],
        )
        if traced_before:
            module.ask(tf.constant(IMAGE))
        with pytest.raises((AssertionError, ValueError)) as refused:
            tf.saved_model.save(module, str(tmp_path / "saved"))
        assert "sandbox" in explanation(refused.value)


def test_jit_compile_is_refused_with_the_reason(model: stopgap.LoadedModel) -> None:
    compiled = tf.function(lambda image: model.signatures["serving_default"](image=image), jit_compile=True)
    with pytest.raises(tf.errors.InvalidArgumentError, match="stopgap_call_which_jit_compile_cannot_hold"):
        compiled(tf.constant(IMAGE))


def test_errors_eagerly_are_stopgaps_and_in_graphs_tensorflows_with_the_same_text(model: stopgap.LoadedModel) -> None:
    ask = model.signatures["serving_default"]
    wrong = tf.zeros((1, 24, 24, 3))
    with pytest.raises(stopgap.PredictionError, match="has shape"):
        ask(image=wrong)
    with pytest.raises(tf.errors.OpError, match="has shape"):
        tf.function(lambda image: ask(image=image))(wrong)
    with pytest.raises(stopgap.PredictionError, match="cannot be sent"):
        ask(image=tf.constant("text"))


def test_stock_messages_go_in_and_come_out(model: stopgap.LoadedModel) -> None:
    request = predict_pb2.PredictRequest()
    request.inputs["image"].CopyFrom(tf.make_tensor_proto(IMAGE))
    response = model.answer(request)
    assert isinstance(response, predict_pb2.PredictResponse)
    assert request.model_spec.name == "", "the caller's message stays as it was"
    np.testing.assert_allclose(tf.make_ndarray(response.outputs["probs"]), PROBS, atol=1e-4)
    with pytest.raises(stopgap.PredictionError, match="no PredictRequest"):
        model.answer(tf.make_tensor_proto(IMAGE))
