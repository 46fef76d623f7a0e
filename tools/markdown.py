"""The little Markdown that the generated pages share. It knows nothing of what they say."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

__all__ = ["table", "words"]


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """A table's lines; what would end a cell is escaped."""
    yield f"| {' | '.join(heads)} |"
    yield f"|{' --- |' * len(heads)}"
    for cells in rows:
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def words(text: str) -> str:
    """The text on one line."""
    return " ".join(text.split())
