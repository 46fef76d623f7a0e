"""Signatures that the model's file does not have: somebody names tensors of its graph, and the graph says the rest."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from stopgap_protos.saved_model_pb2 import SignatureDef, TensorInfo

from .signatures import Signature, TensorSpec

if TYPE_CHECKING:
    from .capi import Session

__all__ = ["GivenSignature", "of_tensors", "parse_given", "signature_def", "tensor_info"]

METHOD = "tensorflow/serving/predict"


class GivenSignature(NamedTuple):
    """Tensors of a graph under the aliases that callers are to use for them."""

    key: str
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]

    def found_in(self, session: Session) -> Signature:
        """The signature, with the dtypes and shapes that the graph has.

        Raises:
            Fault: The graph has no such tensor (INVALID_ARGUMENT).
        """
        return Signature(self.key, METHOD, *(_specs(names, session.describe) for names in self[1:]))


def parse_given(text: str) -> tuple[GivenSignature, ...]:
    """Reads `{"<key>": {"inputs": {"<alias>": "<tensor>"}, "outputs": {…}}}`.

    Raises:
        ValueError: It is not like that.
    """
    try:
        return tuple(
            GivenSignature(key, _names(given["inputs"]), _names(given["outputs"]))
            for key, given in json.loads(text).items()
        )
    except (AttributeError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"a signature has inputs and outputs, alias by alias: {text[:80]}") from error


def of_tensors(key: str, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> GivenSignature:
    """A signature whose aliases are the tensors' own names."""
    return GivenSignature(key, {name: name for name in inputs}, {name: name for name in outputs})


def signature_def(signature: Signature) -> SignatureDef:
    """The signature in the form in which a model's file would have it."""
    described = SignatureDef(method_name=signature.method_name)
    for specs, infos in ((signature.inputs, described.inputs), (signature.outputs, described.outputs)):
        for alias, spec in specs.items():
            infos[alias].CopyFrom(tensor_info(spec))
    return described


def tensor_info(spec: TensorSpec) -> TensorInfo:
    """The same for one tensor."""
    info = TensorInfo(name=spec.tensor_name, dtype=spec.dtype)  # type: ignore[arg-type]  # the enum's number
    info.tensor_shape.unknown_rank = spec.shape is None
    for size in spec.shape or ():
        info.tensor_shape.dim.add(size=-1 if size is None else size)
    return info


def _specs(
    names: Mapping[str, str], describe: Callable[[str], tuple[int, tuple[int | None, ...] | None]]
) -> dict[str, TensorSpec]:
    return {alias: TensorSpec(alias, name, *describe(name)) for alias, name in sorted(names.items())}


def _names(given: Mapping[str, object]) -> dict[str, str]:
    return {str(alias): str(name) for alias, name in given.items()}
