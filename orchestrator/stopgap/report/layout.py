"""What a page is made of, before it is one: sections of text, tables and figures, without a word of HTML."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Union

from markupsafe import Markup

__all__ = ["Block", "Card", "Cards", "Cell", "Column", "Figure", "Picture", "Section", "Table", "Text"]


@dataclass(frozen=True)
class Figure:
    """A chart in the sizes that it is drawn in, of which the page shows the one that fits."""

    drawings: Sequence[Markup]
    caption: str
    kind: str = "figure"


@dataclass(frozen=True)
class Cell:
    """Of a table.

    Attributes:
        tone: A class: `pass`, `fail`, `inconclusive`, `shown`, `legacy`, `candidate`, `warning`, `mono`, `heat-0` to
            `heat-9`, or none.
    """

    text: Union[str, Markup]  # noqa: UP007 - read by Python 3.9 too
    tone: str = ""


@dataclass(frozen=True)
class Column:
    """Of a table; numbers stand to the right."""

    name: str
    number: bool = False
    tone: str = ""


@dataclass(frozen=True)
class Table:
    """The first cell of each row is its heading.

    Attributes:
        folded: Opened by who wants to see it; printed in any case.
    """

    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    folded: bool = False
    kind: str = "table"


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str
    tone: str = ""
    kind: str = "text"


@dataclass(frozen=True)
class Picture:
    """Something that was asked or answered: an image, or text.

    Attributes:
        source: A data URL, made here and nowhere else; empty for text.
    """

    name: str
    told: str
    source: str = ""
    text: str = ""
    alternative: str = ""


@dataclass(frozen=True)
class Card:
    """One case."""

    title: str
    told: str
    inputs: Sequence[Picture]
    legacy: Sequence[Picture]
    candidate: Sequence[Picture]


@dataclass(frozen=True)
class Cards:
    """Several of them."""

    cards: Sequence[Card]
    kind: str = "cards"


Block = Union[Figure, Table, Text, Cards]


@dataclass(frozen=True)
class Section:
    """A part of the page that can be pointed at.

    Attributes:
        eyebrow: What it is about, above the heading, which says what was found.
        badge: An outcome, or none.
    """

    identity: str
    heading: str
    blocks: Sequence[Block]
    eyebrow: str = ""
    badge: str = ""
