"""`stopgap serve`: from a folder to an address that answers."""

from __future__ import annotations

import shlex
from datetime import date
from pathlib import Path
from typing import Any

import click

from stopgap import deployment
from stopgap.cli import engine as engines
from stopgap.cli.arguments import deployment_name, sunset, tags
from stopgap.cli.output import print_json, reporter
from stopgap.engines.protocol import EngineLimits
from stopgap.settings import Address, Limits, ServeSettings, Timeouts
from stopgap.store import Deployment, Store
from stopgap.sunset import DEFAULT_DAYS, countdown, days_left, default_sunset

__all__ = ["serve"]


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--name", callback=deployment_name, required=True, help="What clients call it in model_spec.name.")
@click.option(
    "--until",
    callback=sunset,
    metavar="DATE",
    help=f"The day by which it must be gone.  [default: {DEFAULT_DAYS} days]",
)
@click.option("--workers", type=click.IntRange(1, 64), default=Limits.workers, show_default=True, help="Processes.")
@click.option("--memory", "memory_mib", type=int, metavar="MIB", help=f"Limit.  [default: {Limits.memory_mib}]")
@click.option("--cpus", type=float, help=f"Limit.  [default: {Limits.cpus:g}, or what there is]")
@click.option("--tags", callback=tags, default="serve", show_default=True, help="Which of the model's graphs.")
@click.option(
    "--op-library", "op_libraries", type=click.Path(path_type=Path), multiple=True, metavar="FILE", help="Custom ops."
)
@click.option(
    "--port",
    type=click.IntRange(1024, 65535),
    default=Address.grpc_port,
    show_default=True,
    help="gRPC; models may share it.",
)
@click.option("--bind", default=Address.bind, show_default=True, help="0.0.0.0 for other machines too.")
@click.option("--load-timeout", "load_s", type=int, default=Timeouts.load_s, show_default=True, help="Seconds.")
@click.option("--run-timeout", "run_s", type=int, default=Timeouts.run_s, show_default=True, help="Seconds a request.")
@click.option(
    "--max-message-mib", type=int, default=ServeSettings.max_message_mib, show_default=True, help="Largest message."
)
@click.option("--bundle", default=ServeSettings.bundle, show_default=True, help="Which TensorFlow.")
@click.option("--engine", "engine_name", type=click.Choice(engines.CHOICES), default="auto", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def serve(
    *,
    model: Path,
    name: str,
    until: date | None,
    workers: int,
    memory_mib: int | None,
    cpus: float | None,
    tags: tuple[str, ...],
    op_libraries: tuple[Path, ...],
    port: int,
    bind: str,
    load_s: int,
    run_s: int,
    max_message_mib: int,
    bundle: str,
    engine_name: str,
    as_json: bool,
) -> None:
    """Serve MODEL from a contained sandbox.

    MODEL is a SavedModel folder, or a folder of numbered versions, of which the newest is taken. Returns when the
    model answers.
    """
    today = date.today()
    engine = engines.chosen(engine_name)
    wanted = ServeSettings(
        name=name,
        model=model,
        until=until or default_sunset(today),
        bundle=bundle,
        tags=tags,
        op_libraries=op_libraries,
        address=Address(bind, port),
        limits=fitting(engine.limits(), workers, memory_mib, cpus),
        timeouts=Timeouts(load_s=load_s, run_s=run_s),
        max_message_mib=max_message_mib,
    )
    with reporter() as report:
        served = deployment.serve(wanted, engine, Store.default(), report.say, report.progress)
    if as_json:
        print_json(described(served, today))
    else:
        print_served(served, today)


def fitting(engine: EngineLimits, workers: int, memory_mib: int | None, cpus: float | None) -> Limits:
    """What was asked for, and where nothing was, the default or what a small machine has."""
    return Limits(
        memory_mib=min(Limits.memory_mib, engine.memory_mib) if memory_mib is None else memory_mib,
        cpus=min(Limits.cpus, float(engine.cpus)) if cpus is None else cpus,
        workers=workers,
    )


def described(served: Deployment, today: date) -> dict[str, Any]:
    """A deployment as scripts read it."""
    return {
        "name": served.name,
        "grpc": served.address,
        "engine": served.engine,
        "isolation": served.isolation,
        "until": served.until.isoformat(),
        "days_left": days_left(served.until, today),
        "model": str(served.model),
        "version": served.version,
        "bundle": served.bundle,
        "workers": served.workers,
        "changes_state": served.changes_state,
    }


def print_served(served: Deployment, today: date) -> None:
    lines = {
        "gRPC": served.address,
        "model": f"{served.name}, version {served.version}",
        "engine": f"{served.engine}, isolation {served.isolation}",
        "sunset": countdown(served.until, today),
    }
    if served.changes_state:
        lines["workers"] = "1: this model changes state, so requests are not retried either"
    for what, value in lines.items():
        click.echo(f"{what:<9}{value}")
    click.echo(f"\nNext: stopgap predict {shlex.quote(served.name)} --inputs FILE.npz")
