"""What a front is told: where it listens, how large a message may be, and which upstreams stand behind it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

from stopgap.errors import FrontError

__all__ = ["LEDGER_SOCKET", "SHARES", "FrontSettings", "Mirror", "Split", "Takeover", "Upstream"]

SHARES = 10_000
"""A share is so many of these: hundredths of a percent."""

LEDGER_SOCKET = "+ledger.sock"
"""Among the observers' sockets, which are called after models; no model's name has a + in it."""

# sun_path's 108 bytes, less the NUL that ends it.
_LONGEST_SOCKET_PATH = 107
# The largest message that gRPC's 32-bit lengths and HTTP/2's 31-bit windows can carry.
_LARGEST_MESSAGE_MIB = 2047
_WHOLE = 1_000_000
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Mirror:
    """A sample of a model's predictions that an observer is shown as well.

    Args:
        observer: The word for its kind: `shadow`, say. A model has one of each.
        per_million: How many of a million.
    """

    observer: str
    per_million: int

    def __post_init__(self) -> None:
        if not 0 <= self.per_million <= _WHOLE:
            raise FrontError(f"{self.per_million} of a million requests cannot be mirrored.", "Choose 0 to 100 %.")


@dataclass(frozen=True)
class Upstream:
    """One model behind the front.

    Args:
        name: The model's name: what callers write into `model_spec.name`.
        workers: How many sockets its sandbox has, `worker-0.sock` and so on.
        retried: Whether a request that lost its worker is asked again, once, in the retry lane. False for a model that
            changes state.
        deprecated_at: Since when it is served though it should not be needed, with its time zone: UTC's.
        sunset_at: When it must be gone, likewise.
        mirrors: What of its traffic is shown to its observers.
        observers: The words by which requests are known that observers ask.
        only_observed: Nobody else is meant to ask it: whether it is there says nothing of the front.
    """

    name: str
    workers: int
    retried: bool
    deprecated_at: datetime
    sunset_at: datetime
    mirrors: tuple[Mirror, ...] = ()
    observers: tuple[str, ...] = ()
    only_observed: bool = False

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise FrontError(
                f"The name {self.name!r} cannot be routed to.",
                "Use letters, digits, '.', '_' and '-', beginning with a letter or a digit.",
            )
        if self.workers < 1:
            raise FrontError(f"The model {self.name} has no worker.", "Give it at least one: --workers 1.")


@dataclass(frozen=True)
class Split:
    """Who of those that ask for a legacy model is answered by its candidate: always the same ones.

    Args:
        share: The candidate's, of `SHARES`.
        header: The request's header that tells who asks, in lower case.
        key: A regular expression (RE2) of the header's whole value, whose one group is what tells it. A request whose
            header does not match has no key, and goes to the legacy model.
        salt: Letters and digits; with another one others are chosen.
    """

    share: int
    header: str
    key: str
    salt: str

    def __post_init__(self) -> None:
        if not 0 < self.share < SHARES:
            raise FrontError(
                f"A share of {self.share} in {SHARES} is no split.", "Choose more than 0 % and less than all."
            )


@dataclass(frozen=True)
class Takeover:
    """A name that was one model's and is answered by another, to a part of its callers or to all.

    Args:
        name: What callers ask for.
        candidate: The model that answers, as it is itself called.
        legacy: Whether the model whose name it was still stands.
        version: The legacy model's: who asks for just this one is answered by it for as long as it stands.
        split: Who is answered by the candidate; None for all.
    """

    name: str
    candidate: str
    legacy: bool
    version: int
    split: Split | None = None

    @property
    def counted(self) -> str:
        """Under which its requests are counted: each split by itself."""
        return f"{self.name}/{self.split.salt}" if self.split else self.name


@dataclass(frozen=True)
class FrontSettings:
    """One front's own settings; paths are those that Envoy sees.

    Args:
        bind: The address to listen on.
        grpc_port: The port for gRPC; with 0 the kernel chooses one, which the admin page tells.
        rest_port: The port for REST, likewise.
        max_message_mib: The largest message in MiB, in either direction.
        xds_folder: Where Envoy reads its configuration.
        sandboxes_folder: Holds one folder a model, with a socket for each of its workers.
        observers_folder: Holds one socket for each observer.
        admin_folder: Where Envoy puts its admin socket.
    """

    bind: str = "127.0.0.1"
    grpc_port: int = 8500
    rest_port: int = 8501
    max_message_mib: int = 128
    xds_folder: str = "/etc/stopgap/xds"
    sandboxes_folder: str = "/run/stopgap/sandboxes"
    observers_folder: str = "/run/stopgap/observers"
    admin_folder: str = "/run/stopgap/admin"

    def __post_init__(self) -> None:
        for port in (self.grpc_port, self.rest_port):
            if not 0 <= port <= 65535:
                raise FrontError(f"{port} is not a port.", "Choose one from 1 to 65535.")
        if not 1 <= self.max_message_mib <= _LARGEST_MESSAGE_MIB:
            raise FrontError(
                f"A message of {self.max_message_mib} MiB cannot be sent.",
                f"gRPC carries 1 to {_LARGEST_MESSAGE_MIB} MiB: --max-message-mib.",
            )

    @property
    def max_message_bytes(self) -> int:
        """The largest message in bytes, without gRPC's five bytes of framing."""
        return self.max_message_mib * 2**20

    def worker_sockets(self, upstream: Upstream) -> tuple[str, ...]:
        """The upstream's socket paths, as Envoy sees them.

        Raises:
            FrontError: A path is longer than a Unix socket's may be.
        """
        return tuple(self._socket(upstream, f"worker-{worker}.sock") for worker in range(upstream.workers))

    def lane_socket(self, upstream: Upstream) -> str:
        """Likewise, where a request that lost its worker is asked again alone."""
        return self._socket(upstream, "lane.sock")

    def aside_socket(self, upstream: Upstream) -> str:
        """Likewise, where its observers' questions meet none of its users'."""
        return self._socket(upstream, "aside.sock")

    def observer_socket(self, upstream: Upstream, mirror: Mirror) -> str:
        """Likewise, where one of the upstream's observers listens."""
        return self._checked(f"{self.observers_folder}/{upstream.name}.{mirror.observer}.sock")

    def ledger_socket(self) -> str:
        """Likewise, where the front's ledger listens."""
        return self._checked(f"{self.observers_folder}/{LEDGER_SOCKET}")

    def _socket(self, upstream: Upstream, name: str) -> str:
        return self._checked(f"{self.sandboxes_folder}/{upstream.name}/{name}")

    @staticmethod
    def _checked(path: str) -> str:
        if len(path.encode()) > _LONGEST_SOCKET_PATH:
            raise FrontError(
                f"The socket path {path} is longer than {_LONGEST_SOCKET_PATH} bytes.",
                "Choose a shorter name for the model.",
            )
        return path
