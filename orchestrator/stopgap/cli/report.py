"""`stopgap report`: the page of a comparison that was made before, from the result that it left."""

from __future__ import annotations

from pathlib import Path

import click

from stopgap.comparison.document import read_document
from stopgap.report.files import check_writable, write_whole
from stopgap.report.needed import check_installed

__all__ = ["report"]


@click.command()
@click.argument("result", type=click.Path(path_type=Path))
@click.argument("page", type=click.Path(path_type=Path))
def report(result: Path, page: Path) -> None:
    """Write a comparison as one HTML file for people: PAGE, from RESULT, which `stopgap compare --out` has written.

    It needs nothing else: no network, no script; light and dark, and fit to be printed. It shows what was asked and
    answered where that was kept, by `--keep-inputs`; then only its owner may read it.
    """
    check_installed()
    check_writable(page)
    document = read_document(result)
    from stopgap.report.page import page_of  # noqa: PLC0415 - an extra

    write_whole(page, page_of(document), private=bool(document.kept))
