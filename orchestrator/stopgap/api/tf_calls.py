"""A signature asked with TensorFlow 2's tensors: eagerly, and from inside of its graphs."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from stopgap.api.values import gathered, sparse_names
from stopgap.client.dtypes import BFLOAT16, Dtype
from stopgap.client.signatures import Signature, TensorSpec
from stopgap.client.status import INVALID_ARGUMENT
from stopgap.client.values import fitted
from stopgap.errors import PredictionError

__all__ = ["call", "specs_of"]

Arrays = Mapping[str, np.ndarray]

NO_GRADIENT = (
    "No gradient flows through a model that runs in a sandbox. Train only what stands above it, or convert the model."
)
# It shows in TensorFlow's own refusal, as the name of the captured resource.
NO_SAVED_MODEL = (
    "stopgap: a SavedModel cannot hold a model that runs in a sandbox, and would not run without it. "
    "Save what stands above the model, or convert the model first"
)
# A node's name, which XLA's refusal shows.
NO_JIT = "stopgap_call_which_jit_compile_cannot_hold"

# Quantised integers travel through Python as the integers that they are.
_PLAIN = {tf.qint8: tf.int8, tf.quint8: tf.uint8, tf.qint16: tf.int16, tf.quint16: tf.uint16, tf.qint32: tf.int32}


@tf.autograph.experimental.do_not_convert  # type: ignore[untyped-decorator]
def call(signature: Signature, inputs: Mapping[str, Any], ask: Callable[[Arrays], Arrays]) -> dict[str, Any]:
    """The signature's outputs as tensors.

    Args:
        inputs: Tensors or values, by name; sparse ones in their parts.
        ask: Gives arrays for arrays; called in whatever thread TensorFlow runs the graph.

    Raises:
        PredictionError: The inputs do not fit, or, when it is called eagerly, what `ask` raises. In a graph that is
            TensorFlow's own error, with the same text.
    """
    signature.check_names(inputs)
    names = sorted(inputs)
    tensors = [tensor_of(inputs[name], signature.inputs[name]) for name in names]
    outputs = asked_without_gradient(signature, names, ask, tensors)
    return gathered(signature.outputs, dict(zip(signature.outputs, outputs)), tf.SparseTensor)


def specs_of(specs: Mapping[str, TensorSpec]) -> dict[str, Any]:
    """TensorFlow's own specs, sparse ones whole."""
    told = {name: tf.TensorSpec(spec.shape, dtype_of(spec), name) for name, spec in specs.items()}
    for name in sparse_names(specs):
        (rank,) = specs[f"{name}/dense_shape"].shape or (None,)
        shape = None if rank is None else [None] * rank
        told[name] = tf.SparseTensorSpec(shape, dtype_of(specs[f"{name}/values"]))
        for part in ("indices", "values", "dense_shape"):
            del told[f"{name}/{part}"]
    return told


def asked_without_gradient(
    signature: Signature, names: list[str], ask: Callable[[Arrays], Arrays], tensors: list[tf.Tensor]
) -> list[tf.Tensor]:
    def forward(*tensors: tf.Tensor) -> tuple[list[tf.Tensor], Callable[..., Any]]:
        return asked(signature, names, ask, list(tensors)), refuse_gradient

    return tf.custom_gradient(forward)(*tensors) if tensors else asked(signature, names, ask, tensors)


def refuse_gradient(*_gradients: tf.Tensor) -> Any:
    raise PredictionError(NO_GRADIENT, INVALID_ARGUMENT)


def asked(
    signature: Signature, names: list[str], ask: Callable[[Arrays], Arrays], tensors: list[tf.Tensor]
) -> list[tf.Tensor]:
    def in_numpy(*arrays: Any) -> list[np.ndarray]:
        given = {name: array_of(array, signature.inputs[name]) for name, array in zip(names, arrays)}
        outputs = ask(signature.fit(given))
        return [for_tensorflow(outputs[name], spec) for name, spec in signature.outputs.items()]

    plain = [tf.bitcast(tensor, _PLAIN[tensor.dtype]) if tensor.dtype in _PLAIN else tensor for tensor in tensors]
    dtypes = [dtype_of(spec) for spec in signature.outputs.values()]
    wanted = [_PLAIN.get(dtype, dtype) for dtype in dtypes]
    if tf.executing_eagerly():
        arrays = in_numpy(*(tensor.numpy() for tensor in plain))
        outputs = [tf.constant(array, dtype) for array, dtype in zip(arrays, wanted)]
    else:
        forbid_saving()
        outputs = tf.numpy_function(in_numpy, plain, wanted, name=NO_JIT)
        for output, spec in zip(outputs, signature.outputs.values()):
            output.set_shape(spec.shape)
    return [tf.bitcast(output, dtype) if dtype in _PLAIN else output for output, dtype in zip(outputs, dtypes)]


def forbid_saving() -> None:
    """Lets the graph at hand capture what no SavedModel can have, so that none comes to be that could not run."""
    if tf.compat.v1.executing_eagerly_outside_functions():
        tf.identity(unsavable())


@functools.cache
def unsavable() -> tf.Tensor:
    with tf.init_scope():
        return tf.raw_ops.VarHandleOp(dtype=tf.int32, shape=[], shared_name=NO_SAVED_MODEL)


def tensor_of(value: Any, spec: TensorSpec) -> tf.Tensor:
    """A tensor must be of the input's dtype already; what is none is fitted to it, as where there is no TensorFlow."""
    dtype = dtype_of(spec)
    if spec.dtype is not None and not any(map(tf.is_tensor, tf.nest.flatten(value))):
        value = for_tensorflow(fitted(spec.name, value, spec.dtype), spec)
    try:
        return tf.convert_to_tensor(value, dtype)
    except (ValueError, TypeError, tf.errors.OpError) as error:
        raise PredictionError(f"The input {spec.name!r} cannot be sent: {error}", INVALID_ARGUMENT) from error


def dtype_of(spec: TensorSpec) -> Any:
    if spec.dtype is None:
        raise PredictionError(f"No request can carry a value for {spec.name!r}.", INVALID_ARGUMENT)
    return tf.as_dtype(spec.dtype.number)


def array_of(value: Any, spec: TensorSpec) -> np.ndarray:
    """What TensorFlow hands out: of a string it hands out Python's own `bytes`."""
    is_string = spec.dtype is not None and spec.dtype.is_string
    return np.asarray(value, dtype=object) if is_string else np.asarray(value)


def for_tensorflow(array: np.ndarray, spec: TensorSpec) -> np.ndarray:
    dtype: Dtype | None = spec.dtype
    if dtype is not None and dtype.number == BFLOAT16:
        return array.view(tf.bfloat16.as_numpy_dtype)
    return array
