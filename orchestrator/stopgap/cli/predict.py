"""`stopgap predict`: ask a deployment, or any TF Serving address, with inputs from a file."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import click
import numpy as np

from stopgap.cli.arguments import timeout
from stopgap.cli.output import print_table, reporter, warn_of_sunset
from stopgap.client.answer_files import readable, to_json
from stopgap.client.channel import ServingChannel
from stopgap.client.model import RemoteModel
from stopgap.client.npz import write_npz
from stopgap.client.request_files import RequestFile, parse_request
from stopgap.client.status import INVALID_ARGUMENT
from stopgap.errors import PredictionError, StopgapError
from stopgap.sunset import utc_today

__all__ = ["predict"]

_FIRST_VALUES = 6


@click.command()
@click.argument("name")
@click.option(
    "--inputs",
    "source",
    required=True,
    metavar="FILE",
    help="An .npz whose keys are the inputs' names, or JSON; - reads standard input.",
)
@click.option("--signature", default="", metavar="NAME", help="The signature to call; serving_default if not given.")
@click.option("--output", type=click.Path(path_type=Path), metavar="FILE", help="Write the outputs to a .npz or .json.")
@click.option(
    "--format",
    "format_",
    type=click.Choice(["table", "json", "npz"]),
    help="How to show or write the outputs; by --output's name, else a table on a terminal and JSON in a pipe.",
)
@click.option(
    "--timeout",
    "timeout_s",
    type=float,
    callback=timeout,
    default=60.0,
    show_default=True,
    metavar="S",
    help="Seconds to wait for each answer.",
)
@click.option("--address", metavar="HOST:PORT", help="Ask there, whether or not this machine serves it.")
def predict(
    *,
    name: str,
    source: str,
    signature: str,
    output: Path | None,
    format_: str | None,
    timeout_s: float,
    address: str | None,
) -> None:
    """Ask the model NAME for a prediction.

    JSON is {"inputs": {"NAME": VALUE, …}} or {"NAME": VALUE, …}; bytes are {"b64": "…"}.

    In an .npz, strings are S or U arrays; an array NAME@len tells the lengths of strings that end in NUL bytes.

    A bfloat16 is a uint16 of its bits in an .npz, and a number elsewhere.
    """
    shown_as = format_ or _format_for(output)
    _check_format(shown_as, output)
    request = _read(source)
    with ServingChannel(address or _address_of(name)) as channel:
        model = RemoteModel(channel, name)
        chosen = model.signature(signature or request.signature, timeout_s)
        outputs = model.predict(request.for_inputs_of(chosen), chosen.name, timeout_s=timeout_s)
        sunset = _sunset_of(model, timeout_s)
    if shown_as == "npz":
        _write(write_npz(outputs), output)
    elif shown_as == "json":
        _write(to_json(readable(outputs, chosen.outputs)).encode() + b"\n", output)
    else:
        _show(readable(outputs, chosen.outputs))
    if sunset is not None:
        warn_of_sunset(name, sunset.date(), utc_today())


def _sunset_of(model: RemoteModel, timeout_s: float) -> datetime | None:
    """None also where somebody else serves it, who does not know the question."""
    try:
        return model.sunset(timeout_s)
    except PredictionError:
        return None


def _format_for(output: Path | None) -> str:
    if output is None:
        return "table" if sys.stdout.isatty() else "json"
    suffix = output.suffix.lower().lstrip(".")
    if suffix not in {"npz", "json"}:
        raise click.UsageError(f"{output} is neither .npz nor .json; say which with --format.")
    return suffix


def _check_format(shown_as: str, output: Path | None) -> None:
    if shown_as == "npz" and output is None and sys.stdout.isatty():
        raise click.UsageError("An .npz is not for a terminal; give it a file with --output, or a pipe.")
    if shown_as == "table" and output is not None:
        raise click.UsageError("A table is not for a file; write --format json or npz.")


def _address_of(name: str) -> str:
    # Only here is a deployment of this machine's needed; with --address the client works without any.
    from stopgap.engines.choice import Engines  # noqa: PLC0415
    from stopgap.hand_overs import answering_to  # noqa: PLC0415
    from stopgap.recovery import revive  # noqa: PLC0415
    from stopgap.store import Store  # noqa: PLC0415

    store = Store.default()
    deployment = answering_to(name, store)
    with reporter() as report:
        revive(deployment, Engines(store.folder), store, report.progress)
    return deployment.address


def _read(source: str) -> RequestFile:
    if source == "-":
        return parse_request(sys.stdin.buffer.read(), "standard input")
    try:
        content = Path(source).read_bytes()
    except OSError as error:
        raise PredictionError(f"The inputs {source} cannot be read: {error.strerror}.", INVALID_ARGUMENT) from error
    return parse_request(content, source)


def _write(content: bytes, output: Path | None) -> None:
    if output is None:
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
        return
    try:
        output.write_bytes(content)
    except OSError as error:
        raise StopgapError(f"The outputs cannot be written to {output}: {error.strerror}.") from error


def _show(outputs: Mapping[str, np.ndarray]) -> None:
    print_table(("output", "dtype", "shape", "first values"), [_row(name, array) for name, array in outputs.items()])


def _row(name: str, array: np.ndarray) -> tuple[str, str, str, str]:
    dtype = "string" if array.dtype.kind == "O" else array.dtype.name
    first = array.ravel()[:_FIRST_VALUES].tolist()
    told = " ".join(_value_text(value) for value in first) + (" …" if array.size > _FIRST_VALUES else "")
    return name, dtype, str(list(array.shape)), told


def _value_text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, bytes):
        return repr(value[:40].decode("utf-8", "backslashreplace"))
    return str(value)
