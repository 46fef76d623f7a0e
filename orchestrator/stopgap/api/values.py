"""Values on their way between a caller and a signature, without TensorFlow: sparse ones, examples, a batch's parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from stopgap.client.examples import Feature, serialised_examples
from stopgap.client.signatures import Signature, TensorSpec
from stopgap.client.status import INTERNAL, INVALID_ARGUMENT
from stopgap.errors import PredictionError

__all__ = ["SparseValue", "check_sparse", "dense_parts", "example_inputs", "gathered", "sparse_names"]

PARTS = ("indices", "values", "dense_shape")


class SparseValue(NamedTuple):
    """A sparse tensor: `values[i]` stands at `indices[i]`, and everything else is zero.

    Attributes:
        indices: Shape [values, rank], int64.
        values: Shape [values].
        dense_shape: Shape [rank], int64.
    """

    indices: Any
    values: Any
    dense_shape: Any


def sparse_names(specs: Mapping[str, TensorSpec]) -> list[str]:
    """The names whose three parts are all there: those are sparse tensors."""
    names = (name[: -len("/indices")] for name in specs if name.endswith("/indices"))
    return [name for name in names if all(f"{name}/{part}" in specs for part in PARTS)]


def dense_parts(signature: Signature, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values with each sparse one, whatever class it is of, as its three parts."""
    parts = dict(values)
    for name in sparse_names(signature.inputs):
        if name in parts and all(hasattr(parts[name], part) for part in PARTS):
            whole = parts.pop(name)
            parts.update({f"{name}/{part}": getattr(whole, part) for part in PARTS})
    return parts


def gathered(specs: Mapping[str, TensorSpec], values: Mapping[str, Any], make: Any = SparseValue) -> dict[str, Any]:
    """The values with the three parts of each sparse one as what `make` makes of them."""
    whole = dict(values)
    for name in sparse_names(specs):
        if all(f"{name}/{part}" in whole for part in PARTS):
            whole[name] = make(*(whole.pop(f"{name}/{part}") for part in PARTS))
    return whole


def check_sparse(specs: Mapping[str, TensorSpec], arrays: Mapping[str, np.ndarray]) -> None:
    """Looks at sparse outputs, as their parts: whoever looks up `indices` in an array of `dense_shape` relies on them.

    Raises:
        PredictionError: INTERNAL; a value has no place, or one outside. (It comes from a sandbox.)
    """
    for name in sparse_names(specs):
        if not _agree(*(arrays[f"{name}/{part}"] for part in PARTS)):
            raise PredictionError(f"The answer's {name!r} is not a sparse tensor: its parts do not agree.", INTERNAL)


def _agree(indices: np.ndarray, values: np.ndarray, dense_shape: np.ndarray) -> bool:
    if (values.ndim, dense_shape.ndim) != (1, 1) or indices.shape != (len(values), len(dense_shape)):
        return False
    return bool((dense_shape >= 0).all() and (indices >= 0).all() and (indices < dense_shape).all())


def example_inputs(
    signature: Signature,
    features: Mapping[tuple[str, str], Mapping[str, Feature]],
    columns: Mapping[str, Sequence[object]],
) -> dict[str, np.ndarray]:
    """The one input of the signature that takes tf.Examples, made of features by column.

    Raises:
        PredictionError: INVALID_ARGUMENT; it has none, or several, or the features do not fit.
    """
    parsed = {alias: wanted for (key, alias), wanted in features.items() if key == signature.name}
    if len(parsed) != 1:
        there = f"{len(parsed)} that do ({', '.join(sorted(parsed))})" if parsed else "none that does"
        raise PredictionError(
            f"features= needs one input that takes tf.Examples; the signature {signature.name!r} has {there}.",
            INVALID_ARGUMENT,
        )
    ((alias, wanted),) = parsed.items()
    examples = serialised_examples(wanted, columns)
    return {alias: examples.reshape(()) if signature.inputs[alias].shape == () else examples}
