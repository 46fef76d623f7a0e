"""A signature as a layer of Keras 3, as `keras.layers.TFSMLayer` makes one of a SavedModel that loads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from keras.src.saving import serialization_lib  # as Keras's own layers that open what a file names

from stopgap.api.functions import SignatureFunction
from stopgap.api.opening import Connection, Source, opened
from stopgap.client.signatures import DEFAULT_SIGNATURE, TensorSpec, choose
from stopgap.client.status import FAILED_PRECONDITION, INVALID_ARGUMENT
from stopgap.errors import PredictionError

__all__ = ["SignatureLayer"]


@keras.saving.register_keras_serializable(package="stopgap")
class SignatureLayer(keras.layers.Layer):  # type: ignore[misc]  # Keras has no types
    """Asks the model for what it is called with; it has no weights, and nothing below it can be trained.

    A Keras model that has it can be saved: what is saved is where the model is found, and loading opens it again.

    Args:
        source: What to open, as `Source.to_config` gives it.
        signature: The signature's name.
        output: The one output that is wanted; all of them, as a dict, where there are several and none is named.
        connection: Open already; else it is opened here.

    Raises:
        PredictionError: There is no such signature or output, or Keras runs on another backend than TensorFlow.
        StopgapError: The model cannot be opened.
    """

    def __init__(
        self,
        source: Mapping[str, Any],
        signature: str = DEFAULT_SIGNATURE,
        output: str | None = None,
        connection: Connection | None = None,
        **layer: Any,
    ) -> None:
        if keras.backend.backend() != "tensorflow":
            raise PredictionError(
                f"A layer needs TensorFlow; Keras runs on {keras.backend.backend()} here.",
                FAILED_PRECONDITION,
                "Set KERAS_BACKEND=tensorflow before Keras is imported.",
            )
        super().__init__(**{"trainable": False, "autocast": False, **layer})
        self.supports_jit = False
        connection = connection or opened(Source.from_config(source))
        chosen = choose(connection.remote.signatures(connection.source.timeout_s), signature)
        self._function = SignatureFunction(connection, chosen)
        self._output = output or (next(iter(chosen.outputs)) if len(chosen.outputs) == 1 else None)
        if self._output and self._output not in chosen.outputs:
            there = ", ".join(map(repr, chosen.outputs))
            raise PredictionError(
                f"The signature {chosen.name!r} has no output {output!r}.", INVALID_ARGUMENT, f"There are: {there}."
            )
        self._config = {"source": dict(source), "signature": signature, "output": output}

    def call(self, inputs: Any) -> Any:
        """A tensor for the signature's only input, or a dict by name."""
        named = inputs if isinstance(inputs, Mapping) else {self._only_input(): inputs}
        outputs = self._function(**named)
        return outputs[self._output] if self._output else outputs

    def compute_output_spec(self, inputs: Any) -> Any:
        """Without asking: as the signature says; names that it does not have are told here, when the layer is built."""
        self._function.signature.check_names(inputs if isinstance(inputs, Mapping) else [self._only_input()])
        batch = first_dimension(inputs)
        outputs = self._function.signature.outputs
        if self._output:
            return keras_tensor(outputs[self._output], batch)
        return {name: keras_tensor(spec, batch) for name, spec in outputs.items()}

    @classmethod
    def from_config(
        cls,
        config: Mapping[str, Any],
        custom_objects: Mapping[str, Any] | None = None,  # noqa: ARG003 - Keras hands it to whoever takes it
        safe_mode: bool | None = None,
    ) -> SignatureLayer:
        """Opens the model again; not in Keras's safe mode, since the file decides what is opened and asked.

        Raises:
            ValueError: It is safe mode.
        """
        in_safe_mode = serialization_lib.in_safe_mode() if safe_mode is None else safe_mode
        if in_safe_mode is not False:
            raise ValueError(
                "This has a layer that opens and asks whatever model it names, at an address too. "
                "If you trust where it comes from, load it with safe_mode=False; "
                "for what takes no such argument, call keras.config.enable_unsafe_deserialization() before."
            )
        return cls(**config)

    def get_config(self) -> dict[str, Any]:
        """All that is needed to open it again."""
        return {**super().get_config(), **self._config}

    def _only_input(self) -> str:
        inputs = list(self._function.signature.inputs)
        if len(inputs) == 1:
            return inputs[0]
        raise PredictionError(
            f"The signature {self._function.signature.name!r} has {len(inputs)} inputs.",
            INVALID_ARGUMENT,
            f"Call the layer with a dict of {', '.join(map(repr, inputs))}.",
        )


def first_dimension(inputs: Any) -> int | None:
    """Of the first of the inputs: Keras's batch."""
    first = next(iter(inputs.values())) if isinstance(inputs, Mapping) else inputs
    return first.shape[0] if len(first.shape) else None


def keras_tensor(spec: TensorSpec, batch: int | None) -> Any:
    if spec.shape is None or spec.dtype is None:
        raise PredictionError(f"Keras needs to know the rank of the output {spec.name!r}.", FAILED_PRECONDITION)
    shape = (batch, *spec.shape[1:]) if spec.shape and spec.shape[0] is None else spec.shape
    return keras.KerasTensor(shape, spec.dtype.name)
