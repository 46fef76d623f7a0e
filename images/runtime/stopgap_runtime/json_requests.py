"""A prediction's JSON document → its inputs, by rows (`instances`) or by columns (`inputs`), with TF Serving's texts.

Beyond TF Serving: an input that the graph has a default for may be left out, a signature may have no inputs at all, and
where a list is empty the signature says how its shape goes on.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Protocol

from .faults import Code, Fault
from .json_document import excerpt
from .json_numbers import shape_of
from .json_tensors import (
    JsonTensor,
    check_expressible,
    completed,
    data_of,
    fault_in,
    first_wrong,
    is_base64,
    tensor_of,
)

if TYPE_CHECKING:
    from .signatures import Signature, TensorSpec

__all__ = ["Form", "Inputs", "read_inputs"]


class Form(enum.Enum):
    """How a request arranges its tensors, and how it wants its answer; the value is the key that says so."""

    ROWS = "instances"
    COLUMNS = "inputs"


@dataclass(frozen=True)
class Inputs:
    """A request's tensors by their aliases."""

    form: Form
    tensors: Mapping[str, JsonTensor]


def read_inputs(document: Mapping[str, Any], signature: Signature) -> Inputs:
    """What a document asks a signature.

    Raises:
        Fault: It does not fit (INVALID_ARGUMENT), or an input is of a kind that JSON has no words for.
    """
    forms = [form for form in Form if form.value in document]
    if not forms:
        raise _fault("Missing 'inputs' or 'instances' key")
    if len(forms) > 1:
        raise _fault(
            f"JSON Value: {excerpt(document)} Not formatted correctly expecting only one of 'inputs' or 'instances' "
            "keys to exist "
        )
    (form,) = forms
    value = document[form.value]
    return Inputs(form, _columns(value, signature) if form is Form.COLUMNS else _rows(value, document, signature))


# --- By columns ----------------------------------------------------------------------------------------------------


def _columns(value: object, signature: Signature) -> dict[str, JsonTensor]:
    if not isinstance(value, dict) or is_base64(value):
        spec = _only_input(signature)
        if spec is None:
            raise _fault(
                "inputs is a plain value/list, but expecting an object as multiple input tensors required as per "
                "tensorinfo_map"
            )
        return {spec.alias: tensor_of(value, spec)}
    for alias, spec in signature.inputs.items():
        if alias not in value and not spec.optional:
            raise _fault(f"Missing named input: {alias} in 'inputs' object.")
    return {alias: tensor_of(value[alias], spec) for alias, spec in signature.inputs.items() if alias in value}


def _only_input(signature: Signature) -> TensorSpec | None:
    """The input that need not be named."""
    specs = list(signature.inputs.values())
    required = [spec for spec in specs if not spec.optional]
    candidates = required or specs
    return candidates[0] if len(candidates) == 1 else None


# --- By rows -------------------------------------------------------------------------------------------------------


def _rows(instances: object, document: object, signature: Signature) -> dict[str, JsonTensor]:
    if not isinstance(instances, list):
        raise _fault(f"JSON Value: {excerpt(document)} Excepting 'instances' to be an list/array")
    if not instances:
        raise _fault(f"JSON Value: {excerpt(document)} No values in 'instances' array")
    if not signature.inputs:
        raise _fault(f"Failed to get input map for signature: {signature.key}, which has no inputs: only columns can")
    rows = _rows_like(instances[0], signature)
    tensors = rows.tensors(instances)
    if tensors is None:
        place = first_wrong(instances, lambda part: rows.tensors(part) is not None)
        raise _fault(rows.fault_in(place, instances[place]))
    return tensors


class _Rows(Protocol):
    """What all rows must be like."""

    def tensors(self, rows: list[Any]) -> dict[str, JsonTensor] | None:
        """The rows, stacked; None where one is not like that."""
        ...

    def fault_in(self, place: int, row: object) -> str:
        """Why a row is not like that."""
        ...


def _rows_like(first: object, signature: Signature) -> _Rows:
    if isinstance(first, dict) and not is_base64(first):
        specs = {alias: spec for alias, spec in signature.inputs.items() if alias in first or not spec.optional}
        return _ObjectRows({alias: _Row(spec, first.get(alias)) for alias, spec in specs.items()})
    spec = _only_input(signature)
    if spec is None:
        raise _fault(
            "instances is a plain list, but expecting list of objects as multiple input tensors required as per "
            "tensorinfo_map"
        )
    return _PlainRows(_Row(spec, first))


class _Row:
    """What one input's value must be like in every row."""

    def __init__(self, spec: TensorSpec, first: object) -> None:
        check_expressible(first, spec)
        self._spec = spec
        self._shape = shape_of(first)

    @property
    def alias(self) -> str:
        return self._spec.alias

    def stacked(self, values: list[Any]) -> JsonTensor | None:
        """The values of several rows; None where one is not like that."""
        shape = (len(values), *self._shape)
        data = data_of(values, shape, self._spec.dtype)
        return None if data is None else JsonTensor(self._spec.dtype, completed(shape, self._spec), data)

    def fault_in(self, value: object) -> str | None:
        """Why a value is not like that; None if it is."""
        shape = shape_of(value)
        if data_of(value, shape, self._spec.dtype) is None:
            return fault_in(value, shape, self._spec.dtype)
        due, got = math.prod(self._shape), math.prod(shape)
        if due != got:
            return f"Expecting tensor size: {due} but got: {got}"
        if shape != self._shape:
            return f"Expecting shape {_shape_text(self._shape)} but got: {_shape_text(shape)}"
        return None


@dataclass(frozen=True)
class _PlainRows:
    """Each row is the value of the one input."""

    row: _Row

    def tensors(self, rows: list[Any]) -> dict[str, JsonTensor] | None:
        tensor = self.row.stacked(rows)
        return None if tensor is None else {self.row.alias: tensor}

    def fault_in(self, place: int, row: object) -> str:
        if isinstance(row, dict) and not is_base64(row):
            return f"Expecting value/list but got object at item {place} of input list"
        fault = self.row.fault_in(row)
        return f"Failed to process element: {place} of 'instances' list. Error: Invalid argument: {fault}"


@dataclass(frozen=True)
class _ObjectRows:
    """Each row is an object with a value for every input."""

    inputs: Mapping[str, _Row]

    def tensors(self, rows: list[Any]) -> dict[str, JsonTensor] | None:
        if set(map(type, rows)) != {dict} or set(map(len, rows)) != {len(self.inputs)}:
            return None
        try:
            columns = {alias: list(map(itemgetter(alias), rows)) for alias in self.inputs}
        except KeyError:
            return None
        tensors = {}
        for alias, row in self.inputs.items():
            tensor = row.stacked(columns[alias])
            if tensor is None:
                return None
            tensors[alias] = tensor
        return tensors

    def fault_in(self, place: int, row: object) -> str:
        if not isinstance(row, dict) or is_base64(row):
            return f"Expecting object but got list at item {place} of input list"
        where = f"Failed to process element: {place}"
        for key, value in row.items():
            known = self.inputs.get(key)
            fault = known.fault_in(value) if known else f"JSON object: does not have named input: {key}"
            if fault:
                return f"{where} key: {key} of 'instances' list. Error: Invalid argument: {fault}"
        names = ",".join(self.inputs)
        return f"{where} of 'instances' list. JSON object: {excerpt(row)} must only have keys: {names}"


def _shape_text(shape: tuple[int, ...]) -> str:
    return "[" + ",".join(map(str, shape)) + "]"


def _fault(text: str) -> Fault:
    return Fault(Code.INVALID_ARGUMENT, text)
