"""Every limit that somebody may meet, its numbers taken from where the code has them."""

from __future__ import annotations

from dataclasses import dataclass

from stopgap.api.model import IN_FLIGHT
from stopgap.api.opening import Source
from stopgap.cli.predict import predict
from stopgap.client.channel import _LARGEST_MESSAGE_MIB as CLIENTS_MESSAGE_MIB
from stopgap.client.channel import _MOST_UNFOLDED_BYTES as CLIENTS_UNFOLDED_BYTES
from stopgap.client.channel import _MOST_UNFOLDED_FOR_A_BYTE as CLIENTS_UNFOLDING
from stopgap.client.retries import _PATIENCE_S as RETRY_S
from stopgap.client.tensors import _LARGEST_FILLED_BYTES as CLIENTS_FILLED_BYTES
from stopgap.client.tensors import _MOST_DIMENSIONS as CLIENTS_DIMENSIONS
from stopgap.containment.specs import front_memory_mib
from stopgap.front.clusters import _REQUESTS_WAITING as REQUESTS_WAITING
from stopgap.front.config import _CALLERS as CALLERS
from stopgap.front.config import _REFUSES_AT as REFUSES_AT
from stopgap.front.listener import ARRIVAL_S
from stopgap.overlay import LARGEST_BYTES as OVERLAY_BYTES
from stopgap.settings import (
    FIRST_UNPRIVILEGED_PORT,
    LARGEST_MESSAGE_MIB,
    LAST_PORT,
    LONGEST_TIMEOUT_S,
    MOST_WORKERS,
    SMALLEST_MEMORY_MIB,
    Address,
    Limits,
    ServeSettings,
    Timeouts,
)
from stopgap.sunset import DEFAULT_DAYS, FARTHEST_DAYS
from stopgap_runtime.back_off import _LONGEST_PAUSE_S as LONGEST_PAUSE_S
from stopgap_runtime.back_off import _MINUTE_S as DEATHS_WITHIN_S
from stopgap_runtime.back_off import _SHORTEST_PAUSE_S as SHORTEST_PAUSE_S
from stopgap_runtime.grpc_wire import _TEXT_LIMIT as TEXT_BYTES
from stopgap_runtime.incidents import _KEPT as INCIDENTS
from stopgap_runtime.json_document import _LARGEST_UNFOLDING as UNFOLDING
from stopgap_runtime.json_numbers import LARGEST_RANK as JSON_DIMENSIONS
from stopgap_runtime.quarantine import LASTS_S as QUARANTINE_S
from stopgap_runtime.quarantine import LIMIT as QUARANTINED
from stopgap_runtime.settings import ServeSettings as RuntimeSettings
from stopgap_runtime.tensors import _LARGEST_RANK as DIMENSIONS
from stopgap_runtime.tensors import LARGEST_BYTES
from stopgap_runtime.worker_log import _BURST_LINES as BURST_LINES
from stopgap_runtime.worker_log import _LINES_PER_S as LINES_PER_S

__all__ = ["FIXED", "OF_A_DEPLOYMENT", "OF_A_REQUEST", "Fixed", "Limit"]

GIB = 1 << 30
AGAIN_LATER = "RESOURCE_EXHAUSTED, over REST 429, with when to ask again (`grpc-retry-pushback-ms`, `retry-after`)"
PREDICT_TIMEOUT_S = next(each.default for each in predict.params if each.name == "timeout_s")
SECONDS = f"1 to {LONGEST_TIMEOUT_S} s"


@dataclass(frozen=True)
class Limit:
    """One that can be chosen somewhere.

    Attributes:
        span: What it can be.
        option: How the command line says it; empty where it cannot.
        argument: How Python says it; empty where it cannot.
    """

    what: str
    default: str
    span: str
    option: str
    argument: str


@dataclass(frozen=True)
class Fixed:
    """One that nobody can change.

    Attributes:
        beyond: What becomes of what goes beyond it.
    """

    what: str
    limit: str
    beyond: str


OF_A_DEPLOYMENT = (
    Limit(
        "memory of a sandbox",
        f"{Limits.memory_mib} MiB",
        f"at least {SMALLEST_MEMORY_MIB} MiB, at most what there is",
        "--memory MIB",
        "memory_mib",
    ),
    Limit("processors of a sandbox", f"{Limits.cpus:g}", "at least 0.1, at most what there is", "--cpus", ""),
    Limit(
        "workers, each with a copy of the model",
        f"{Limits.workers}",
        f"1 to {MOST_WORKERS}; 1 where the model changes state",
        "--workers N",
        "workers",
    ),
    Limit("`/tmp` of a sandbox", f"{Limits.tmp_mib} MiB, part of its memory", "fixed", "", ""),
    Limit(
        "a message, in or out",
        f"{ServeSettings.max_message_mib} MiB",
        f"1 to {LARGEST_MESSAGE_MIB} MiB",
        "--max-message-mib",
        "",
    ),
    Limit("loading the model", f"{Timeouts.load_s} s", SECONDS, "--load-timeout", ""),
    Limit("one run of the model", f"{Timeouts.run_s} s", SECONDS, "--run-timeout", ""),
    Limit("requests under way when it is stopped", f"{Timeouts.drain_s} s to finish", "fixed", "", ""),
    Limit(
        "its sunset, which is [the model's](sunset.md)",
        f"{DEFAULT_DAYS} days from when it was first served",
        f"a day that has not passed; later than at first, or more than {FARTHEST_DAYS} days away, with a reason",
        "--until DATE, --reason TEXT",
        "",
    ),
    Limit("its name", "", "up to 40 of a-z, 0-9, `.`, `_`, `-`", "--name", ""),
    Limit(
        "its ports",
        f"{Address.grpc_port} and the next; free ones for `load`",
        f"{FIRST_UNPRIVILEGED_PORT} to {LAST_PORT}",
        "--port, --rest-port",
        "",
    ),
    Limit("a file of signatures", "", f"up to {OVERLAY_BYTES >> 10} KiB", "--signatures FILE", "signatures"),
)

OF_A_REQUEST = (
    Limit(
        "its deadline",
        f"{PREDICT_TIMEOUT_S:g} s for `stopgap predict`, {Source.timeout_s:g} s for a loaded model",
        f"more than 0, up to {LONGEST_TIMEOUT_S} s; None for `load` waits for ever, for a request as the model",
        "--timeout S",
        "timeout_s",
    ),
    Limit("rows in one request of `predict`", "all", "at least 1", "", "batch_size"),
    Limit("requests of one `predict` under way at once", f"{IN_FLIGHT}", "at least 1", "", "in_flight"),
)

FIXED = (
    Fixed(
        "asking again while nobody is there",
        f"{RETRY_S:g} s, within the deadline",
        "UNAVAILABLE. A signature that may change state is asked once",
    ),
    Fixed("an answer that our client takes", f"{CLIENTS_MESSAGE_MIB} MiB", "RESOURCE_EXHAUSTED"),
    Fixed(
        "what our client takes an answer for beyond its bytes",
        f"{CLIENTS_FILLED_BYTES >> 20} MiB for values that it leaves out, and {CLIENTS_UNFOLDING} bytes for each of "
        f"its own and {CLIENTS_UNFOLDED_BYTES >> 20} MiB when it is read",
        "INTERNAL",
    ),
    Fixed("a tensor, written out in full", f"{(LARGEST_BYTES + 1) // GIB} GiB less a byte", "RESOURCE_EXHAUSTED"),
    Fixed(
        "a tensor's dimensions",
        f"{DIMENSIONS} over gRPC, {JSON_DIMENSIONS} over REST, {CLIENTS_DIMENSIONS} in our client",
        "INVALID_ARGUMENT",
    ),
    Fixed("what a request takes when it is read", f"{UNFOLDING} times `--max-message-mib`", "RESOURCE_EXHAUSTED"),
    Fixed(
        "how long a request may take to arrive",
        f"{ARRIVAL_S} s, and 1 s more for each MiB of `--max-message-mib`",
        "DEADLINE_EXCEEDED; over REST 408",
    ),
    Fixed("requests that wait for one model", f"{REQUESTS_WAITING}", AGAIN_LATER),
    Fixed(
        "what one front holds of requests and answers",
        f"{REFUSES_AT:.0%} of its memory, which is {front_memory_mib(0)} MiB and "
        f"{front_memory_mib(1) - front_memory_mib(0)} times `--max-message-mib`",
        f"{AGAIN_LATER}; what is under way already may be reset",
    ),
    Fixed("connections from callers to one front", f"{CALLERS}", "the connection is closed"),
    Fixed("the text of an error over gRPC", f"{TEXT_BYTES} bytes", "it is cut"),
    Fixed(
        "requests in quarantine, each of which ended a worker alone",
        f"{QUARANTINED}, for {QUARANTINE_S / 3600:g} h each",
        "the newest takes the oldest one's place. Such a request is INVALID_ARGUMENT, over REST 400, until that time "
        "is over or `stopgap incidents NAME --release` lets it in",
    ),
    Fixed(
        "deaths of a model's workers",
        f"{RuntimeSettings.most_deaths_a_minute} within {DEATHS_WITHIN_S:g} s",
        f"it is not run for {SHORTEST_PAUSE_S:g} s, for twice as long with each further death within "
        f"{DEATHS_WITHIN_S:g} s of that, for {LONGEST_PAUSE_S:g} s at most: UNAVAILABLE, over REST 503, with "
        "`retry-after`. `stopgap status` says for how long",
    ),
    Fixed("incidents that a sandbox tells of", f"the newest {INCIDENTS}", "older ones are counted, and in its log"),
    Fixed(
        "what a model prints",
        f"{LINES_PER_S:g} lines a second, {BURST_LINES:g} at once",
        "the log says how many lines are left out",
    ),
)
