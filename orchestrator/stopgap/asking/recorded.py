"""A side that was asked before: outputs in an .npz, with the rows of the data, or the answers in PredictionLogs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from stopgap.asking.data.npz_rows import NpzRows
from stopgap.asking.data.prediction_logs import logged_answers
from stopgap.asking.data.reading import rows_of, tensor
from stopgap.asking.sides import Identity, Question
from stopgap.client.signatures import Signature
from stopgap.comparison.pairs import Answer, Case, Failure
from stopgap.digests import sha256_of
from stopgap.errors import DataError
from stopgap.printable import printable

__all__ = ["FAILURES", "FAILURE_TEXTS", "LATENCIES_S", "RecordedLogs", "RecordedOutputs"]

# Beside the outputs, one for each row: gRPC's code names (empty: it was answered), what was said, how long it took.
FAILURES, FAILURE_TEXTS, LATENCIES_S = "@failures", "@failure_texts", "@latencies_s"


class Recorded:
    """What both kinds have in common: nobody is asked."""

    def __init__(self, file: Path) -> None:
        self.file = file
        try:
            digest = sha256_of(file)
        except OSError as error:
            raise DataError(f"The recorded outputs {file} cannot be read: {error.strerror}.") from error
        self._identity = Identity(f"what is recorded in {printable(str(file))}", digest, digest)

    def identity(self) -> Identity:
        """See `Side`."""
        return self._identity

    def signatures(self) -> Mapping[str, Signature]:
        """None are known."""
        return {}

    def changes_state(self, signature: str) -> bool:  # noqa: ARG002 - Side's signature
        """It does not."""
        return False

    def is_there(self) -> bool:
        """It is."""
        return True


class RecordedOutputs(Recorded):
    """An .npz: by output, an array with one row for each row of the data, read in their order.

    Args:
        file: It may also have `@failures`, `@failure_texts` and `@latencies_s`, of one value for each row. A request
            has failed where its first row with a failure says so, and took what its first row says.

    Raises:
        DataError: It is none.
    """

    def __init__(self, file: Path) -> None:
        super().__init__(file)
        self._rows = NpzRows(file)
        self._asked = 0

    def question(self, case: Case) -> Question:
        """See `Side`."""
        count = rows_of(case.inputs)
        if count is None:
            raise DataError(
                f"How many rows case {case.number} has cannot be told: its inputs' first dimensions differ.",
                "Compare recorded outputs over data whose inputs all have the rows as their first dimension.",
            )
        self._asked += count
        if self._asked > self._rows.rows:
            raise DataError(
                f"{self.file} holds {self._rows.rows} rows, and case {case.number} ends at row {self._asked}.",
                "Record the outputs for just these data.",
            )
        answer = self._answer(self._rows.take(count))
        return lambda _timeout_s: answer

    def close(self) -> None:
        """Closes the file."""
        self._rows.__exit__(None, None, None)

    def _answer(self, taken: dict[str, NDArray[Any]]) -> Answer:
        arrays = {name: tensor(name, array, str(self.file)) for name, array in taken.items()}
        codes, texts, latencies = (arrays.pop(name, None) for name in (FAILURES, FAILURE_TEXTS, LATENCIES_S))
        latency_s = float(latencies.ravel()[0]) if latencies is not None and latencies.size else None
        said: list[object] = [] if codes is None else codes.ravel().tolist()
        first = next((row for row, code in enumerate(said) if code), None)
        if first is None:
            return Answer(arrays, latency_s=latency_s)
        text = texts.ravel().tolist()[first] if texts is not None and texts.size else b""
        return Answer(failure=Failure(word(said[first]), word(text)), latency_s=latency_s)


class RecordedLogs(Recorded):
    """The answers in a TFRecord of PredictionLogs, one for each case: of the same file, or of one just as long.

    Raises:
        DataError: It cannot be read.
    """

    def __init__(self, file: Path) -> None:
        super().__init__(file)
        self._answers: Iterator[Answer] = logged_answers(file)

    def question(self, case: Case) -> Question:
        """See `Side`."""
        answer = next(self._answers, None)
        if answer is None:
            raise DataError(f"{self.file} holds {case.number} logs, and the data have more cases.")
        return lambda _timeout_s: answer

    def close(self) -> None:
        """Nothing was begun."""


def word(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
