"""docs/command-line.md, from the commands themselves."""

from __future__ import annotations

import re
from collections.abc import Iterator

import click
from stopgap.cli.main import cli

from tools.markdown import table, words

__all__ = ["commands", "page"]

HEAD = """\
# The command line

<!-- `make docs` writes this page from orchestrator/stopgap/cli. Change that, not this. -->

`stopgap COMMAND --help` says the same in a terminal. Results go to standard output, all else to standard error, so that
`--json` can be piped. What a model has printed, or answers in an error, is escaped before it reaches the terminal.
[The exit codes](limits-and-errors.md#exit-codes) are few; [the guide](guide.md) shows the commands at work.

| variable | what it chooses |
| --- | --- |
| `STOPGAP_STATE` | the folder in which deployments are remembered; by default `~/.local/state/stopgap` |
| `DOCKER_HOST` | which Docker, or [Podman](podman.md), as for `docker` itself |
"""

# Some defaults depend on the machine; those stand in the help's text.
WRITTEN_DEFAULT = re.compile(r"\s*\[default: (?P<default>.*)\]$")


def page() -> str:
    """The whole page."""
    sections = ["\n".join(section(name, command)) for name, command in commands(cli)]
    return "\n".join([HEAD, *sections])


def commands(group: click.Group, prefix: str = "stopgap") -> Iterator[tuple[str, click.Command]]:
    """Every command by what one types, in the order of a model's life."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None, name  # noqa: S101 - it has just been listed
        yield f"{prefix} {name}", command
        if isinstance(command, click.Group):
            yield from commands(command, f"{prefix} {name}")


def section(name: str, command: click.Command) -> Iterator[str]:
    """One command: how it is typed, what it does, and its options."""
    context = click.Context(command, info_name=name)
    yield f"## {name}"
    yield ""
    yield from ("```", words(f"{name} {' '.join(command.collect_usage_pieces(context))}"), "```", "")
    for paragraph in (command.help or "").split("\n\n"):
        yield from (words(paragraph), "")
    options = [parameter for parameter in command.params if isinstance(parameter, click.Option)]
    if options:
        yield from table(("option", "what it says", "default"), (row(option, context) for option in options))
        yield ""


def row(option: click.Option, context: click.Context) -> tuple[str, str, str]:
    """An option's cells."""
    typed = " ".join([", ".join(option.opts), *([] if option.is_flag else [value_of(option, context)])])
    text = option.help or ""
    written = WRITTEN_DEFAULT.search(text)
    default = written["default"] if written else default_of(option)
    return f"`{typed}`", WRITTEN_DEFAULT.sub("", text) + span_of(option), default


def value_of(option: click.Option, context: click.Context) -> str:
    """What stands for its value."""
    return "N" if isinstance(option.type, click.IntRange) else option.make_metavar(context).strip("[]")


def span_of(option: click.Option) -> str:
    """From where to where a number may be."""
    if not isinstance(option.type, click.IntRange):
        return ""
    least, most = option.type.min, option.type.max
    return f" At least {least}." if most is None else f" {least} to {most}."


def default_of(option: click.Option) -> str:
    """What holds where it is not given."""
    if option.required:
        return "required"
    return f"`{option.default}`" if option.show_default else ""
