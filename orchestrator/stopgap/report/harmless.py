"""Every text of a document made fit for a page: what a model, a caller or a file has put there is hostile.

The page escapes what HTML would read. Here control characters and overrides of direction become visible, and whatever
is longer than a page has room for is cut, with a word that it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any, Final, TypeVar

from stopgap.comparison.document import KeptTensor
from stopgap.printable import printable

__all__ = ["harmless"]

LONGEST: Final = 160
LONGEST_KEPT: Final = 1200
MOST: Final = 400  # entries of anything

T = TypeVar("T")


def harmless(value: T, longest: int = LONGEST) -> T:
    """The same, of the same type; lists and objects cut as well, and texts after so many characters."""
    found: T = cleaned(value, longest)
    return found


def cleaned(value: Any, longest: int = LONGEST) -> Any:
    if isinstance(value, str):
        return printable(value, longest)
    if isinstance(value, KeptTensor):
        text = "\n".join(printable(line, LONGEST_KEPT) for line in value.text[:LONGEST_KEPT].split("\n"))
        return replace(
            value,
            name=cleaned(value.name, longest),
            dtype=cleaned(value.dtype, longest),
            shape=value.shape[:16],
            text=text,
        )
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{each.name: cleaned(getattr(value, each.name), longest) for each in fields(value)})
    if isinstance(value, (tuple, list)):
        return type(value)(cleaned(each, longest) for each in value[:MOST])
    if isinstance(value, Mapping):
        return {cleaned(str(key), longest): cleaned(each, longest) for key, each in list(value.items())[:MOST]}
    return value
