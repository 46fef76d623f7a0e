"""`stopgap`: the group of all commands, and what becomes of errors and signals."""

from __future__ import annotations

import signal
import sys
from importlib import metadata
from types import FrameType
from typing import NoReturn

import click

from stopgap.cli.audit import audit
from stopgap.cli.bundle import bundle
from stopgap.cli.compare import compare
from stopgap.cli.doctor import doctor
from stopgap.cli.extend import extend
from stopgap.cli.incidents import incidents
from stopgap.cli.logs import logs
from stopgap.cli.metrics import metrics
from stopgap.cli.output import print_error
from stopgap.cli.predict import predict
from stopgap.cli.resume import resume
from stopgap.cli.sbom import sbom
from stopgap.cli.serve import serve
from stopgap.cli.status import status
from stopgap.cli.stop import stop
from stopgap.cli.verify import verify_command
from stopgap.cli.vex import vex
from stopgap.errors import StopgapError

__all__ = ["cli", "main"]

EXIT_ERROR = 1
EXIT_INTERRUPTED = 130
EXIT_SIGNALLED = 128  # and the signal's number, as shells have it


class LifeOrder(click.Group):
    """Lists its commands in the order of a model's life, not of the alphabet."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(self.commands)


@click.group(cls=LifeOrder, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(metadata.version("stopgap"), prog_name="stopgap")
def cli() -> None:
    """Keep a TensorFlow 1.x model that depends on tf.contrib alive, contained and honest about its age."""


for command in (
    serve,
    predict,
    compare,
    status,
    logs,
    incidents,
    metrics,
    audit,
    resume,
    extend,
    stop,
    verify_command,
    bundle,
    sbom,
    vex,
    doctor,
):
    cli.add_command(command)


def main() -> NoReturn:
    """The console script: 0 done, 1 went wrong, 2 wrong usage.

    3: an audit found something BROKEN, or a comparison says FAIL; 4: that is INCONCLUSIVE.

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
