"""What a model takes and gives: its signatures, as its metadata tells them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Optional

import numpy as np
from google.protobuf.message import DecodeError
from stopgap_protos.saved_model_pb2 import SignatureDef, TensorInfo
from stopgap_protos.serving_pb2 import GetModelMetadataResponse, SignatureDefMap
from stopgap_protos.tensor_pb2 import TensorShapeProto

from stopgap.client.dtypes import Dtype, dtype_of
from stopgap.client.status import FAILED_PRECONDITION, INTERNAL, INVALID_ARGUMENT
from stopgap.client.values import fitted
from stopgap.errors import PredictionError
from stopgap.printable import printable

__all__ = ["DEFAULT_SIGNATURE", "Signature", "TensorSpec", "choose", "signatures_in", "tensors_in"]

DEFAULT_SIGNATURE = "serving_default"

# The parts in which a sparse tensor travels, each under the tensor's own name.
_INT64 = 9


@dataclass(frozen=True)
class TensorSpec:
    """One input or output.

    Args:
        name: As in requests and answers.
        dtype: Its data type; None for one that no message can carry.
        shape: Its dimensions, None for one that is not known; None as a whole if even the rank is not known.
    """

    name: str
    dtype: Optional[Dtype]  # noqa: UP045 - read at run time, by Python 3.9 too
    shape: Optional[tuple[Optional[int], ...]]  # noqa: UP045

    def __str__(self) -> str:
        dtype = self.dtype.name if self.dtype else "?"
        return f"{printable(self.name)}: {dtype} {shape_text(self.shape)}"


@dataclass(frozen=True)
class Signature:
    """One way to call a model; the inputs and outputs by their names.

    Args:
        optional: The inputs that the graph has a default for.
    """

    name: str
    method: str
    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]
    optional: frozenset[str] = frozenset()

    def fit(self, values: Mapping[str, object]) -> dict[str, np.ndarray]:
        """The values as arrays of the inputs' data types.

        Raises:
            PredictionError: INVALID_ARGUMENT; an input is missing, unknown, or given a value that it cannot have.
        """
        self.check_names(values)
        return {name: self._fit_one(self.inputs[name], value) for name, value in values.items()}

    def check_names(self, given: Iterable[str]) -> None:
        """
        Raises:
            PredictionError: INVALID_ARGUMENT; an input is missing or unknown.
        """
        unknown = sorted(set(given) - self.inputs.keys())
        missing = sorted(self.inputs.keys() - set(given) - self.optional)
        if unknown or missing:
            parts = [("unknown", unknown), ("missing", missing)]
            told = ", ".join(f"{what}: {', '.join(map(repr, names))}" for what, names in parts if names)
            raise PredictionError(
                f"The inputs are not those of the signature {self.name!r} ({told}).",
                INVALID_ARGUMENT,
                _listed("It takes", self.inputs.values()),
            )

    @staticmethod
    def _fit_one(spec: TensorSpec, value: object) -> np.ndarray:
        if spec.dtype is None:
            raise PredictionError(f"No request can carry a value for the input {spec.name!r}.", INVALID_ARGUMENT)
        return fitted(spec.name, value, spec.dtype)


def choose(signatures: Mapping[str, Signature], name: str) -> Signature:
    """The signature of that name, the default one if it is empty.

    Raises:
        PredictionError: FAILED_PRECONDITION, as TF Serving says it; there is none. The remedy lists those there are.
    """
    wanted = name or DEFAULT_SIGNATURE
    if wanted in signatures:
        return signatures[wanted]
    there = ", ".join(map(repr, sorted(signatures))) or "none"
    raise PredictionError(f"The model has no signature {wanted!r}.", FAILED_PRECONDITION, f"There are: {there}.")


def signatures_in(response: GetModelMetadataResponse) -> dict[str, Signature]:
    """The signatures, by name.

    Raises:
        PredictionError: INTERNAL; the answer cannot be read.
    """
    try:
        signatures = SignatureDefMap.FromString(response.metadata["signature_def"].value)
    except DecodeError as error:
        raise PredictionError("The model's signatures cannot be read.", INTERNAL) from error
    return {name: _signature(name, told) for name, told in sorted(signatures.signature_def.items())}


def shape_text(shape: tuple[int | None, ...] | None) -> str:
    """`[?, 28, 28]`; `of any rank` where nothing is known."""
    if shape is None:
        return "of any rank"
    return "[" + ", ".join("?" if size is None else str(size) for size in shape) + "]"


def tensors_in(response: GetModelMetadataResponse, fields: Mapping[str, str]) -> dict[str, TensorSpec]:
    """The graph's own tensors, by name.

    Args:
        fields: The metadata field that tells of each, by its name.

    Raises:
        PredictionError: INTERNAL; the answer cannot be read.
    """
    try:
        infos = {name: TensorInfo.FromString(response.metadata[field].value) for name, field in fields.items()}
    except DecodeError as error:
        raise PredictionError("The model's tensors cannot be read.", INTERNAL) from error
    return {name: TensorSpec(name, dtype_of(info.dtype), _shape(info.tensor_shape)) for name, info in infos.items()}


def _signature(name: str, told: SignatureDef) -> Signature:
    return Signature(name, told.method_name, _specs(told.inputs), _specs(told.outputs))


def _specs(told: Mapping[str, TensorInfo]) -> dict[str, TensorSpec]:
    specs = [spec for name, info in sorted(told.items()) for spec in _spec(name, info)]
    return {spec.name: spec for spec in specs}


def _spec(name: str, info: TensorInfo) -> tuple[TensorSpec, ...]:
    shape = _shape(info.tensor_shape)
    if not info.HasField("coo_sparse"):
        return (TensorSpec(name, dtype_of(info.dtype), shape),)
    rank = None if shape is None else len(shape)
    return (
        TensorSpec(f"{name}/indices", dtype_of(_INT64), (None, rank)),
        TensorSpec(f"{name}/values", dtype_of(info.dtype), (None,)),
        TensorSpec(f"{name}/dense_shape", dtype_of(_INT64), (rank,)),
    )


def _shape(shape: TensorShapeProto) -> tuple[int | None, ...] | None:
    if shape.unknown_rank:
        return None
    return tuple(None if dim.size < 0 else dim.size for dim in shape.dim)


def _listed(what: str, specs: Iterable[TensorSpec]) -> str:
    lines = [f"  {spec}" for spec in specs]
    return "\n".join([f"{what}:", *lines]) if lines else f"{what} nothing."
