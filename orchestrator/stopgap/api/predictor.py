"""`stopgap.predictor`: for those who used `tf.contrib.predictor.from_saved_model`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from stopgap.api.load import load
from stopgap.api.model import LoadedModel
from stopgap.client.signatures import DEFAULT_SIGNATURE
from stopgap.client.status import INVALID_ARGUMENT
from stopgap.errors import PredictionError

__all__ = ["Predictor", "predictor"]


def predictor(
    target: str | os.PathLike[str],
    signature_def_key: str | None = None,
    input_names: Mapping[str, str] | None = None,
    output_names: Mapping[str, str] | None = None,
    **how: Any,
) -> Predictor:
    """A function from a dict of arrays to a dict of arrays, as `tf.contrib.predictor.from_saved_model` gave it.

    Args:
        target: As for `load`.
        signature_def_key: Which signature; `serving_default`, where neither it nor names are given.
        input_names: Names of the graph's tensors by the keys that the function is to take, in place of a signature.
        output_names: The same for what it gives.
        how: As for `load`.

    Raises:
        PredictionError: Both a signature and names are given, or only one sort of names; or there are no such tensors.
        StopgapError: As `load`.
    """
    for argument, names in (("input_names", input_names), ("output_names", output_names)):
        if names is not None and not isinstance(names, Mapping):
            raise PredictionError(f"{argument} must be a dict of names by keys, not {names!r}.", INVALID_ARGUMENT)
    if (input_names is None) != (output_names is None) or (signature_def_key and input_names):
        raise PredictionError(
            "A predictor needs either signature_def_key or both input_names and output_names.", INVALID_ARGUMENT
        )
    model = load(target, **how)
    try:
        return Predictor(model, signature_def_key or DEFAULT_SIGNATURE, input_names, output_names)
    except BaseException:
        model.close()
        raise


class Predictor:
    """Called with one dict, as contrib's was; a context manager.

    Attributes:
        feed_tensors: The inputs' names in the graph or in the signature, by the keys of what it is called with.
        fetch_tensors: The same for what it gives.
    """

    def __init__(
        self,
        model: LoadedModel,
        signature: str,
        input_names: Mapping[str, str] | None,
        output_names: Mapping[str, str] | None,
    ) -> None:
        self._model = model
        if input_names is None or output_names is None:
            function = model.signatures[signature]
            self.feed_tensors: Mapping[str, str] = {name: name for name in function.signature.inputs}
            self.fetch_tensors: Mapping[str, str] = {name: name for name in function.signature.outputs}
            self._ask: Any = function.numpy
        else:
            self.feed_tensors, self.fetch_tensors = dict(input_names), dict(output_names)
            self._ask = model.prune(self.feed_tensors, self.fetch_tensors).numpy

    def __call__(self, input_dict: Mapping[str, Any]) -> dict[str, Any]:
        """The outputs for these inputs.

        Raises:
            PredictionError: The inputs do not fit, or the request was refused or failed.
        """
        if not isinstance(input_dict, Mapping) or not all(isinstance(key, str) for key in input_dict):
            raise PredictionError(
                f"A predictor is called with a dict, not with {input_dict!r}.",
                INVALID_ARGUMENT,
                f"Its keys: {', '.join(map(repr, self.feed_tensors))}",
            )
        outputs: dict[str, Any] = self._ask(**input_dict)
        return outputs

    def __enter__(self) -> Predictor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """As `LoadedModel.close`."""
        self._model.close()
