"""`stopgap serve`: from a folder to an address that answers."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from datetime import date
from pathlib import Path
from typing import Any

import click

from stopgap import deployment
from stopgap.cli.arguments import deployment_name, deployment_names, sunset, tags
from stopgap.cli.output import print_json, reporter, warn_of_sunset
from stopgap.engines.choice import AUTO, CHOICES, Engines
from stopgap.engines.protocol import EngineLimits
from stopgap.isolations import ISOLATIONS
from stopgap.overlay import read_overlay
from stopgap.recovery import recover
from stopgap.settings import Address, Limits, ServeSettings, Timeouts
from stopgap.store import Deployment, Store
from stopgap.sunset import DEFAULT_DAYS, FARTHEST_DAYS, countdown, days_left, utc_today, written

__all__ = ["serve"]

REASON = f"Why that is later than when it was first served, or more than {FARTHEST_DAYS} days away."


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--name", callback=deployment_name, required=True, help="What clients call it in model_spec.name.")
@click.option(
    "--until",
    callback=sunset,
    metavar="DATE",
    help=f"The day by which it must be gone, in UTC.  [default: as when it was first served, or {DEFAULT_DAYS} days]",
)
@click.option("--reason", default="", metavar="TEXT", help=REASON)
@click.option(
    "--workers",
    type=click.IntRange(1, 64),
    default=Limits.workers,
    show_default=True,
    help="How many processes answer.",
)
@click.option(
    "--memory", "memory_mib", type=int, metavar="MIB", help=f"Memory.  [default: {Limits.memory_mib}, or what there is]"
)
@click.option("--cpus", type=float, help=f"Processors.  [default: {Limits.cpus:g}, or what there is]")
@click.option("--tags", callback=tags, default="serve", show_default=True, help="Which of the model's graphs.")
@click.option(
    "--op-library",
    "op_libraries",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="FILE",
    help="A library of custom operations.",
)
@click.option(
    "--signatures",
    "overlay",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="TOML: signatures beside the model's own, or for one that has none.",
)
@click.option("--allow-tensors", is_flag=True, help="Let callers name the graph's own tensors.")
@click.option(
    "--keep-requests", is_flag=True, help="Keep requests that end a worker alone, for stopgap incidents --requests."
)
@click.option(
    "--also-called",
    callback=deployment_names,
    multiple=True,
    metavar="NAME",
    help="A model whose place this one is to take, for stopgap split and promote. May be repeated.",
)
@click.option(
    "--port",
    type=click.IntRange(1024, 65535),
    default=Address.grpc_port,
    show_default=True,
    help="gRPC; models may share it.",
)
@click.option("--rest-port", type=click.IntRange(1024, 65535), help="REST.  [default: the one after gRPC's]")
@click.option(
    "--bind", default=Address.bind, show_default=True, help="Where to listen: 0.0.0.0 for other machines too."
)
@click.option(
    "--load-timeout", "load_s", type=int, default=Timeouts.load_s, show_default=True, help="Seconds for loading."
)
@click.option(
    "--run-timeout", "run_s", type=int, default=Timeouts.run_s, show_default=True, help="Seconds for one request."
)
@click.option(
    "--max-message-mib",
    type=int,
    default=ServeSettings.max_message_mib,
    show_default=True,
    help="The largest request and answer.",
)
@click.option("--bundle", default=ServeSettings.bundle, show_default=True, help="Which TensorFlow.")
@click.option(
    "--engine",
    "engine_name",
    type=click.Choice(CHOICES),
    default=AUTO,
    show_default=True,
    help="What contains the model.",
)
@click.option(
    "--isolation",
    type=click.Choice(ISOLATIONS),
    help="gvisor for a model of unknown origin: a kernel of its own; slower.  [default: the engine's own]",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def serve(
    *,
    model: Path,
    name: str,
    until: date | None,
    reason: str,
    workers: int,
    memory_mib: int | None,
    cpus: float | None,
    tags: tuple[str, ...],
    op_libraries: tuple[Path, ...],
    overlay: Path | None,
    allow_tensors: bool,
    keep_requests: bool,
    also_called: tuple[str, ...],
    port: int,
    rest_port: int | None,
    bind: str,
    load_s: int,
    run_s: int,
    max_message_mib: int,
    bundle: str,
    engine_name: str,
    isolation: str | None,
    as_json: bool,
) -> None:
    """Serve MODEL from a contained sandbox.

    MODEL is a SavedModel folder, or a folder of numbered versions, of which the newest is taken. Returns when the
    model answers.
    """
    if reason and until is None:
        raise click.UsageError("--reason says why --until is as late as it is; give both.")
    store = Store.default()
    engines = Engines(store.folder)
    already_there = store.behind(port)
    choice = engines.choose(engine_name, joined=already_there[0].engine if already_there else None)
    wanted = ServeSettings(
        name=name,
        model=model,
        until=until,
        reason=reason,
        bundle=bundle,
        tags=tags,
        op_libraries=op_libraries,
        address=Address(bind, port, rest_port or port + 1),
        limits=fitting(choice.engine.limits(), workers, memory_mib, cpus),
        timeouts=Timeouts(load_s=load_s, run_s=run_s),
        max_message_mib=max_message_mib,
        signatures=read_overlay(overlay) if overlay else {},
        tensors_allowed=allow_tensors,
        requests_kept=keep_requests,
        also_called=also_called,
        isolation=isolation or "",
    )
    with reporter() as report:
        report.say(f"Engine: {choice.engine.name} ({choice.why}).")
        recover(engines, store, report.say)
        served = deployment.serve(wanted, choice.engine, store, report.say, report.progress)
        for other in unknown(also_called, store):
            report.say(f"--also-called {other}: no model is called so here, as yet")
    if as_json:
        print_json(described(served, utc_today()))
    else:
        print_served(served, utc_today())
    warn_of_sunset(served.name, served.until, utc_today())


def unknown(names: Iterable[str], store: Store) -> list[str]:
    """Those that no model has, and none had that was handed over."""
    return [name for name in names if store.find(name) is None and store.hand_over(name) is None]


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
        "rest": served.front.rest,
        "engine": served.engine,
        "isolation": served.isolation,
        "limits_by": served.limits_by,
        "until": served.until.isoformat(),
        "days_left": days_left(served.until, today),
        "overdue": days_left(served.until, today) < 0,
        "sunset": written(served.sunset),
        "model": str(served.model),
        "version": served.version,
        "bundle": served.bundle,
        "workers": served.workers,
        "changes_state": served.changes_state,
        "tensors_allowed": served.tensors_allowed,
        "requests_kept": served.requests_kept,
        "also_called": list(served.also_called),
        "shared": served.shared,
    }


def agreed_on(served: Deployment) -> str:
    """Where that was not just now."""
    day = served.sunset.first_served.date()
    return f" (first served on {day})" if day < served.created.date() else ""


def print_served(served: Deployment, today: date) -> None:
    lines = {
        "gRPC": served.address,
        "REST": f"{served.front.rest}/v1/models/{served.name}",
        "model": f"{served.name}, version {served.version}",
        "engine": f"{served.engine}, isolation {served.isolation}, limits by {served.limits_by}",
        "sunset": countdown(served.until, today) + agreed_on(served),
    }
    if served.also_called:
        lines["also"] = f"{', '.join(served.also_called)}, once it is split or promoted to this one"
    if served.changes_state:
        lines["workers"] = "1: this model changes state, so requests are not retried either"
    for what, value in lines.items():
        click.echo(f"{what:<9}{value}")
    click.echo(f"\nNext: stopgap predict {shlex.quote(served.name)} --inputs FILE.npz")
