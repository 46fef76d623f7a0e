"""Templates of ours, in which everything is escaped and nothing may be forgotten: what imports Jinja2."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined

__all__ = ["templates"]

HERE: Final = Path(__file__).parent


def templates(folder: Path) -> Environment:
    """Those of a folder, and beside them the ones of this, `tables.html` say."""
    return Environment(
        loader=FileSystemLoader([folder, HERE]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
