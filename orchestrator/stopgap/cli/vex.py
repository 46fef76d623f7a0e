"""`stopgap vex`: what stopgap says to what a scanner says of TensorFlow 1.15.5."""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path

import click

from stopgap.advisories import table
from stopgap.bundle_rows import row
from stopgap.vex import document

__all__ = ["vex"]


@click.command()
@click.option("--output", type=click.Path(path_type=Path), metavar="FILE", help="Where to write it.  [default: stdout]")
def vex(output: Path | None) -> None:
    """Write an OpenVEX document on the known vulnerabilities of TensorFlow 1.15.5.

    Each statement names the promises that it rests on. They hold for a model that stopgap serves, and nowhere else.
    """
    known = table()
    text = json.dumps(document(known, row(known.bundle), metadata.version("stopgap")), indent=2)
    if output is None:
        click.echo(text)
    else:
        output.write_text(text + "\n", encoding="utf-8")
