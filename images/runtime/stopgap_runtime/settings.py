"""The runtime's settings: read once from the command line, frozen from then on."""

import argparse
from dataclasses import dataclass
from pathlib import Path

__all__ = ["ServeSettings", "parse_serve"]


@dataclass(frozen=True)
class ServeSettings:
    """What `serve` was told.

    Attributes:
        threads: TensorFlow's intra-op and inter-op pools each get this many.
        load_timeout_s: A worker that has not loaded its model by then is ended.
        run_timeout_s: No run takes longer, whatever deadline the caller has.
        drain_timeout_s: After SIGTERM, requests under way get this long.
    """

    name: str
    model_version: int
    workers: int = 1
    threads: int = 1
    tags: frozenset[str] = frozenset({"serve"})
    load_timeout_s: float = 120.0
    run_timeout_s: float = 60.0
    drain_timeout_s: float = 20.0
    max_message_bytes: int = 128 << 20
    op_libraries: tuple[Path, ...] = ()
    bundle: Path = Path("/opt/stopgap/bundle")
    model: Path = Path("/model")
    sockets: Path = Path("/run/stopgap")

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
    parser.add_argument("--max-message-bytes", type=_positive, default=defaults.max_message_bytes)
    parser.add_argument("--op-library", dest="op_libraries", type=Path, action="append", default=[])
    parser.add_argument("--bundle", type=Path, default=defaults.bundle)
    parser.add_argument("--model", type=Path, default=defaults.model)
    parser.add_argument("--sockets", type=Path, default=defaults.sockets)
    given = vars(parser.parse_args(arguments))
    given["op_libraries"] = tuple(given["op_libraries"])
    return ServeSettings(**given)


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not at least 1")
    return value
