"""`stopgap`: the group of all commands, and what becomes of errors and signals."""

from __future__ import annotations

import importlib
import signal
import sys
from types import FrameType
from typing import NoReturn

import click

from stopgap.cli.output import print_error
from stopgap.errors import StopgapError

__all__ = ["cli", "main"]

EXIT_ERROR = 1
EXIT_INTERRUPTED = 130
EXIT_SIGNALLED = 128  # and the signal's number, as shells have it

# In the order of a model's life. Each is the one name that the file called so gives.
COMMANDS = (
    "serve",
    "predict",
    "compare",
    "record",
    "replay",
    "report",
    "shadow",
    "split",
    "feedback",
    "promote",
    "rollback",
    "retire",
    "status",
    "logs",
    "incidents",
    "live",
    "metrics",
    "audit",
    "resume",
    "extend",
    "stop",
    "verify",
    "bundle",
    "sbom",
    "vex",
    "doctor",
)


class LifeOrder(click.Group):
    """Lists its commands in that order, not in the alphabet's, and imports only the one that is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - likewise
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"stopgap.cli.{cmd_name}")
        (command,) = module.__all__
        found: click.Command = getattr(module, command)
        return found


@click.group(cls=LifeOrder, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="stopgap", prog_name="stopgap")
def cli() -> None:
    """Keep a TensorFlow 1.x model that depends on tf.contrib alive, contained and honest about its age."""


def main() -> NoReturn:
    """The console script: 0 done, 1 went wrong, 2 wrong usage.

    3: an audit found something BROKEN, something is not what was served, or a comparison says FAIL; 4: something is
    UNKNOWN to the audit, or the comparison is INCONCLUSIVE.

    129, 130 or 143: hung up, interrupted or terminated.
    """
    signal.signal(signal.SIGTERM, terminate)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as nohup leaves it
        signal.signal(signal.SIGHUP, terminate)
    try:
        sys.exit(cli.main(standalone_mode=False) or 0)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        sys.exit(EXIT_INTERRUPTED)
    except StopgapError as error:
        print_error(error)
        sys.exit(EXIT_ERROR)


def terminate(number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001 - a signal handler's signature
    """As an exception, so that a half-started sandbox is cleaned away."""
    signal.signal(number, signal.SIG_IGN)  # a terminal that closes says so twice: the kernel, then the shell
    sys.exit(EXIT_SIGNALLED + number)
