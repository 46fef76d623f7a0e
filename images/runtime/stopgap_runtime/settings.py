"""The runtime's settings: read once from the command line, frozen from then on."""

from __future__ import annotations

import argparse
import fcntl
import os
from dataclasses import dataclass
from pathlib import Path

from .given_signatures import GivenSignature, parse_given
from .listener import is_listening

__all__ = ["ServeSettings", "parse_serve", "without_descriptors"]


@dataclass(frozen=True)
class ServeSettings:
    """What `serve` was told.

    Attributes:
        also_called: Further names that the model answers to: those of models whose place it takes.
        threads: TensorFlow's intra-op and inter-op pools each get this many.
        load_timeout_s: A worker that has not loaded its model by then is ended.
        run_timeout_s: No run takes longer, whatever deadline the caller has.
        drain_timeout_s: After SIGTERM, requests under way get this long.
        silence_timeout_s: A worker that has shown no sign of life for so long is ended.
        worker_memory_bytes: What a worker may have beyond what it starts with; 0 for as much as there is.
        most_deaths_a_minute: When so many workers have died within a minute the model is not run for a while.
        given_signatures: Signatures beside those of the model's file, or in their place.
        tensors_allowed: Whether a request may name the graph's own tensors instead of a signature.
        requests_kept: Whether the request that has ended a worker alone may be looked at.
        exhaust: What an audit may use up here, by the attempts' names, since nobody is served by this sandbox.
        memory_bytes, tmp_bytes, tasks, open_files: What this sandbox has of each, where that may be used up.
        listen_fds: Listening sockets that were handed in: one for each worker, then the retry lane's, the one for
            observers and the parent's own; where there are none, each is bound in `sockets`.
        ready_fd: Where to announce that all workers have loaded; None for the file `ready.json` in `sockets`.
    """

    name: str
    model_version: int
    workers: int = 1
    threads: int = 1
    tags: frozenset[str] = frozenset({"serve"})
    load_timeout_s: float = 120.0
    run_timeout_s: float = 60.0
    drain_timeout_s: float = 20.0
    silence_timeout_s: float = 60.0
    most_deaths_a_minute: int = 60
    max_message_bytes: int = 128 << 20
    worker_memory_bytes: int = 0
    op_libraries: tuple[Path, ...] = ()
    given_signatures: tuple[GivenSignature, ...] = ()
    also_called: tuple[str, ...] = ()
    tensors_allowed: bool = False
    requests_kept: bool = False
    exhaust: frozenset[str] = frozenset()
    memory_bytes: int = 0
    tmp_bytes: int = 0
    tasks: int = 0
    open_files: int = 0
    bundle: Path = Path("/opt/stopgap/bundle")
    model: Path = Path("/model")
    sockets: Path = Path("/run/stopgap")
    listen_fds: tuple[int, ...] = ()
    ready_fd: int | None = None

    @property
    def connections(self) -> int:
        """The connections that one worker serves at once.

        The front opens at most 64 for each worker of a model, and all may land on one; health checks have their own.
        """
        return 64 * self.workers + 16


def parse_serve(parser: argparse.ArgumentParser, arguments: list[str]) -> ServeSettings:
    """Reads `serve`'s arguments; wrong ones end the process with argparse's message and exit code 2."""
    defaults = ServeSettings(name="", model_version=1)
    parser.add_argument("--name", required=True)
    parser.add_argument("--model-version", type=int, required=True)
    parser.add_argument("--workers", type=_positive, default=defaults.workers)
    parser.add_argument("--threads", type=_positive, default=defaults.threads)
    parser.add_argument("--tags", type=lambda text: frozenset(filter(None, text.split(","))), default=defaults.tags)
    parser.add_argument("--load-timeout", dest="load_timeout_s", type=float, default=defaults.load_timeout_s)
    parser.add_argument("--run-timeout", dest="run_timeout_s", type=float, default=defaults.run_timeout_s)
    parser.add_argument("--drain-timeout", dest="drain_timeout_s", type=float, default=defaults.drain_timeout_s)
    parser.add_argument("--silence-timeout", dest="silence_timeout_s", type=float, default=defaults.silence_timeout_s)
    parser.add_argument("--most-deaths-a-minute", type=_positive, default=defaults.most_deaths_a_minute)
    parser.add_argument("--max-message-bytes", type=_positive, default=defaults.max_message_bytes)
    parser.add_argument("--worker-memory-bytes", type=_positive, default=defaults.worker_memory_bytes)
    parser.add_argument("--op-library", dest="op_libraries", type=Path, action="append", default=[])
    parser.add_argument("--signatures", dest="given_signatures", type=parse_given, default=defaults.given_signatures)
    parser.add_argument("--also-called", action="append", default=[])
    parser.add_argument("--allow-tensors", dest="tensors_allowed", action="store_true")
    parser.add_argument("--keep-requests", dest="requests_kept", action="store_true")
    parser.add_argument("--exhaust", type=lambda text: frozenset(text.split(",")), default=defaults.exhaust)
    parser.add_argument("--memory-bytes", type=_positive, default=defaults.memory_bytes)
    parser.add_argument("--tmp-bytes", type=_positive, default=defaults.tmp_bytes)
    parser.add_argument("--tasks", type=_positive, default=defaults.tasks)
    parser.add_argument("--open-files", type=_positive, default=defaults.open_files)
    parser.add_argument("--bundle", type=Path, default=defaults.bundle)
    parser.add_argument("--model", type=Path, default=defaults.model)
    parser.add_argument("--sockets", type=Path, default=defaults.sockets)
    parser.add_argument("--listen-fds", type=_listening, default=defaults.listen_fds)
    parser.add_argument("--ready-fd", type=_writable, default=defaults.ready_fd)
    given = vars(parser.parse_args(arguments))
    given["op_libraries"] = tuple(given["op_libraries"])
    given["also_called"] = tuple(given["also_called"])
    settings = ServeSettings(**given)
    needed = settings.workers + 3
    if settings.listen_fds and len(settings.listen_fds) < needed:
        parser.error(
            f"--listen-fds hands in {len(settings.listen_fds)} of the {needed} listening sockets that are needed: one "
            "for each worker, last the retry lane's, the one for observers and the parent's own"
        )
    return settings


def without_descriptors(arguments: list[str]) -> list[str]:
    """The arguments for a process that has none of the descriptors which they hand in."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for option in ("--listen-fds", "--ready-fd"):
        parser.add_argument(option)
    return parser.parse_known_args(arguments)[1]


def _listening(text: str) -> tuple[int, ...]:
    """`5,6`: what was handed in is looked at before anything is loaded."""
    descriptors = tuple(int(number) for number in text.split(","))
    if len(set(descriptors)) < len(descriptors):
        raise argparse.ArgumentTypeError(f"{text} names a descriptor twice")
    for descriptor in descriptors:
        if not is_listening(descriptor):
            raise argparse.ArgumentTypeError(f"descriptor {descriptor} is not a listening Unix socket")
    return descriptors


def _writable(text: str) -> int:
    descriptor = int(text)
    try:
        mode = fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE
    except OSError as error:
        raise argparse.ArgumentTypeError(f"descriptor {descriptor} is not open") from error
    if mode == os.O_RDONLY:
        raise argparse.ArgumentTypeError(f"descriptor {descriptor} cannot be written to")
    return descriptor


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not at least 1")
    return value
