"""Many rows in several requests: cut, asked for with some in flight, and put together again in their order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

import numpy as np

from stopgap.api.values import sparse_names
from stopgap.client.signatures import Signature, TensorSpec
from stopgap.client.status import INVALID_ARGUMENT
from stopgap.errors import PredictionError
from stopgap.progress import Progress

__all__ = ["in_batches"]

Arrays = Mapping[str, np.ndarray]


def in_batches(
    signature: Signature,
    inputs: Arrays,
    ask: Callable[[Arrays], Arrays],
    *,
    batch_size: int,
    in_flight: int,
    progress: Progress,
) -> dict[str, np.ndarray]:
    """The outputs for all rows.

    Args:
        inputs: Arrays that share their first dimension, the rows.
        ask: Gives the outputs for some of the rows; called from several threads.
        batch_size: How many rows a request has at most.
        in_flight: How many requests are under way at once.

    Raises:
        PredictionError: The inputs have no rows in common, an output has not one place for each row, or a request
            failed: then those that have not begun are not asked.
    """
    rows = rows_of(signature, inputs)
    starts = range(0, rows, batch_size) if rows else range(1)
    answers: dict[int, Arrays] = {}
    parts = {start: part(inputs, start, batch_size) for start in starts}
    threads = ThreadPoolExecutor(in_flight)
    try:
        for start, answer in finished(threads, parts, ask, in_flight):
            answers[start] = checked(answer, min(batch_size, rows - start), start)
            progress("predicting", len(answers) / len(starts))
    finally:
        threads.shutdown(wait=False)  # who interrupts this does not want to wait for what is under way
    ordered = [answers[start] for start in starts]
    return {name: np.concatenate([answer[name] for answer in ordered]) for name in ordered[0]}


def rows_of(signature: Signature, inputs: Arrays) -> int:
    """How many rows the inputs have."""
    specs = {**signature.outputs, **signature.inputs}
    sparse = [*sparse_names(signature.inputs), *sparse_names(signature.outputs)]
    fixed = [name for name, spec in specs.items() if not has_free_rows(spec)]
    if sparse or fixed or not inputs:
        what = f"the first dimension of {fixed[0]!r} is not free" if fixed else "it has no inputs"
        what = f"{sparse[0]!r} is sparse" if sparse else what
        raise PredictionError(
            f"The signature {signature.name!r} cannot be asked in batches: {what}.",
            INVALID_ARGUMENT,
            "Leave batch_size out.",
        )
    if scalars := [name for name, array in inputs.items() if not array.ndim]:
        raise PredictionError(f"The input {scalars[0]!r} is one value, without rows.", INVALID_ARGUMENT)
    lengths = {name: len(array) for name, array in inputs.items()}
    if len(set(lengths.values())) > 1:
        raise PredictionError(f"The inputs have different numbers of rows: {lengths}.", INVALID_ARGUMENT)
    return next(iter(lengths.values()))


def has_free_rows(spec: TensorSpec) -> bool:
    return spec.shape is None or (len(spec.shape) > 0 and spec.shape[0] is None)


def part(inputs: Arrays, start: int, size: int) -> dict[str, np.ndarray]:
    return {name: array[start : start + size] for name, array in inputs.items()}


def finished(
    threads: ThreadPoolExecutor, parts: Mapping[int, Arrays], ask: Callable[[Arrays], Arrays], in_flight: int
) -> Iterator[tuple[int, Arrays]]:
    """The answers as they come, by the row that their part begins at."""
    waiting = iter(parts.items())
    running: dict[Future[Arrays], int] = {}
    while True:
        while len(running) < in_flight and (following := next(waiting, None)):
            start, rows = following
            running[threads.submit(ask, rows)] = start
        if not running:
            return
        done, _ = wait(running, return_when=FIRST_COMPLETED)
        for future in done:
            start = running.pop(future)
            yield start, answer_of(future, start, len(next(iter(parts[start].values()))))


def answer_of(future: Future[Arrays], start: int, rows: int) -> Arrays:
    try:
        return future.result()
    except PredictionError as error:
        problem = f"In the {rows} rows from {start} on: {error.problem}"
        raise PredictionError(problem, error.code, error.remedy) from error


def checked(answer: Arrays, rows: int, start: int) -> Arrays:
    for name, array in answer.items():
        if array.ndim == 0 or len(array) != rows:
            raise PredictionError(
                f"The output {name!r} has the shape {list(array.shape)} for the {rows} rows from {start} on, "
                "so that batches cannot be put together.",
                INVALID_ARGUMENT,
                "Leave batch_size out.",
            )
    return answer
