"""A Google-style docstring taken apart: its text, and what it says of arguments, results, errors and attributes."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tools.markdown import words

__all__ = ["Docstring", "docstring_of"]

HEAD = re.compile(r"(Args|Returns|Raises|Attributes):")
ENTRY = re.compile(r" {4}(?P<name>\S[^:]*): (?P<text>.*)")


@dataclass(frozen=True)
class Docstring:
    """What there is of it.

    Attributes:
        text: All before the first section: paragraphs, each on one line.
        returns: The section of that name; empty where there is none.
        entries: By section, what it says of each name.
    """

    text: tuple[str, ...]
    returns: str
    entries: Mapping[str, Mapping[str, str]]


def docstring_of(thing: object) -> Docstring:
    """The docstring of a class or a function.

    Raises:
        ValueError: It has none, or a section that cannot be read.
    """
    lines = (inspect.getdoc(thing) or "").splitlines()
    if not lines:
        raise ValueError(f"{thing!r} has no docstring")
    starts = [number for number, line in enumerate(lines) if HEAD.fullmatch(line)]
    ends = [*starts[1:], len(lines)]
    sections = {lines[start].rstrip(":"): lines[start + 1 : end] for start, end in zip(starts, ends)}
    text = "\n".join(lines[: starts[0]] if starts else lines)
    return Docstring(
        text=tuple(words(paragraph) for paragraph in text.split("\n\n") if paragraph.strip()),
        returns=words(" ".join(sections.pop("Returns", []))),
        entries={name: dict(entries_of(section)) for name, section in sections.items()},
    )


def entries_of(section: list[str]) -> Iterator[tuple[str, str]]:
    """`name: text`, which goes on where a line is indented further."""
    found: list[list[str]] = []
    for line in filter(None, map(str.rstrip, section)):
        if entry := ENTRY.fullmatch(line):
            found.append([entry["name"], entry["text"]])
        elif found:
            found[-1].append(line.strip())
        else:
            raise ValueError(f"{line!r} belongs to no entry")
    return ((name, " ".join(text)) for name, *text in found)
