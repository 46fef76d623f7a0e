"""JSON lines as cases: each line is a request, in TF Serving's words or as an object of inputs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from stopgap.asking.data.reading import Reading, case_of
from stopgap.client.request_files import bytes_or_object
from stopgap.client.signatures import Signature
from stopgap.comparison.pairs import Case
from stopgap.errors import DataError

__all__ = ["json_cases"]

REMEDY = 'Write {"instances": […]}, {"inputs": {…}} or {"NAME": VALUE, …} on each line.'


def json_cases(file: Path, reading: Reading) -> Iterator[Case]:
    """Blank lines are none.

    Raises:
        DataError: A line is no request, or not one of the model's.
    """
    number = 0
    try:
        with file.open("rb") as stream:
            for line_number, line in enumerate(stream, start=1):
                if line.strip():
                    yield line_case(number, line, reading, f"{file}, line {line_number}")
                    number += 1
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror}.") from error


def line_case(number: int, line: bytes, reading: Reading, place: str) -> Case:
    document = decoded(line, place)
    signature = signature_of(document, reading, place)
    beside = {name: value for name, value in document.items() if name in reading.beside}
    given = {name: value for name, value in document.items() if name not in {"signature_name", *beside}}
    if given.keys() == {"instances"}:
        inputs: Mapping[str, object] = columns(given["instances"], signature, place)
    elif given.keys() == {"inputs"}:
        inputs = named(given["inputs"], signature, place)
    else:
        inputs = batched(given, signature)
    case = case_of(number, {**inputs, **beside}, reading, place, signature)
    if signature is None and document.get("signature_name"):
        return Case(number, case.inputs, document["signature_name"], case.key, case.extras)
    return case


def decoded(line: bytes, place: str) -> dict[str, Any]:
    try:
        document = json.loads(line, object_hook=bytes_or_object)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{place} is no JSON: {error}.", REMEDY) from error
    if not isinstance(document, dict):
        raise DataError(f"{place} is no object.", REMEDY)
    return document


def signature_of(document: Mapping[str, Any], reading: Reading, place: str) -> Signature | None:
    name = document.get("signature_name", reading.signature)
    if not isinstance(name, str):
        raise DataError(f"{place}: the signature_name is not a text.")
    return reading.signatures.get(name)


def columns(instances: object, signature: Signature | None, place: str) -> dict[str, object]:
    """TF Serving's row format: an object, or the only input's value, for each row."""
    if not isinstance(instances, list) or not instances:
        raise DataError(f"{place}: the instances are no list of rows.", REMEDY)
    if not all(isinstance(row, dict) for row in instances):
        return {only_input(signature, place): instances}
    names = instances[0].keys()
    odd = next((index for index, row in enumerate(instances) if row.keys() != names), None)
    if odd is not None:
        raise DataError(f"{place}: instance {odd} has other names than the first.")
    return {name: [row[name] for row in instances] for name in names}


def named(inputs: object, signature: Signature | None, place: str) -> dict[str, object]:
    """TF Serving's column format: an object, or the only input's value."""
    return inputs if isinstance(inputs, dict) else {only_input(signature, place): inputs}


def only_input(signature: Signature | None, place: str) -> str:
    if signature is None or len(signature.inputs) != 1:
        raise DataError(f"{place}: which input is it? The model has several, or nobody knows them.", "Name each input.")
    return next(iter(signature.inputs))


def batched(values: Mapping[str, object], signature: Signature | None) -> Mapping[str, object]:
    """As they are, or in lists of one where each lacks just the dimension of the batch: a line that is a row."""
    if signature is None or not values or not values.keys() <= signature.inputs.keys():
        return values
    shapes = {name: signature.inputs[name].shape for name in values}
    is_row = all(
        shape is not None and shape[:1] == (None,) and depth(values[name]) == len(shape) - 1
        for name, shape in shapes.items()
    )
    return {name: [value] for name, value in values.items()} if is_row else values


def depth(value: object) -> int:
    levels = 0
    while isinstance(value, list):
        levels += 1
        value = value[0] if value else None
    return levels
