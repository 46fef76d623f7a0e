"""One signature as something to be called: with TensorFlow's tensors where that is installed, else with arrays."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from stopgap.api.values import check_sparse, dense_parts, example_inputs, gathered
from stopgap.client.signatures import Signature
from stopgap.client.status import INTERNAL, INVALID_ARGUMENT
from stopgap.errors import PredictionError

if TYPE_CHECKING:
    from stopgap.api.opening import Connection

__all__ = ["SignatureFunction", "has_tensorflow"]


@functools.cache
def has_tensorflow() -> bool:
    """Whether TensorFlow is installed; it is not imported for that. A folder of that name is none."""
    found = importlib.util.find_spec("tensorflow")
    return found is not None and found.origin is not None


class SignatureFunction:
    """A signature of a model, with the calling convention of TensorFlow's own: keyword tensors in, a dict out.

    It works eagerly, in a `tf.function`, in `tf.data`'s `map` and in any thread. No gradient flows through it, it
    cannot be compiled with `jit_compile`, and no SavedModel can hold it: each of that is refused with an explanation.

    Attributes:
        signature: Its inputs and outputs, with their dtypes and shapes.
    """

    def __init__(self, connection: Connection, signature: Signature) -> None:
        self.signature = signature
        self._connection = connection

    def __call__(self, /, *positional: object, **inputs: Any) -> dict[str, Any]:
        """The outputs, by name.

        Args:
            positional: The value of the only input; refused where there are several, with the names to use.
            inputs: Tensors, arrays or plain values, by the inputs' names; a sparse one may be a `tf.SparseTensor`. Or
                `features=`: columns of features, of which the signature's tf.Examples are made.

        Returns:
            `tf.Tensor`s, and `tf.SparseTensor`s, where TensorFlow is installed; as `numpy` where it is not.

        Raises:
            PredictionError: The inputs do not fit, or the request was refused or failed.
        """
        if len(positional) == len(self.signature.inputs) == 1 and not inputs:
            inputs = dict(zip(self.signature.inputs, positional))
        elif positional:
            takes = ", ".join(f"{name}=" for name in self.signature.inputs)
            raise PredictionError(
                f"The signature {self.signature.name!r} takes its inputs by name.", INVALID_ARGUMENT, f"Write {takes}"
            )
        if not has_tensorflow():
            return self.numpy(**inputs)
        from stopgap.api import tf_calls  # noqa: PLC0415 - TensorFlow is an extra

        outputs: dict[str, Any] = tf_calls.call(self.signature, self._parts(inputs), self.ask)
        return outputs

    def numpy(self, /, **inputs: Any) -> dict[str, Any]:
        """As a call, but with arrays out whether or not TensorFlow is there.

        Returns:
            Arrays, strings as objects of `bytes`, bfloat16 as the `uint16` of its bits; sparse ones as `SparseValue`.
        """
        outputs = self.ask(self.signature.fit(self._parts(inputs)))
        return gathered(self.signature.outputs, outputs)

    def ask(self, arrays: Mapping[str, np.ndarray], timeout_s: float | None = None) -> dict[str, np.ndarray]:
        """The outputs for arrays that fit; the parts of sparse ones by their own names.

        Args:
            timeout_s: Another deadline than the connection's.

        Raises:
            PredictionError: The request was refused or failed, or the answer is not what the signature says.
        """
        self._connection.look_at_the_sunset()
        deadline_s = self._connection.deadline_s(timeout_s)
        return checked(self.signature, self._connection.remote.ask(self.signature, arrays, timeout_s=deadline_s))

    @property
    def structured_input_signature(self) -> tuple[tuple[()], dict[str, Any]]:
        """As a concrete function's: no positional inputs, and specs by name (TensorFlow's own, where it is there)."""
        return (), self._specs(self.signature.inputs)

    @property
    def structured_outputs(self) -> dict[str, Any]:
        """As a concrete function's: specs by name."""
        return self._specs(self.signature.outputs)

    def __repr__(self) -> str:
        takes = ", ".join(map(str, self.signature.inputs.values()))
        gives = ", ".join(map(str, self.signature.outputs.values()))
        return f"<{type(self).__name__} {self.signature.name}({takes}) -> {gives}>"

    def _specs(self, specs: Mapping[str, Any]) -> dict[str, Any]:
        if not has_tensorflow():
            return dict(specs)
        from stopgap.api import tf_calls  # noqa: PLC0415 - TensorFlow is an extra

        return tf_calls.specs_of(specs)

    def _parts(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        if "features" not in inputs or "features" in self.signature.inputs:
            return dense_parts(self.signature, inputs)
        others = {name: value for name, value in inputs.items() if name != "features"}
        told = self._connection.remote.traits(self._connection.source.timeout_s).features
        return {**dense_parts(self.signature, others), **example_inputs(self.signature, told, inputs["features"])}


def checked(signature: Signature, outputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What came out of a sandbox, held against what it said would come."""
    for name, spec in signature.outputs.items():
        array = outputs.get(name)
        if array is None:
            raise PredictionError(f"The answer lacks the output {name!r}.", INTERNAL)
        if spec.dtype is None or array.dtype != spec.dtype.numpy or not fits(array.shape, spec.shape):
            found = f"{array.dtype} {list(array.shape)}"
            raise PredictionError(f"The answer's {name!r} is {found}, where the signature says {spec}.", INTERNAL)
    check_sparse(signature.outputs, outputs)
    return {name: outputs[name] for name in signature.outputs}


def fits(shape: tuple[int, ...], wanted: tuple[int | None, ...] | None) -> bool:
    if wanted is None:
        return True
    return len(shape) == len(wanted) and all(known in (None, size) for known, size in zip(wanted, shape))
