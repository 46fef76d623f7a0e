"""What readers of every format have in common: how they are to read, and how a row or a request becomes a case."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

import numpy as np
from numpy.typing import NDArray

from stopgap.client.signatures import DEFAULT_SIGNATURE, Signature
from stopgap.client.values import fitted, widened
from stopgap.comparison.pairs import Case, Tensors
from stopgap.errors import DataError, PredictionError

__all__ = ["Data", "Reading", "case_of", "rows_of", "tensor"]

SPARSE_PARTS = ("/indices", "/values", "/dense_shape")


@dataclass(frozen=True)
class Reading:
    """How data are read.

    Attributes:
        signatures: The legacy model's, by name; empty where nobody knows them, and values stay as they are.
        signature: Which is asked for, where the data name none.
        key: The field that says what a case is a unit of; empty where there is none.
        extras: The fields that go with the inputs without being one: labels, what one slices by.
        rows: How many rows a request carries, where the data are rows; None: all that there are in one request.
        examples: What becomes of a tf.Example: `parsed` by the inputs' names, `serialised` into the model's string
            input, or `auto`: parsed where it has the inputs' names.
        extras_are_named: Whether a person may name further ones.
    """

    signatures: Mapping[str, Signature] = field(default_factory=dict)
    signature: str = DEFAULT_SIGNATURE
    key: str = ""
    extras: frozenset[str] = frozenset()
    rows: Optional[int] = 1  # noqa: UP045 - dataclasses are looked into at run time, by Python 3.9 too
    examples: str = "auto"
    extras_are_named: bool = False

    def __post_init__(self) -> None:
        if self.rows is not None and self.rows < 1:
            raise DataError(f"A request cannot carry {self.rows} rows.", "Give it one or more.")

    @property
    def chosen(self) -> Signature | None:
        """The signature that is asked for; None where nobody knows it."""
        return self.signatures.get(self.signature)

    @property
    def beside(self) -> frozenset[str]:
        """The fields that are no inputs."""
        return self.extras | {self.key} if self.key else self.extras

    @property
    def told(self) -> str:
        """What of it decides which cases there are, as one text."""
        return json.dumps([self.signature, self.key, sorted(self.extras), self.rows, self.examples])


@dataclass(frozen=True)
class Data:
    """A file to ask with, or a recording's folder.

    Attributes:
        file: Where it lies.
        format: What it is, in words.
        digest: SHA-256 of the file.
        reading: How it is read.
        count: How many cases there are; None where it would take long to know.
        cases: Gives them from the first on, each time it is called; raises DataError with the place of what is wrong.
        redacted: What was taken out before it was written down, in a sentence; empty where nothing was.
    """

    file: Path
    format: str
    digest: str
    reading: Reading
    count: Optional[int]  # noqa: UP045
    cases: Callable[[], Iterator[Case]] = field(repr=False)
    redacted: str = ""


def case_of(
    number: int, values: Mapping[str, object], reading: Reading, place: str, signature: Signature | None
) -> Case:
    """The case that has these values, inputs and what is beside them.

    Args:
        number: The case's.
        values: By name.
        reading: Says which are no inputs.
        place: Where they stand, as an error is to name it.
        signature: What the inputs are to fit; None: they stay what they are.

    Raises:
        DataError: They do not fit.
    """
    inputs = {name: value for name, value in values.items() if name not in reading.beside}
    extras = {name: values[name] for name in reading.extras if name in values}
    absent = sorted(name for name in reading.beside if name not in values)
    if absent:
        raise DataError(f"{place}: there is no {', '.join(map(repr, absent))}.", f"There are: {listed(values)}.")
    return Case(
        number,
        fitting(inputs, signature, place, reading),
        signature.name if signature else reading.signature,
        key_of(values[reading.key], reading.key, place) if reading.key else "",
        {name: tensor(name, value, place) for name, value in extras.items()},
    )


def fitting(
    inputs: Mapping[str, object], signature: Signature | None, place: str, reading: Reading
) -> dict[str, NDArray[Any]]:
    """The inputs as the signature has them: data types, and a bfloat16 as a number."""
    if signature is None:
        return {name: tensor(name, value, place) for name, value in inputs.items()}
    try:
        signature.check_names(inputs)
    except PredictionError as error:
        unknown = sorted(inputs.keys() - signature.inputs.keys())
        hint = f"\nWhat is no input is named: --extra {unknown[0]}" if unknown and reading.extras_are_named else ""
        raise DataError(f"{place}: {error.problem}", f"{error.remedy}{hint}") from error
    found = {}
    for name, value in inputs.items():
        dtype = signature.inputs[name].dtype
        if dtype is None:
            raise DataError(f"{place}: no request can carry a value for the input {name!r}.")
        try:
            found[name] = tensor(name, widened(fitted(name, value, dtype), dtype), place)
        except PredictionError as error:
            raise DataError(f"{place}: {error.problem}", error.remedy) from error
    return found


def tensor(name: str, value: object, place: str) -> NDArray[Any]:
    """The value as an array, strings as objects of `bytes`.

    Raises:
        DataError: It is no array of numbers or strings.
    """
    try:
        array = np.asarray(value)
        if array.dtype.kind not in "SUOT":
            return array
        flat = np.empty(array.size, object)
        flat[:] = [as_bytes(element) for element in array.ravel().tolist()]
    except (ValueError, TypeError) as error:
        raise DataError(f"{place}: {name!r} is no array of numbers or strings.") from error
    return flat.reshape(array.shape)


def as_bytes(element: object) -> bytes:
    if isinstance(element, str):
        return element.encode()
    if isinstance(element, bytes):
        return element
    raise TypeError(type(element).__name__)


def key_of(value: object, name: str, place: str) -> str:
    """What all rows of a case have in common."""
    texts = {text_of(element) for element in tensor(name, value, place).ravel().tolist()}
    if len(texts) != 1:
        what = "several" if texts else "no"
        raise DataError(
            f"{place}: the request has {what} values of {name!r}, and is to be a unit of one.",
            "Ask row by row: --rows 1",
        )
    return texts.pop()


def text_of(element: object) -> str:
    return element.decode("utf-8", "surrogateescape") if isinstance(element, bytes) else str(element)


def rows_of(inputs: Tensors) -> int | None:
    """How many rows a request has, as its inputs' first dimension tells; None where they do not agree on one.

    The parts of a sparse input are not asked: only its first dimension tells, not that of the parts.
    """
    first = {
        array.shape[0]
        for name, array in inputs.items()
        if array.ndim and not any(name.endswith(part) for part in SPARSE_PARTS)
    }
    first |= {
        int(array[0])
        for name, array in inputs.items()
        if name.endswith("/dense_shape") and array.ndim == 1 and array.size
    }
    return first.pop() if len(first) == 1 else None


def listed(names: Mapping[str, object]) -> str:
    return ", ".join(map(repr, sorted(names))) or "none"
