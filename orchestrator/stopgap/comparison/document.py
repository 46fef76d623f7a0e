"""A result with all that it is bound to: one JSON object, written, and read again without trust in who wrote it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Optional, Union, get_args, get_origin, get_type_hints

from stopgap.comparison.closeness import Floor
from stopgap.comparison.result import SCHEMA, Result, plain
from stopgap.errors import ComparisonError

__all__ = ["UNPINNED", "DataFile", "Document", "KeptCase", "KeptTensor", "Party", "document_in", "read_document"]

UNPINNED = "unpinned"
NOT_FINITE = {"inf": math.inf, "-inf": -math.inf}
LARGEST_FILE = 256 << 20  # bytes


@dataclass(frozen=True)
class Party:
    """One of the two models.

    Attributes:
        told: What it is, in a sentence.
        digest: SHA-256 of its files, or `unpinned`: nobody can know that it was this one.
        served: SHA-256 of that and all that it was served with, or `unpinned` likewise.
    """

    told: str
    digest: str = UNPINNED
    served: str = UNPINNED

    @property
    def pinned(self) -> bool:
        return self.digest != UNPINNED


@dataclass(frozen=True)
class DataFile:
    """What both were asked with."""

    file: str
    format: str
    sha256: str


@dataclass(frozen=True)
class KeptTensor:
    """One tensor as a person is to see it, bounded.

    Attributes:
        shape: Of all of it.
        shown: `text`: `text` has it. `numbers`: likewise, the first of them. `pixels`: `content` has grey values, or
            red, green and blue, a byte each, in Base64. `image/png` and the like: `content` has such a file.
        size: Of pixels: height, width, and 1, 3 or 4 channels.
        text: In words; of pixels from which to which value they go.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    shown: str
    text: str = ""
    content: str = ""
    size: tuple[int, ...] = ()


@dataclass(frozen=True)
class KeptCase:
    """One request, and what both said to it; by the number that `Case` has."""

    number: int
    inputs: tuple[KeptTensor, ...]
    legacy: tuple[KeptTensor, ...]
    candidate: tuple[KeptTensor, ...]


@dataclass(frozen=True)
class Document:
    """All of it.

    Attributes:
        stated: The plan, as its digest is made of.
        noise: How far the legacy model is from itself; None where nobody measured it.
        kept: The worst cases with what was asked and answered; empty unless that was asked for.
        redacted: What was taken out of them: rules.
        made: When, in UTC, and by which version.
    """

    result: Result
    legacy: Party
    candidate: Party
    data: DataFile
    stated: Mapping[str, Any] = field(default_factory=dict)
    noise: Optional[Floor] = None  # noqa: UP045 - read by Python 3.9 too
    kept: tuple[KeptCase, ...] = ()
    redacted: tuple[str, ...] = ()
    made: Mapping[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """The result's own keys, and beside them the others'."""
        written = asdict(self)
        del written["result"]
        found: dict[str, Any] = {**self.result.as_json(), **plain(written)}
        return found

    def as_text(self) -> str:
        """As `read_document` takes it from a file."""
        return json.dumps(self.as_json(), indent=2, allow_nan=False) + "\n"


def read_document(file: Path) -> Document:
    """
    Raises:
        ComparisonError: It cannot be read, or is no result.
    """
    try:
        if file.stat().st_size > LARGEST_FILE:
            raise ComparisonError(f"{file} is larger than any result of a comparison.")
        written = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ComparisonError(f"The result {file} cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise ComparisonError(f"The result {file} is no JSON.", "It is what stopgap compare --out writes.") from error
    try:
        return document_in(written)
    except (TypeError, ValueError, OverflowError) as error:
        raise ComparisonError(
            f"{file} is no result of a comparison: {error}.", "It is what stopgap compare --out writes."
        ) from error


def document_in(written: Any) -> Document:
    """
    Raises:
        TypeError: Something in it is not what it is to be, or not there.
        ValueError: It is of another version.
    """
    if not isinstance(written, dict) or "schema" not in written:
        raise TypeError("it has no schema")
    if written["schema"] != SCHEMA:
        raise ValueError(f"its schema is {written['schema']!r}, and this stopgap reads {SCHEMA}")
    names = {each.name for each in fields(Document)} - {"result"}
    beside = {name: value for name, value in written.items() if name in names}
    result = {name: value for name, value in written.items() if name not in names | {"schema"}}
    found: Document = value_of(Document, {**beside, "result": result}, "the result")
    return found


def value_of(kind: Any, written: Any, place: str) -> Any:
    """What was written as JSON, as the type says that it was."""
    if kind is Any:
        return written
    if is_dataclass(kind):
        return dataclass_of(kind, written, place)
    origin, of = get_origin(kind), get_args(kind)
    if origin is Union:
        return None if written is None else value_of(of[0], written, place)
    if origin is tuple:
        return tuple_of(of, written, place)
    if origin is not None:
        check(isinstance(written, dict), place, "an object")
        return {key: value_of(of[1], value, f"{place}.{key}") for key, value in written.items()}
    return scalar_of(kind, written, place)


def dataclass_of(kind: Any, written: Any, place: str) -> Any:
    check(isinstance(written, dict), place, "an object")
    hints = get_type_hints(kind)
    missing = [
        each.name
        for each in fields(kind)
        if each.name not in written and each.default is MISSING and each.default_factory is MISSING
    ]
    check(not missing, place, f"an object with {', '.join(missing)}")
    known = {each.name for each in fields(kind)}
    return kind(
        **{name: value_of(hints[name], value, f"{place}.{name}") for name, value in written.items() if name in known}
    )


def tuple_of(of: tuple[Any, ...], written: Any, place: str) -> tuple[Any, ...]:
    check(isinstance(written, list), place, "a list")
    if of[-1] is ...:
        return tuple(value_of(of[0], value, f"{place}[{number}]") for number, value in enumerate(written))
    check(len(written) == len(of), place, f"a list of {len(of)}")
    return tuple(value_of(each, value, place) for each, value in zip(of, written))


def scalar_of(kind: Any, written: Any, place: str) -> Any:
    if kind is float:
        number = NOT_FINITE.get(written, written) if isinstance(written, str) else written
        number = math.nan if number is None else number
        check(isinstance(number, (int, float)) and not isinstance(number, bool), place, "a number")
        return float(number)
    check(isinstance(written, kind) and not (kind is int and isinstance(written, bool)), place, NAMES[kind])
    return written


NAMES = {int: "a whole number", str: "a text", bool: "true or false"}


def check(holds: bool, place: str, wanted: str) -> None:
    if not holds:
        raise TypeError(f"{place} is to be {wanted}")
