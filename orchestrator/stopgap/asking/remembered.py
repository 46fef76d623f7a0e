"""What was known of both sides when all was answered: whoever looks at those answers again starts nothing.

Only what answers depend on is believed: a side whose state is another now is opened as if nothing were remembered.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from stopgap.api.opening import Source
from stopgap.asking.choosing import identities, is_recording, open_side
from stopgap.asking.sides import Identity, Question, Side
from stopgap.client.dtypes import dtype_of
from stopgap.client.signatures import Signature, TensorSpec
from stopgap.comparison.pairs import Answer, Case
from stopgap.errors import DataError
from stopgap.journal.segments import write_whole
from stopgap.progress import Progress, silent
from stopgap.store import Store

__all__ = ["Known", "Remembered", "RememberedSide", "read_remembered", "remembered_side", "write_remembered"]

FORMAT = 2


@dataclass(frozen=True)
class Known:
    """One side.

    Attributes:
        signatures: By name; empty for a recording.
    """

    identity: Identity
    signatures: Mapping[str, Signature]


@dataclass(frozen=True)
class Remembered:
    """Both sides, and how much there was to ask.

    Attributes:
        asked: How many cases were answered.
        is_all: Whether the data have no more.
    """

    legacy: Known
    candidate: Known
    asked: int
    is_all: bool

    def leaves_nothing(self, answered: int, most: int | None) -> bool:
        """Whether so many answers are all that somebody wants who wants that many at most."""
        wanted = [number for number in (most, self.asked if self.is_all else None) if number is not None]
        return bool(wanted) and answered >= min(wanted)


class RememberedSide:
    """A side of which everything is known that has been asked; for anything else it is opened, without a word.

    Args:
        known: What it was.
        open_: Opens it; called once, if at all.
    """

    def __init__(self, known: Known, open_: Callable[[], Side]) -> None:
        self._known, self._open = known, open_
        self._side: Optional[Side] = None  # noqa: UP045 - read at run time, by Python 3.9 too
        self._lock = threading.Lock()

    def identity(self) -> Identity:
        """See `Side`."""
        return self._known.identity if self._side is None else self._side.identity()

    def signatures(self) -> Mapping[str, Signature]:
        """See `Side`."""
        return self._known.signatures

    def changes_state(self, signature: str) -> bool:
        """See `Side`."""
        return self._opened().changes_state(signature)

    def question(self, case: Case) -> Question:
        """See `Side`."""

        def ask(timeout_s: float) -> Answer:
            return self._opened().question(case)(timeout_s)

        return ask

    def is_there(self) -> bool:
        """See `Side`."""
        return self._opened().is_there()

    def close(self) -> None:
        """See `Side`."""
        if self._side is not None:
            self._side.close()

    def _opened(self) -> Side:
        with self._lock:
            if self._side is None:
                self._side = self._open()
            return self._side


def remembered_side(known: Known, source: Source, store: Store, kind: str, progress: Progress = silent) -> Side | None:
    """The side without its being started; None where it is not known to be what it was. A recording is simply opened.

    Args:
        source: For `choosing.open_side`, as store, kind and progress are.
    """
    if is_recording(source):
        return open_side(source, store, kind, progress=progress)
    if known.identity.state not in {identity.state for identity in identities(source, store, kind, progress)}:
        return None
    return RememberedSide(known, lambda: open_side(source, store, kind, show_progress=False))


def write_remembered(file: Path, remembered: Remembered) -> None:
    """
    Raises:
        DataError: It cannot be kept.
    """
    written = {
        "format": FORMAT,
        "asked": remembered.asked,
        "is_all": remembered.is_all,
        "legacy": written_side(remembered.legacy),
        "candidate": written_side(remembered.candidate),
    }
    try:
        write_whole(file, json.dumps(written).encode())
    except OSError as error:
        raise DataError(f"{file} cannot be kept: {error.strerror or error}.", "Make room.") from error


def read_remembered(file: Path) -> Remembered | None:
    """None where nothing is remembered, or not in this form: then it is asked for."""
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        told = json.loads(file.read_bytes())
        if told["format"] == FORMAT:
            sides = [read_side(told[name]) for name in ("legacy", "candidate")]
            return Remembered(sides[0], sides[1], int(told["asked"]), bool(told["is_all"]))
    return None


def written_side(known: Known) -> dict[str, Any]:
    identity = known.identity
    return {
        "told": identity.told,
        "digest": identity.digest,
        "state": identity.state,
        "served": identity.served,
        "signatures": {name: written_signature(signature) for name, signature in known.signatures.items()},
    }


def read_side(told: Mapping[str, Any]) -> Known:
    signatures = {name: read_signature(name, each) for name, each in told["signatures"].items()}
    return Known(Identity(str(told["told"]), told["digest"], str(told["state"]), told["served"]), signatures)


def written_signature(signature: Signature) -> dict[str, Any]:
    return {
        "method": signature.method,
        "inputs": [written_spec(spec) for spec in signature.inputs.values()],
        "outputs": [written_spec(spec) for spec in signature.outputs.values()],
        "optional": sorted(signature.optional),
    }


def read_signature(name: str, told: Mapping[str, Any]) -> Signature:
    inputs, outputs = ({spec.name: spec for spec in map(read_spec, told[part])} for part in ("inputs", "outputs"))
    return Signature(name, told["method"], inputs, outputs, frozenset(told["optional"]))


def written_spec(spec: TensorSpec) -> list[Any]:
    return [spec.name, spec.dtype.number if spec.dtype else None, spec.shape]


def read_spec(told: Any) -> TensorSpec:
    name, dtype, shape = told
    return TensorSpec(name, None if dtype is None else dtype_of(dtype), None if shape is None else tuple(shape))
