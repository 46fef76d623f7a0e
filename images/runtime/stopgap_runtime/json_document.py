"""The bytes of a JSON text ↔ Python values. Knows what is JSON and what it costs, nothing of tensors.

orjson reads strict JSON, which neither NaN nor Infinity is part of; clients of TF Serving send both. Texts with these
words go through the standard library, which is slower; orjson still sees them with strings in the words' places, so
that one parser decides what else is well-formed.
"""

from __future__ import annotations

import gc
import itertools
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import orjson

from .faults import Code, Fault

__all__ = ["collector_paused", "excerpt", "parsed", "verbatim", "written"]

_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_EXCERPT_LENGTH: Final = 256  # where later versions of TF Serving cut; 1.15 repeated megabytes

# What a value takes in Python's memory, counted by a character that comes with it: a number or a place in a list, a
# list, an object, half a string.
_BYTES_UNFOLDED: Final = {b",": 32, b"[": 80, b"{": 240, b'"': 24}
_MOST_UNFOLDED: Final = 96  # for each byte, where there is nothing but `{},`
_LARGEST_UNFOLDING: Final = 4
_LEVELS_IN_SIGHT: Final = 4  # the document, its instances, a row of them, a string in base64

# A string, to be passed over, or a word that is no JSON. A string without an end ends with the text, so that no byte is
# looked at twice.
_STRING_OR_WORD: Final = re.compile(rb'"(?:[^"\\]++|\\.?)*+(?:"|\Z)|-?(?:NaN|Inf(?:inity)?)', re.DOTALL)
# How the standard library has them.
_SPELLINGS: Final = {b"-NaN": b"NaN", b"Inf": b"Infinity", b"-Inf": b"-Infinity"}


def parsed(body: bytes, largest_bytes: int) -> dict[str, Any]:
    """The object that `body` describes, with NaN and Infinity allowed.

    Args:
        largest_bytes: What a message may weigh; unfolded into Python's values, it may take four times as much.

    Raises:
        Fault: It is no JSON, no object, or names something twice (INVALID_ARGUMENT, in TF Serving's words where it has
            some), or it would take too much memory (RESOURCE_EXHAUSTED).
    """
    text = body.removeprefix(_BYTE_ORDER_MARK)
    _check_unfolding(text, _LARGEST_UNFOLDING * largest_bytes)
    try:
        document = orjson.loads(text)
        if not _are_in_sight(document, text.count(b":")):
            _by_the_standard_library(text)
    except orjson.JSONDecodeError as error:
        document = _with_words(text, error)
    if not isinstance(document, dict):
        raise Fault(Code.INVALID_ARGUMENT, f"JSON Value: {excerpt(document)} Is not object")
    return document


def written(value: object) -> bytes:
    """A value as JSON; NumPy arrays and what is `verbatim` may be part of it."""
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)


def verbatim(text: bytes) -> object:
    """What `written` writes as it is."""
    return orjson.Fragment(text)


def excerpt(value: object) -> str:
    """A value as JSON for an error's text: its beginning, if it is long."""
    shown = value[: _EXCERPT_LENGTH + 1] if isinstance(value, str) else value
    text = ""
    for piece in json.JSONEncoder(ensure_ascii=False).iterencode(shown):
        text += piece[: _EXCERPT_LENGTH + 1]
        if len(text) > _EXCERPT_LENGTH:
            return text[:_EXCERPT_LENGTH] + "..."
    return text


@contextmanager
def collector_paused() -> Iterator[None]:
    """Keeps Python's collector from looking through lists while they are made.

    JSON has no cycles that it could find, and looking through 50,000 lists again and again costs as much as making
    them.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _check_unfolding(text: bytes, largest_bytes: int) -> None:
    if len(text) * _MOST_UNFOLDED <= largest_bytes:
        return
    unfolded = len(text) + sum(text.count(character) * size for character, size in _BYTES_UNFOLDED.items())
    if unfolded > largest_bytes:
        raise Fault(
            Code.RESOURCE_EXHAUSTED,
            f"the request's JSON would take some {unfolded >> 20} MiB of memory, the limit is {largest_bytes >> 20}: "
            "send fewer instances at a time, or use gRPC",
        )


def _are_in_sight(document: object, colons: int) -> bool:
    """Whether the objects that a request is made of have as many names as its text has colons: then none was lost."""
    level = [document]
    for _ in range(_LEVELS_IN_SIGHT):
        objects = [one for one in level if isinstance(one, dict)]
        lists = [one for one in level if isinstance(one, list) and one and isinstance(one[0], dict)]
        colons -= sum(map(len, objects))
        if colons <= 0:
            return True
        level = [*itertools.chain.from_iterable(map(dict.values, objects)), *itertools.chain.from_iterable(lists)]
    return False


def _by_the_standard_library(text: bytes) -> Any:
    """Reads JSON with NaN and Infinity, and refuses a name that stands twice in one object.

    Whoever reads the first one and whoever reads the last one would disagree about the request.
    """
    try:
        return json.loads(text.decode(), object_pairs_hook=_unique)
    except RecursionError as error:
        raise Fault(Code.INVALID_ARGUMENT, "JSON Parse error: the document is nested too deeply") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = dict(pairs)
    if len(names) < len(pairs):
        raise Fault(Code.INVALID_ARGUMENT, f"JSON Value: {excerpt(names)} has a key twice in the request")
    return names


def _with_words(text: bytes, refusal: orjson.JSONDecodeError) -> Any:
    """Reads what orjson has refused, if for its words; else the refusal stands."""
    if b"NaN" not in text and b"Inf" not in text:
        raise _parse_error(refusal, text) from refusal
    try:
        orjson.loads(_STRING_OR_WORD.sub(_stand_in, text))
        return _by_the_standard_library(_STRING_OR_WORD.sub(_spelled, text))
    except json.JSONDecodeError as error:
        raise _parse_error(error, text) from error


def _stand_in(found: re.Match[bytes]) -> bytes:
    """For a word something as long, so that offsets stay right, that no number can grow together with."""
    return found[0] if found[0].startswith(b'"') else b'""'.ljust(len(found[0]))


def _spelled(found: re.Match[bytes]) -> bytes:
    return _SPELLINGS.get(found[0], found[0])


def _parse_error(error: json.JSONDecodeError, text: bytes) -> Fault:
    if not text.strip():
        return Fault(Code.INVALID_ARGUMENT, "JSON Parse error: The document is empty")
    try:
        text.decode()
    except UnicodeDecodeError as undecodable:
        reason = f'the text is not UTF-8 at offset: {undecodable.start}; send bytes as {{"b64": "…"}}'
        return Fault(Code.INVALID_ARGUMENT, f"JSON Parse error: {reason}")
    return Fault(Code.INVALID_ARGUMENT, f"JSON Parse error: {error.msg} at offset: {error.pos}")
