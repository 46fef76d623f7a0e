"""Signatures: what a model may be asked, as its file describes it. Nothing here trusts the file to be well-formed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from stopgap_protos.tensor_pb2 import DataType

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from stopgap_protos.saved_model_pb2 import SignatureDef, TensorInfo
    from stopgap_protos.tensor_pb2 import TensorShapeProto

__all__ = ["DEFAULT_SIGNATURE", "Signature", "TensorSpec", "read_signatures"]

DEFAULT_SIGNATURE: Final = "serving_default"

# TensorFlow 2 hides its start-up operations among the signatures; they are not for callers.
_NOT_FOR_CALLERS: Final = frozenset({"__saved_model_init_op", "__saved_model_train_op"})
_REFERENCE: Final = 100  # DT_FLOAT_REF - DT_FLOAT: a tensor that is a 1.x variable, which is fetched as its value


@dataclass(frozen=True)
class TensorSpec:
    """One input or output.

    Attributes:
        alias: What callers call it.
        tensor_name: What the graph calls it ("dense/BiasAdd:0"); empty in an ill-formed signature.
        dtype: A number of `DataType`; DT_INVALID where the file does not say.
        shape: One entry a dimension, None where it is free; None as a whole where the rank is.
        optional: An input that the graph has a default for (PlaceholderWithDefault): a request may leave it out.
    """

    alias: str
    tensor_name: str
    dtype: int
    shape: tuple[int | None, ...] | None
    optional: bool = False


@dataclass(frozen=True)
class Signature:
    """One thing that a model may be asked; inputs and outputs by their aliases."""

    key: str
    method_name: str
    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]


def read_signatures(described: Mapping[str, SignatureDef], with_default: Collection[str] = ()) -> dict[str, Signature]:
    """A meta graph's signatures by their keys, without those that are not for callers.

    Args:
        with_default: The names of the tensors that the graph has a default for.
    """
    return {
        key: Signature(
            key,
            signature.method_name,
            {
                alias: replace(spec, optional=spec.tensor_name in with_default)
                for alias, spec in _specs(signature.inputs).items()
            },
            _specs(signature.outputs),
        )
        for key, signature in sorted(described.items())
        if key not in _NOT_FOR_CALLERS
    }


def _specs(described: Mapping[str, TensorInfo]) -> dict[str, TensorSpec]:
    specs = (spec for alias, info in sorted(described.items()) for spec in _specs_of(alias, info))
    return {spec.alias: spec for spec in specs}


def _specs_of(alias: str, info: TensorInfo) -> Iterator[TensorSpec]:
    """One spec for a dense tensor, three for a sparse one: TensorFlow feeds and fetches its parts."""
    shape = _shape_of(info.tensor_shape)
    if not info.HasField("coo_sparse"):
        dtype = info.dtype - _REFERENCE if info.dtype > _REFERENCE else info.dtype
        yield TensorSpec(alias, info.name, dtype, shape)
        return
    rank = None if shape is None else len(shape)
    sparse = info.coo_sparse
    yield TensorSpec(f"{alias}/indices", sparse.indices_tensor_name, DataType.DT_INT64, (None, rank))
    yield TensorSpec(f"{alias}/values", sparse.values_tensor_name, info.dtype, (None,))
    yield TensorSpec(f"{alias}/dense_shape", sparse.dense_shape_tensor_name, DataType.DT_INT64, (rank,))


def _shape_of(described: TensorShapeProto) -> tuple[int | None, ...] | None:
    if described.unknown_rank:
        return None
    return tuple([dim.size if dim.size >= 0 else None for dim in described.dim])
