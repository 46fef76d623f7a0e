"""How far the legacy model is from itself: row by row against the same rows in a batch.

At an equal batch a model equals itself bit by bit; in another its sums are added up in another order. What differs then
is noise, and no candidate is to be blamed for as much.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stopgap.asking.data.reading import Data, rows_of
from stopgap.asking.sides import Side
from stopgap.client.signatures import Signature
from stopgap.comparison.pairs import Answer, Case, Pair, Tensors
from stopgap.progress import Progress, silent

__all__ = ["noise_pairs"]

PHASE = "measuring the legacy model's noise"

Arrays = Mapping[str, NDArray[Any]]


def noise_pairs(
    data: Data,
    legacy: Side,
    *,
    most_rows: int = 256,
    batch: int = 32,
    timeout_s: float = 60.0,
    progress: Progress = silent,
) -> Iterator[Pair]:
    """Pairs of the legacy model's answers: row by row as `legacy`, in batches as `candidate`.

    Rows of one signature and of equal shapes make up a batch, also those of different cases. Left out are requests
    whose rows cannot be told apart, batches of one row, and outputs that are not one row for each row.

    Args:
        data: Whose first rows are asked.
        legacy: A model that can be asked; a recording gives nothing.
        most_rows: How many rows are asked at most.
        batch: How many rows a batch has at most.
        timeout_s: Each request's deadline.
        progress: Told how much is done.
    """
    if not legacy.signatures():
        return
    done = 0
    for number, rows in enumerate(batches(islice(rows_in(data, legacy.signatures()), most_rows), batch)):
        yield from pair_of(number, rows, legacy, timeout_s)
        done += len(rows)
        progress(PHASE, min(1.0, done / most_rows))


def rows_in(data: Data, signatures: Mapping[str, Signature]) -> Iterator[Case]:
    """Each row as a case of its own."""
    for case in data.cases():
        count, signature = rows_of(case.inputs), signatures.get(case.signature)
        if (
            count is None
            or signature is None
            or not all(has_rows(case.inputs, name, signature) for name in case.inputs)
        ):
            continue
        for row in range(count):
            yield Case(case.number, {name: array[row : row + 1] for name, array in case.inputs.items()}, case.signature)


def has_rows(inputs: Tensors, name: str, signature: Signature) -> bool:
    """Whether its first dimension is that of the batch: nobody has fixed it, and it is no part of a sparse tensor."""
    spec = signature.inputs.get(name)
    if spec is None or not inputs[name].ndim or "/" in name:
        return False
    return spec.shape is None or spec.shape[:1] == (None,)


def batches(rows: Iterator[Case], size: int) -> Iterator[Sequence[Case]]:
    """Of rows that follow each other and fit together."""
    begun: list[Case] = []
    for row in rows:
        if begun and (len(begun) >= size or form_of(row) != form_of(begun[0])):
            yield begun
            begun = []
        begun.append(row)
    if begun:
        yield begun


def form_of(row: Case) -> object:
    return row.signature, {name: (array.dtype, array.shape) for name, array in row.inputs.items()}


def pair_of(number: int, rows: Sequence[Case], legacy: Side, timeout_s: float) -> Iterator[Pair]:
    """One pair; none where there is nothing to be held against each other."""
    if len(rows) < 2:
        return
    inputs = {name: np.concatenate([row.inputs[name] for row in rows]) for name in rows[0].inputs}
    case = Case(number, inputs, rows[0].signature)
    singly = [legacy.question(row)(timeout_s) for row in rows]
    together = legacy.question(case)(timeout_s)
    failed = next((answer for answer in (*singly, together) if answer.outputs is None), None)
    if failed is not None:
        yield Pair(case, next((one for one in singly if one.outputs is None), joined(singly)), together)
        return
    names = [name for name in together.outputs or {} if all(is_a_row(one, name) for one in singly)]
    names = [name for name in names if (together.outputs or {})[name].shape[:1] == (len(rows),)]
    if names:
        chosen = Answer({name: (together.outputs or {})[name] for name in names})
        yield Pair(case, joined(singly, names), chosen)


def is_a_row(answer: Answer, name: str) -> bool:
    return (answer.outputs or {}).get(name, np.empty(0)).shape[:1] == (1,)


def joined(rows: Sequence[Answer], names: Sequence[str] | None = None) -> Answer:
    """The rows' outputs as one answer, those that fit together."""
    outputs = {}
    for name in names if names is not None else rows[0].outputs or {}:
        arrays = [(row.outputs or {})[name] for row in rows if name in (row.outputs or {})]
        if len({(array.dtype, array.shape[1:]) for array in arrays}) == 1 and arrays[0].ndim:
            outputs[name] = np.concatenate(arrays)
    return Answer(outputs)
