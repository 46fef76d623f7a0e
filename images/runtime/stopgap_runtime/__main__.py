"""The runtime's commands: `serve` a model, as one `worker` of it, or write down a bundle's op `registry`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> int:
    """Runs one command and gives its exit code."""
    command, *rest = (sys.argv[1:] if arguments is None else arguments) or ["--help"]
    parser = argparse.ArgumentParser(prog=f"stopgap-runtime {command}")
    if command == "serve":
        return _serve(parser, rest)
    if command == "worker":
        return _work(parser, rest)
    if command == "registry":
        return _registry(parser, rest)
    print("usage: stopgap-runtime serve|registry …", file=sys.stderr)  # noqa: T201 - a person typed it
    return 2


def _serve(parser: argparse.ArgumentParser, arguments: list[str]) -> int:
    from .parent import Parent  # noqa: PLC0415 - see below
    from .settings import parse_serve  # noqa: PLC0415

    return Parent(parse_serve(parser, arguments)).run()


def _work(parser: argparse.ArgumentParser, arguments: list[str]) -> int:
    from .executed import work_executed  # noqa: PLC0415 - see below

    work_executed(parser, arguments)


def _registry(parser: argparse.ArgumentParser, arguments: list[str]) -> int:
    # Imports stand here and not above: a registry is also written by Pythons that are too old for the server.
    from . import op_registry  # noqa: PLC0415

    parser.add_argument("bundle", type=Path)
    op_registry.write(parser.parse_args(arguments).bundle)
    return 0
