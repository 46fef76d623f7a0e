"""A request against its signature, before TensorFlow sees it.

TensorFlow's C++ side checks neither names nor shapes of what it is fed, and some kernels end the process over a rank
that they did not expect. Texts and codes are TF Serving 1.15's where it has one (predict_util.cc, direct_session.cc).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from .faults import Code, Fault
from .host_tensor import dtype_name
from .signatures import Signature, TensorSpec

__all__ = ["Offered", "check_inputs", "chosen_outputs"]


class Offered(Protocol):
    """What is known of an input before its elements are looked at."""

    @property
    def dtype(self) -> int: ...

    @property
    def shape(self) -> tuple[int, ...]: ...


def check_inputs(signature: Signature, inputs: Mapping[str, Offered]) -> None:
    """Refuses inputs that do not fit the signature: names, dtype, rank, known dimensions.

    Raises:
        Fault: INVALID_ARGUMENT, naming the input.
    """
    _check_names(signature, inputs)
    for index, (alias, tensor) in enumerate(inputs.items()):
        spec = signature.inputs[alias]
        if tensor.dtype != spec.dtype:
            expected, provided = dtype_name(spec.dtype), dtype_name(tensor.dtype)
            raise Fault(
                Code.INVALID_ARGUMENT,
                f"Expects arg[{index}] to be {expected} but {provided} is provided (input '{alias}')",
            )
        if not _fits(tensor.shape, spec):
            raise Fault(
                Code.INVALID_ARGUMENT,
                f"input '{alias}' has shape {_shape_text(tensor.shape)}, "
                f"signature '{signature.key}' takes {_shape_text(spec.shape or ())}",
            )


def chosen_outputs(signature: Signature, output_filter: Sequence[str]) -> Sequence[str]:
    """The aliases to fetch: those asked for, or all.

    Raises:
        Fault: INVALID_ARGUMENT for an alias that is unknown or asked for twice.
    """
    for index, alias in enumerate(output_filter):
        if alias not in signature.outputs:
            raise Fault(
                Code.INVALID_ARGUMENT,
                f"output tensor alias not found in signature: {alias} "
                f"Outputs expected to be in the set {_set_text(signature.outputs)}.",
            )
        if alias in output_filter[:index]:
            raise Fault(Code.INVALID_ARGUMENT, f"duplicate output tensor alias: {alias}")
    return output_filter or tuple(signature.outputs)


def _check_names(signature: Signature, inputs: Mapping[str, Offered]) -> None:
    """TF Serving's rule, but for inputs that the graph has a default for: those may be left out, as in TensorFlow."""
    sent, known = inputs.keys(), signature.inputs.keys()
    extra = sent - known
    missing = {alias for alias in known - sent if not signature.inputs[alias].optional}
    if not (extra or missing):
        return
    if len(sent) == len(known):
        raise Fault(
            Code.INVALID_ARGUMENT,
            f"input tensor alias not found in signature: {min(extra)}. "
            f"Inputs expected to be in the set {_set_text(known)}.",
        )
    raise Fault(
        Code.INVALID_ARGUMENT,
        f"input size does not match signature: {len(sent)}!={len(known)} "
        f"len({_set_text(sent)}) != len({_set_text(known)}). "
        f"Sent extra: {_set_text(extra)}. Missing but required: {_set_text(missing)}.",
    )


def _fits(shape: Sequence[int], spec: TensorSpec) -> bool:
    if spec.shape is None:
        return True
    if len(shape) != len(spec.shape):
        return False
    return not [None for size, known in zip(shape, spec.shape, strict=True) if known not in (None, size)]


def _set_text(names: Collection[str]) -> str:
    return "{" + ",".join(sorted(names)) + "}"


def _shape_text(shape: Sequence[int | None]) -> str:
    return "[" + ",".join("?" if size is None else str(size) for size in shape) + "]"
