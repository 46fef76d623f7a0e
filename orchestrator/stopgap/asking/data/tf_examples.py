"""A TFRecord of tf.Examples as cases: parsed by the inputs' names, or serialised, for a model that parses them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from stopgap_protos.example_pb2 import Example
from stopgap_protos.example_pb2 import Feature as FeatureProto
from stopgap_protos.unfolding import unfolded_bytes

from stopgap.asking.data.reading import Reading, case_of
from stopgap.client.signatures import Signature, TensorSpec
from stopgap.comparison.pairs import Case
from stopgap.errors import DataError, JournalError
from stopgap.journal.tfrecord import Record, read_records

__all__ = ["AUTO", "PARSED", "SERIALISED", "example_cases", "string_input"]

AUTO, PARSED, SERIALISED = "auto", "parsed", "serialised"
MOST_UNFOLDED_BYTES = 1 << 30


def example_cases(file: Path, reading: Reading) -> Iterator[Case]:
    """
    Raises:
        DataError: A record cannot be read, or is not what the model takes.
    """
    records = (record_of(file, record) for record in read_records(file))
    by_name: bool | None = None  # as the first record has it: a later one that lacks an input is no other kind
    try:
        for number, rows in enumerate(batches(records, reading.rows)):
            signature = known(reading)
            by_name = is_parsed(rows[0], reading.examples, signature) if by_name is None else by_name
            yield batch_case(number, rows, reading, signature, by_name=by_name)
    except JournalError as error:
        raise DataError(error.problem, error.remedy) from error


class Row:
    """One record."""

    def __init__(self, content: bytes, place: str) -> None:
        self.content = content
        self.place = place
        self.features: Mapping[str, FeatureProto] = parsed(content, place).features.feature


def record_of(file: Path, record: Record) -> Row:
    return Row(record.content, f"{file}, record at byte {record.offset}")


def parsed(content: bytes, place: str) -> Example:
    if unfolded_bytes(Example, content, MOST_UNFOLDED_BYTES) > MOST_UNFOLDED_BYTES:
        raise DataError(f"{place} unfolds to more than {MOST_UNFOLDED_BYTES >> 20} MiB.")
    try:
        return Example.FromString(content)
    except DecodeError as error:
        raise DataError(f"{place} is no tf.Example.") from error


def batches(rows: Iterator[Row], size: int | None) -> Iterator[Sequence[Row]]:
    while batch := list(itertools.islice(rows, size)):
        yield batch


def known(reading: Reading) -> Signature:
    if reading.chosen is None:
        raise DataError(
            "tf.Examples can be read only where the model's signature is known.", "Name a model that can be asked."
        )
    return reading.chosen


def batch_case(number: int, rows: Sequence[Row], reading: Reading, signature: Signature, *, by_name: bool) -> Case:
    place = rows[0].place
    values: dict[str, object] = {name: column(rows, name, None) for name in reading.beside}
    if by_name:
        there = [name for name in signature.inputs if name not in signature.optional or name in rows[0].features]
        values |= {name: column(rows, name, signature.inputs[name]) for name in there}
    else:
        contents = np.empty(len(rows), object)
        contents[:] = [row.content for row in rows]
        values[string_input(signature)] = contents
    return case_of(number, values, reading, place, signature)


def is_parsed(row: Row, wanted: str, signature: Signature) -> bool:
    if wanted != AUTO:
        return wanted == PARSED
    return all(name in row.features for name in signature.inputs if name not in signature.optional)


def string_input(signature: Signature) -> str:
    """The one input that takes serialised tf.Examples.

    Raises:
        DataError: There is none, or several.
    """
    found = [name for name, spec in signature.inputs.items() if spec.dtype is not None and spec.dtype.is_string]
    required = [name for name in found if name not in signature.optional]
    if len(required or found) != 1:
        raise DataError(
            f"The signature {signature.name!r} has {len(found)} inputs of strings: not just the tf.Examples'.",
            "Name the inputs as features in the tf.Examples (--examples parsed).",
        )
    return (required or found)[0]


def column(rows: Sequence[Row], name: str, spec: TensorSpec | None) -> NDArray[Any]:
    """A feature of all rows: [rows, …] by the input's shape where that is known, else [rows] or [rows, values]."""
    lists = [values_of(row, name) for row in rows]
    lengths = {len(values) for values in lists}
    if len(lengths) > 1:
        raise DataError(
            f"{rows[0].place}: the feature {name!r} has different numbers of values in the rows of one request.",
            "Ask row by row: --rows 1",
        )
    flat = np.concatenate(lists) if lists else np.empty(0)
    return flat.reshape(shape_of(len(rows), lengths.pop(), spec, rows[0].place))


def values_of(row: Row, name: str) -> NDArray[Any]:
    feature = row.features.get(name) if name in row.features else None
    kind = feature.WhichOneof("kind") if feature is not None else None
    if feature is None or kind is None:
        there = ", ".join(map(repr, sorted(row.features))) or "none"
        raise DataError(f"{row.place}: there is no feature {name!r}.", f"There are: {there}.")
    values = list(getattr(feature, kind).value)
    dtype: Any = {"bytes_list": object, "float_list": np.float32, "int64_list": np.int64}[kind]
    array = np.empty(len(values), dtype)
    array[:] = values
    return array


def shape_of(rows: int, values: int, spec: TensorSpec | None, place: str) -> tuple[int, ...]:
    if spec is None or spec.shape is None or not spec.shape:
        return (rows,) if values == 1 else (rows, values)
    inner = spec.shape[1:]
    unknown = sum(size is None for size in inner)
    known = int(np.prod([size for size in inner if size is not None], dtype=np.int64))
    if (unknown == 0 and known != values) or (unknown == 1 and (known == 0 or values % known)) or unknown > 1:
        raise DataError(f"{place}: the {values} values of {spec.name!r} do not make up {spec}.")
    return (rows, *(values // known if size is None else size for size in inner))
