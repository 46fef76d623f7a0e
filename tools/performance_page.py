"""Writes docs/performance.md and its picture from a run of the benchmark: `make bench`, then `make performance`.

The run is kept in bench/results.json, so that what the page says can be checked against it, and is.
"""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "bench"))

from bounds import SHARE_OF_A_COPY, bounds  # noqa: E402 - found only now

LATEST = ROOT / "build" / "bench.json"
KEPT = ROOT / "bench" / "results.json"
PAGE = ROOT / "docs" / "performance.md"
PICTURE = ROOT / "docs" / "performance.svg"

PATHS = {
    "bare": "`TF_SessionRun` in a loop, default options",
    "bare_caller_thread": "the same, run in the caller's thread",
    "socket": "a worker's own socket",
    "socket_by_h2load": "the same, sent by h2load in pieces of 16 KiB",
    "front_alone": "the front alone: no such model",
    "front_grpc": "gRPC through the front",
    "front_rest": "JSON through the front",
    "front_published": "gRPC, the port published by Docker",
    "load_python": "`stopgap.load` in Python, arrays in and out",
    "handwritten_py37": "a hand-written grpcio server, Python 3.7",
    "unix_copy": "a Unix socket that moves the bytes, no more",
}

LAYERS = {
    "read": "HTTP/1.1 in, with the kernel's copy",
    "face": "gRPC and protobuf, the checks, the answer put together",
    "transfer": "tensors into TensorFlow's memory and out of it",
    "run": "`TF_SessionRun`, in the caller's thread",
    "write": "HTTP/1.1 out, with the kernel's copy",
}

LABEL = "One caller's median latency"

WHAT = """
What each layer costs, from one run of `make bench`; `make performance` writes this page from that run. The model gets
one image of 28 × 28, moves it (a Resampler) and classifies it by three dense layers: small, so that what is around the
run shows. All paths take turns and get the same request. Machines differ: compare the ratios.
"""

SMALLER = """
The smaller a model's run, the more of a request is what is around it. So much for the zoo's `stn_affine_resampler`, one
image of 24 × 24:
"""

SOCKET = """
**The socket.** In one process, with the request in the socket already, a worker's layers take {layers:.0f} µs together,
{run:.0f} of them TensorFlow's own. A caller waits {socket:.0f} µs: a request wakes the worker, its answer the caller. A
byte between two processes shows what these wake-ups cost here: {one_core:.0f} µs on one core, {two_cores:.0f} on two,
of which each falls asleep while the other works. Where the kernel puts the two differs from run to run, and the figure
with it. The bare call takes {bare:.0f} µs, since it hands the graph to TensorFlow's pool: the faster a machine does
that, the harder the ratio is to keep, though no request gets slower by it.
"""

FRONT = """
**The front** adds {front:.0f} µs to the socket. In a loop it takes {front_alone:.0f} µs to read a whole message, to
find that there is no such model and to say so, wake-ups included: reading and routing are the small part. The rest is
its exchange with the worker, and that programs take turns on the cores, and each is slower after another than after
itself. A worker's layers take {in_a_loop:.0f} µs in a loop, and {after_the_front:.0f} µs when each time the front has
answered something else in between, though nothing was added to them. In loops of their own, front and worker take
{floor:.2f} times the bare call together.
"""

CALLERS = """
**Eight callers** share the cores with what answers them, and with h2load. The worker's socket alone gives {share:.1f}
times the rate of the handwritten server; so much could be had through a front that costs nothing.
"""

LARGE = """
**Large messages.** A Unix socket moves 10 MB in {unix_copy:.1f} ms. A worker answers in {socket:.1f} ms: the bytes are
received where they stay, copied once, into TensorFlow's memory, and summed up there ({bare:.1f} ms for the copy and the
run alone). From h2load, which sends them in pieces of 16 KiB, the same takes {socket_by_h2load:.1f} ms. Envoy cannot
choose the model before it has the whole message, and until then nothing goes to a worker: with h2load as its caller it
takes {front_alone:.1f} ms to have the message and to answer that there is no such model. That alone is {alone:.1f}
times what the Unix socket takes, where the bound allows {due:.1f} times for everything.
"""

Results = dict[str, Any]


def main() -> None:
    """Keeps the latest run, where there is one, and writes page and picture."""
    if LATEST.exists():
        shutil.copy(LATEST, KEPT)
    results: Results = json.loads(KEPT.read_text())
    PAGE.write_text(page(results))
    PICTURE.write_text(picture(results))


def page(results: Results) -> str:
    """The whole page."""
    picture_line = f"\n![{LABEL} by path]({PICTURE.name})"
    return "\n".join(["# Performance", paragraph(WHAT), picture_line, *tables(results), *explanation(results)]) + "\n"


def tables(results: Results) -> Iterator[str]:
    bare = results["one_caller_us"]["bare"]["p50"]
    yield from heading("One caller", "path", "p50 µs", "p99 µs", "× bare")
    for name, figure in results["one_caller_us"].items():
        yield row(PATHS[name], *latency(figure), f"{figure['p50'] / bare:.2f}" if figure else "—")
    yield "\n## One caller, a smaller model"
    yield paragraph(SMALLER)
    yield from table("path", "p50 µs", "p99 µs", "× bare")
    bare = results["smaller_model_us"]["bare"]["p50"]
    for name, figure in results["smaller_model_us"].items():
        yield row(PATHS[name], *latency(figure), f"{figure['p50'] / bare:.2f}")
    yield from heading("Eight callers", "path", "requests/s")
    for name, rate in results["eight_callers_rps"].items():
        yield row(PATHS[name], whole(rate))
    yield from heading("Eight callers at the front, by workers", "workers", "requests/s")
    for name, rate in results["workers_rps"].items():
        yield row(name, whole(rate))
    yield from heading("Ten megabytes in a request, a number back", "path", "p50 µs", "p99 µs")
    for name, figure in results["large_10mb_us"].items():
        yield row(PATHS[name], *latency(figure))
    yield from heading("Memory and starts", "what", "figure")
    memory, startup = results["memory_mib"], results["startup_s"]
    yield row("memory of the legacy container, model loaded", f"{memory['legacy']:.0f} MiB")
    yield row("memory of the hand-written server", f"{whole(memory['handwritten_py37'])} MiB")
    yield row("`stopgap serve` until the model answers, images there", f"{startup['serve']:.2f} s")
    yield row("a killed worker until the next answer", f"{startup['worker_replaced']:.3f} s")
    yield row("TensorFlow 1.15's library into a fresh process", f"{startup['bundle_load']:.3f} s")
    yield from heading("What is promised, and whether this run kept it", "what", "this run", "bound", "")
    for bound in bounds(results):
        figure = "—" if bound.figure is None else f"{bound.figure:.2f}"
        limit = f"{'≥' if bound.at_least else '≤'} {bound.bound:g}"
        yield row(bound.what, figure, limit, "kept" if bound.holds else "**missed**")


def explanation(results: Results) -> Iterator[str]:
    """What bounds what; every number out of the run."""
    us = {name: figure["p50"] for name, figure in results["one_caller_us"].items() if figure}
    layers = results["layers_us"]
    yield from heading("A worker's layers, in one process", "layer", "µs")
    for name, figure in layers.items():
        yield row(LAYERS[name], f"{figure:.1f}")
    yield "\n## What bounds it"
    yield paragraph(SOCKET, **us, **results["wakeups_us"], layers=sum(layers.values()), run=layers["run"])
    floor = (us["front_alone"] + us["socket"]) / us["bare"]
    yield paragraph(FRONT, **us, **results["turns_us"], front=us["front_grpc"] - us["socket"], floor=floor)
    rates = results["eight_callers_rps"]
    if rates["handwritten_py37"]:
        yield paragraph(CALLERS, share=rates["socket"] / rates["handwritten_py37"])
    ms = {name: figure["p50"] / 1000 for name, figure in results["large_10mb_us"].items()}
    yield paragraph(LARGE, **ms, alone=ms["front_alone"] / ms["unix_copy"], due=1 / SHARE_OF_A_COPY)


def paragraph(text: str, **figures: float) -> str:
    return "\n" + textwrap.fill(text.strip().format(**figures), 118, break_long_words=False, break_on_hyphens=False)


def heading(title: str, *columns: str) -> Iterable[str]:
    return ("", f"## {title}", *table(*columns))


def table(*columns: str) -> Iterable[str]:
    return ("", row(*columns), row(*("---" for _ in columns)))


def row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def latency(figure: dict[str, float] | None) -> tuple[str, str]:
    return (whole(figure["p50"]), whole(figure["p99"])) if figure else ("—", "—")


def whole(figure: float | None) -> str:
    return "—" if figure is None else f"{figure:,.0f}"


def picture(results: Results) -> str:
    """Bars for one caller's medians, readable on light and on dark."""
    figures = {name: figure["p50"] for name, figure in results["one_caller_us"].items() if figure}
    longest, height = max(figures.values()), 28
    bars = [
        f'<text x="250" y="{y + 17}" text-anchor="end">{PATHS[name].replace("`", "")}</text>'
        f'<rect x="260" y="{y + 4}" width="{380 * p50 / longest:.0f}" height="18" rx="2" fill="#3b82c4"/>'
        f'<text x="{268 + 380 * p50 / longest:.0f}" y="{y + 17}">{p50:.0f} µs</text>'
        for y, (name, p50) in zip(range(0, height * len(figures), height), figures.items())
    ]
    size = f'width="720" height="{height * len(figures)}"'
    style = "text { font: 12px sans-serif; fill: #444 } @media (prefers-color-scheme: dark) { text { fill: #ccc } }"
    opening = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="{LABEL} by path">'
    return "\n".join([opening, f"<style>{style}</style>", *bars, "</svg>", ""])


if __name__ == "__main__":
    main()
