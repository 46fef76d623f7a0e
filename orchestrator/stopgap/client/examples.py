"""Features, as a person has them by column, into the serialised tf.Examples that a graph parses."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Optional

import numpy as np
from stopgap_protos.example_pb2 import BytesList, Example, FloatList, Int64List
from stopgap_protos.example_pb2 import Feature as FeatureProto
from stopgap_protos.traits_pb2 import ExampleInput

from stopgap.client.dtypes import Dtype, dtype_of
from stopgap.client.status import INVALID_ARGUMENT
from stopgap.client.values import fitted
from stopgap.errors import PredictionError
from stopgap.printable import printable

__all__ = ["Feature", "features_of", "serialised_examples"]


@dataclass(frozen=True)
class Feature:
    """One feature that a graph looks for in each example.

    Attributes:
        dtype: float32, int64 or string; None for what no tf.Example can hold.
        size: How many values it has in each example; None for any number.
        required: The graph has no default for it.
    """

    name: str
    dtype: Optional[Dtype]  # noqa: UP045 - read at run time, by Python 3.9 too
    size: Optional[int]  # noqa: UP045
    required: bool

    def __str__(self) -> str:
        size = "any number" if self.size is None else str(self.size)
        dtype = self.dtype.name if self.dtype else "?"
        return f"{printable(self.name)}: {dtype} × {size}{', required' if self.required else ''}"


def features_of(told: ExampleInput) -> dict[str, Feature]:
    """The features of one input, by name."""
    return {
        name: Feature(
            name,
            dtype_of(spec.dtype),
            None if spec.any_length else math.prod(dim.size for dim in spec.shape.dim),
            spec.required,
        )
        for name, spec in sorted(told.features.items())
    }


def serialised_examples(features: Mapping[str, Feature], columns: Mapping[str, Sequence[object]]) -> np.ndarray:
    """One tf.Example for each place of the columns.

    Args:
        features: Those that the graph looks for.
        columns: By feature, a value or a list of values for each example; None where an example has none of it.

    Returns:
        Shape [examples], objects of `bytes`.

    Raises:
        PredictionError: INVALID_ARGUMENT; a feature is unknown, missing, or has values that it cannot have.
    """
    check_columns(columns)
    check_names(features, columns)
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        raise refused(f"The features have different numbers of examples: {lengths}.", features)
    examples = np.empty(max(lengths.values(), default=0), dtype=object)
    for place in range(len(examples)):
        row = {name: column[place] for name, column in columns.items() if column[place] is not None}
        examples[place] = example(features, row).SerializeToString()
    return examples


def check_columns(columns: Mapping[str, Sequence[object]]) -> None:
    if not isinstance(columns, Mapping):
        raise PredictionError(f"Features come as a dict of columns, not as {columns!r}.", INVALID_ARGUMENT)
    for name, column in columns.items():
        is_scalar = isinstance(column, np.ndarray) and not column.ndim
        if isinstance(column, (str, bytes)) or is_scalar or not hasattr(column, "__len__"):
            raise PredictionError(
                f"The feature {name!r} needs a list, one entry for each example, not {column!r}.", INVALID_ARGUMENT
            )


def check_names(features: Mapping[str, Feature], columns: Mapping[str, object]) -> None:
    unknown = sorted(columns.keys() - features.keys())
    missing = sorted(name for name, feature in features.items() if feature.required and name not in columns)
    if unknown:
        raise refused(f"The model parses no feature {', '.join(map(repr, unknown))}.", features)
    if missing:
        raise refused(f"The model needs the feature {', '.join(map(repr, missing))}.", features)


def example(features: Mapping[str, Feature], row: Mapping[str, object]) -> Example:
    made = Example()
    for name, value in row.items():
        made.features.feature[name].CopyFrom(feature_proto(features[name], value))
    return made


def feature_proto(feature: Feature, value: object) -> FeatureProto:
    if feature.dtype is None:
        raise refused(f"No tf.Example can hold the feature {feature.name!r}.", {})
    values = fitted(feature.name, value, feature.dtype).ravel().tolist()
    if feature.size is not None and len(values) != feature.size:
        raise refused(
            f"The feature {feature.name!r} has {feature.size} values in each example, not {len(values)}.",
            {feature.name: feature},
        )
    if feature.dtype.is_string:
        texts = [text.encode() if isinstance(text, str) else text for text in values]
        return FeatureProto(bytes_list=BytesList(value=texts))
    if feature.dtype.numpy.kind == "i":
        return FeatureProto(int64_list=Int64List(value=values))
    return FeatureProto(float_list=FloatList(value=values))


def refused(problem: str, features: Mapping[str, Feature]) -> PredictionError:
    listed = "\n".join(f"  {feature}" for feature in features.values())
    return PredictionError(problem, INVALID_ARGUMENT, f"It parses:\n{listed}" if listed else "")
