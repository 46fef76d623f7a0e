"""From a legacy model's names, class order, dtypes and shapes to its successor's, and back.

[map]
signature = "serve"
inputs = { image = "x" }
before = "adapters:scaled"      # function(inputs by the candidate's names) -> the same
after = "adapters:softmaxed"    # function(outputs by the candidate's names) -> the same

[map.outputs.probs]
name = "probabilities"
classes = [2, 0, 1]             # the legacy model's class 0 is the candidate's class 2
dtype = "float32"
shape = "squeeze"               # or "expand", or the sizes of a row: [10]
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Union

import numpy as np
from numpy.typing import NDArray

from stopgap.comparison.functions import Broken, called, function_named
from stopgap.comparison.pairs import Answer, Case, Failure, Tensors
from stopgap.comparison.values import as_array
from stopgap.errors import ComparisonError

__all__ = ["Map", "Tensor", "read_map"]

ADAPTER_FAILED = "ADAPTER"
SHAPES = ("", "squeeze", "expand")


@dataclass(frozen=True)
class Tensor:
    """What one of the legacy model's tensors is for the candidate.

    Attributes:
        name: The candidate's; empty for the same.
        classes: Of an output: which of the candidate's classes each of the legacy model's is, on the last axis.
        dtype: An input's as the candidate takes it, an output's as the legacy model has it; empty for as it comes.
            `bfloat16` makes numbers of an output's bits.
        shape: `squeeze` takes out the axes of size 1 but the first, `expand` adds one at the end; or a row's sizes.
    """

    name: str = ""
    classes: tuple[int, ...] = ()
    dtype: str = ""
    shape: Union[str, tuple[int, ...]] = ""  # noqa: UP007 - read by Python 3.9 too

    def __post_init__(self) -> None:
        if sorted(self.classes) != list(range(len(self.classes))):
            raise ComparisonError(f"{list(self.classes)} is no order of classes.", "Name each from 0 on, once.")
        if isinstance(self.shape, str) and self.shape not in SHAPES:
            raise ComparisonError(
                f"No tensor can be brought to the shape {self.shape!r}.", 'Choose "squeeze" or a list.'
            )
        if self.dtype and self.dtype != "bfloat16":
            try:
                np.dtype(self.dtype)
            except TypeError as error:
                raise ComparisonError(f"There is no dtype {self.dtype!r}.", 'Write "float32", say.') from error

    def fitted(self, value: Any) -> NDArray[Any] | Any:
        """The tensor as it is to be; as it came, where it cannot be made so: then it will not agree either."""
        array = as_array(value)
        if array is None:
            return value
        if self.classes and array.ndim and array.shape[-1] == len(self.classes):
            array = array[..., list(self.classes)]
        return self._shaped(self._typed(array))

    def _typed(self, array: NDArray[Any]) -> NDArray[Any]:
        if self.dtype == "bfloat16":
            bits = array.dtype == np.uint16
            return (array.astype(np.uint32) << 16).view(np.float32) if bits and array.ndim else array
        if not self.dtype or (array.dtype.kind == "c" and np.dtype(self.dtype).kind != "c"):
            return array
        try:
            with np.errstate(all="ignore"):
                return array.astype(self.dtype)
        except (TypeError, ValueError, OverflowError):
            return array

    def _shaped(self, array: NDArray[Any]) -> NDArray[Any]:
        if not self.shape or not array.ndim:
            return array
        if self.shape == "squeeze":
            return array.reshape(array.shape[0], *(size for size in array.shape[1:] if size != 1))
        if self.shape == "expand":
            return array[..., np.newaxis]
        sizes = tuple(int(size) for size in self.shape)
        try:
            return array.reshape(array.shape[0], *sizes)
        except ValueError:
            return array


@dataclass(frozen=True)
class Map:
    """All of it; without anything in it both models are called alike.

    Attributes:
        signature: The candidate's; empty for the same as the legacy model's.
        inputs: By the legacy model's names.
        outputs: Likewise.
        before: Adapts the inputs, under the candidate's names, before it is asked.
        after: Adapts its outputs, under its own names.
    """

    signature: str = ""
    inputs: Mapping[str, Tensor] = field(default_factory=dict)
    outputs: Mapping[str, Tensor] = field(default_factory=dict)
    before: str = ""
    after: str = ""

    def __post_init__(self) -> None:
        for name in filter(None, (self.before, self.after)):
            function_named(name)
        for part, tensors in (("inputs", self.inputs), ("outputs", self.outputs)):
            names = [tensor.name or name for name, tensor in tensors.items()]
            if len(set(names)) < len(names):
                raise ComparisonError(f"Two of the map's {part} become the same: {sorted(names)}.")

    def asked(self, case: Case) -> tuple[str, Tensors]:
        """What the candidate is asked: its signature, and inputs by its names.

        Raises:
            ComparisonError: The adapter failed.
        """
        signature = self.signature or case.signature
        inputs = {
            self.inputs[name].name or name if name in self.inputs else name: self.inputs[name].fitted(value)
            if name in self.inputs
            else value
            for name, value in case.inputs.items()
        }
        if not self.before:
            return signature, inputs
        try:
            return signature, adapted(self.before, inputs)
        except Broken as broken:
            raise ComparisonError(f"The inputs of case {case.number} could not be adapted: {broken}") from broken

    def told(self, answer: Answer) -> Answer:
        """The candidate's answer under the legacy model's names and in its order; a failure, where an adapter fails."""
        if answer.outputs is None:
            return answer
        outputs: Tensors = answer.outputs
        if self.after:
            try:
                outputs = adapted(self.after, dict(outputs))
            except Broken as broken:
                return Answer(None, Failure(ADAPTER_FAILED, str(broken)[:500]), answer.latency_s)
        ours = {tensor.name or name: name for name, tensor in self.outputs.items()}
        # What the map says goes before an output that happens to have the legacy model's name.
        found = {name: value for name, value in outputs.items() if name not in self.outputs and name not in ours}
        for theirs, name in ours.items():
            if theirs in outputs:
                found[name] = self.outputs[name].fitted(outputs[theirs])
        return replace(answer, outputs=found)


def adapted(name: str, tensors: Mapping[str, Any]) -> dict[str, Any]:
    """
    Raises:
        Broken: The adapter raised something, or gave no dictionary by name.
    """
    given = called(name, function_named(name), tensors)
    if not isinstance(given, Mapping) or not all(isinstance(key, str) for key in given):
        raise Broken(f"{name} gave a {type(given).__name__}, not tensors by name")
    return dict(given)


def read_map(table: Mapping[str, Any]) -> Map:
    """From the table `map` of a plan.

    Raises:
        ComparisonError: It is not like the example above.
    """
    unknown = set(table) - {"signature", "inputs", "outputs", "before", "after"}
    if unknown:
        raise ComparisonError(
            f"The map has no {sorted(unknown)}.", "It has: signature, inputs, outputs, before, after."
        )
    for key in ("signature", "before", "after"):
        if not isinstance(table.get(key, ""), str):
            raise ComparisonError(f"The map's {key} must be a text.")
    parts = {}
    for part in ("inputs", "outputs"):
        tensors = table.get(part, {})
        if not isinstance(tensors, Mapping):
            raise ComparisonError(f"The map's {part} must be a table.", f'Write: {part} = {{ legacy = "candidate" }}')
        parts[part] = {name: read_tensor(name, value) for name, value in tensors.items()}
    texts = {key: table[key] for key in ("signature", "before", "after") if key in table}
    return Map(inputs=parts["inputs"], outputs=parts["outputs"], **texts)


def read_tensor(name: str, value: object) -> Tensor:
    if isinstance(value, str):
        return Tensor(value)
    if not isinstance(value, Mapping) or set(value) - {"name", "classes", "dtype", "shape"}:
        raise ComparisonError(f"The map of {name!r} must be a name, or a table of name, classes, dtype, shape.")
    shape, classes = value.get("shape", ""), value.get("classes", [])
    for key, numbers in (("classes", classes), ("shape", [] if isinstance(shape, str) else shape)):
        if not isinstance(numbers, (list, tuple)) or not all(type(each) is int for each in numbers):
            raise ComparisonError(f"The {key} of {name!r} must be a list of whole numbers.")
    if not all(isinstance(value.get(key, ""), str) for key in ("name", "dtype")):
        raise ComparisonError(f"The name and dtype of {name!r} must be texts.")
    sizes = shape if isinstance(shape, str) else tuple(shape)
    return Tensor(value.get("name", ""), tuple(classes), value.get("dtype", ""), sizes)
