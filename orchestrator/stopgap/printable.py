"""Hostile text made fit for a terminal: whatever comes out of a sandbox passes here before a person sees it."""

from __future__ import annotations

__all__ = ["printable"]

LONGEST_TEXT = 4000


def printable(text: str, longest: int = LONGEST_TEXT) -> str:
    """`text` with everything escaped that moves a cursor, colours, hides or reverses, cut after `longest` characters.

    These are counted as they are shown: one that is escaped becomes up to ten. `str.isprintable` is the judge: it
    refuses the control characters, the bidirectional overrides and lone surrogates.
    """
    pieces: list[str] = []
    room = longest
    for number, character in enumerate(text):
        piece = escaped(character)
        room -= len(piece)
        if room < 0:
            return f"{''.join(pieces)} … ({len(text) - number} more characters)"
        pieces.append(piece)
    return "".join(pieces)


def escaped(character: str) -> str:
    """As it is, where it may be."""
    if character.isprintable():
        return character
    if character == "\t":
        return "    "
    return character.encode("unicode_escape").decode("ascii")
