"""Hostile text made fit for a terminal: whatever comes out of a sandbox passes here before a person sees it."""

from __future__ import annotations

__all__ = ["printable"]

LONGEST_TEXT = 4000


def printable(text: str, longest: int = LONGEST_TEXT) -> str:
    """`text` with everything escaped that moves a cursor, colours, hides or reverses, cut after `longest` characters.

    `str.isprintable` is the judge: it refuses the control characters, the bidirectional overrides and lone surrogates.
    """
    shown = "".join(character if character.isprintable() else escaped(character) for character in text[:longest])
    return f"{shown} … ({len(text) - longest} more characters)" if len(text) > longest else shown


def escaped(character: str) -> str:
    if character == "\t":
        return "    "
    return character.encode("unicode_escape").decode("ascii")
