"""What a replay was answered, written as something that can be compared: PredictionLogs, or an .npz of rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from stopgap_protos.serving_pb2 import PredictRequest, PredictResponse

from stopgap.asking.data.reading import rows_of
from stopgap.asking.recorded import FAILURE_TEXTS, FAILURES, LATENCIES_S
from stopgap.client.npz import write_npz
from stopgap.client.tensors import to_proto
from stopgap.comparison.pairs import Answer, Case
from stopgap.errors import DataError, PredictionError
from stopgap.journal.logs import new_log
from stopgap.journal.segments import write_whole
from stopgap.journal.tfrecord import TFRecordWriter

__all__ = ["AnswersOut", "InOrder", "answers_out"]

NPZ = ".npz"


class AnswersOut(Protocol):
    """One side's answers, in the recording's order."""

    def take(self, case: Case, arrived_s: float, answer: Answer) -> None:
        """
        Raises:
            DataError: It has no place in such a file.
        """

    def finish(self) -> None:
        """When all were taken: what is not yet written is.

        Raises:
            DataError: It cannot be.
        """

    def close(self) -> None:
        """In any case."""


def answers_out(file: Path) -> AnswersOut:
    """By the file's name: an .npz, or a TFRecord of PredictionLogs for any other.

    Raises:
        DataError: There is such a file already.
        JournalError: It cannot be made.
    """
    if file.exists():
        raise DataError(f"{file} is there already.", "Name another file, or take it away.")
    return RowsOut(file) if file.suffix == NPZ else LogsOut(file)


class LogsOut:
    """Requests as Predict, with what was answered; of a failure the log has no answer."""

    def __init__(self, file: Path) -> None:
        self._writer = TFRecordWriter(file, fresh=True)

    def take(self, case: Case, arrived_s: float, answer: Answer) -> None:
        """See `AnswersOut`."""
        request = PredictRequest()
        request.model_spec.signature_name = case.signature
        for name, array in case.inputs.items():
            request.inputs[name].CopyFrom(to_proto(np.asarray(array)))
        response = None if answer.outputs is None else PredictResponse()
        for name, array in (answer.outputs or {}).items():
            assert response is not None  # noqa: S101 - there are outputs
            response.outputs[name].CopyFrom(to_proto(np.asarray(array)))
        log = new_log(request, response, timestamp_s=arrived_s)
        self._writer.append(log.SerializeToString(deterministic=True))

    def finish(self) -> None:
        """See `AnswersOut`."""
        self._writer.sync()

    def close(self) -> None:
        """See `AnswersOut`."""
        self._writer.close()


class RowsOut:
    """A row for each row that was asked, whatever request it was in; all of them in memory until the end."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._answers: list[tuple[int, Answer]] = []

    def take(self, case: Case, arrived_s: float, answer: Answer) -> None:  # noqa: ARG002 - an AnswersOut's
        """See `AnswersOut`."""
        rows = rows_of(case.inputs)
        outputs = answer.outputs or {}
        if rows is None or any(array.shape[:1] != (rows,) for array in outputs.values()):
            raise DataError(
                f"The answer to request {case.number} has not one row for each row that was asked.",
                "Write PredictionLogs: name a file that does not end in .npz",
            )
        self._answers.append((rows, answer))

    def finish(self) -> None:
        """See `AnswersOut`."""
        if not any(answer.outputs for _, answer in self._answers):
            raise DataError(f"Nothing was answered, so that there are no rows for {self._file}.")
        blank = next(answer.outputs for _, answer in self._answers if answer.outputs)
        columns = {name: [self._rows(name, array, *each) for each in self._answers] for name, array in blank.items()}
        try:
            joined = {name: np.concatenate(parts) for name, parts in columns.items()}
            write_whole(self._file, write_npz({**joined, **self._beside()}))
        except (ValueError, PredictionError) as error:
            raise DataError(
                f"The answers' rows do not fit together: {error}",
                "Write PredictionLogs: name a file that does not end in .npz",
            ) from error
        except OSError as error:
            raise DataError(f"{self._file} cannot be written: {error.strerror or error}.") from error

    def close(self) -> None:
        """See `AnswersOut`: what is not finished is not written."""

    @staticmethod
    def _rows(name: str, blank: NDArray[Any], rows: int, answer: Answer) -> NDArray[Any]:
        """Of a failure zeros, or empty strings, which stand for nothing."""
        if answer.outputs is not None and name in answer.outputs:
            return np.asarray(answer.outputs[name])
        found = np.zeros((rows, *blank.shape[1:]), blank.dtype)
        if blank.dtype.hasobject:
            found[...] = b""
        return found

    def _beside(self) -> dict[str, NDArray[Any]]:
        failed = [(rows, answer.failure) for rows, answer in self._answers]
        told = {
            FAILURES: [each.code.encode() if each else b"" for rows, each in failed for _ in range(rows)],
            FAILURE_TEXTS: [each.text.encode() if each else b"" for rows, each in failed for _ in range(rows)],
        }
        taken = [
            np.nan if each.latency_s is None else each.latency_s for rows, each in self._answers for _ in range(rows)
        ]
        texts = {name: as_objects(each) for name, each in told.items() if any(told[FAILURES])}
        return {**texts, LATENCIES_S: np.array(taken)}


def as_objects(texts: list[bytes]) -> NDArray[Any]:
    found = np.empty(len(texts), object)
    found[:] = texts
    return found


class InOrder:
    """Gives answers on in the order of their numbers, however they come."""

    def __init__(self, out: AnswersOut) -> None:
        self._out = out
        self._waiting: dict[int, tuple[Case, float, Answer]] = {}
        self._next = 0

    def take(self, case: Case, arrived_s: float, answer: Answer) -> None:
        """Any number that has not been taken yet."""
        self._waiting[case.number] = (case, arrived_s, answer)
        while (found := self._waiting.pop(self._next, None)) is not None:
            self._out.take(*found)
            self._next += 1

    def finish(self) -> None:
        """See `AnswersOut`."""
        self._out.finish()

    def close(self) -> None:
        """See `AnswersOut`."""
        self._out.close()
