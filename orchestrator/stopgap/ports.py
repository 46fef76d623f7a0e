"""Whether a port of this machine can be bound, and who has it if not."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import socket
from pathlib import Path

from stopgap.errors import FrontError
from stopgap.printable import printable
from stopgap.settings import Address

__all__ = ["check_ports_free", "free_ports"]

LISTENING = "0A"


def check_ports_free(address: Address) -> None:
    """
    Raises:
        FrontError: Somebody listens there already, or this machine has no such address.
    """
    for port, option in zip(address.ports, ("--port", "--rest-port")):
        check_port_free(address.bind, port, option)


def free_ports(count: int) -> tuple[int, ...]:
    """Ports of 127.0.0.1 that nobody has at this moment, all different."""
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return tuple(probe.getsockname()[1] for probe in probes)


def check_port_free(bind: str, port: int, option: str) -> None:
    family = socket.AF_INET6 if ipaddress.ip_address(bind).version == 6 else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections that just ended do not count
            probe.bind((bind, port))
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            owner = owner_of(port)
            raise FrontError(
                f"Port {port} is taken" + (f" by {owner}." if owner else "."),
                f"Choose another: {option} PORT",
            ) from error
        if error.errno == errno.EADDRNOTAVAIL:
            raise FrontError(
                f"This machine has no address {bind}.", "Bind one of its own (ip addr), or 127.0.0.1."
            ) from error
        raise FrontError(f"Port {port} cannot be bound: {error.strerror}.") from error


def owner_of(port: int, proc: Path = Path("/proc")) -> str:
    """The process that listens on `port`, as far as we may know; else an empty text. Linux alone tells."""
    sockets = {f"socket:[{inode}]" for inode in listening_inodes(port, proc)}
    if not sockets:
        return ""
    return next((named(process) for process in proc.glob("[0-9]*") if holds(process, sockets)), "")


def holds(process: Path, sockets: set[str]) -> bool:
    try:
        return any(str(descriptor.readlink()) in sockets for descriptor in (process / "fd").iterdir())
    except OSError:  # not ours to look at, or gone meanwhile
        return False


def named(process: Path) -> str:
    try:
        command = (process / "comm").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return f"process {process.name}"
    return f"{printable(command)} (process {process.name})"


def listening_inodes(port: int, proc: Path) -> set[str]:
    inodes = set()
    for table in ("tcp", "tcp6"):
        try:
            lines = (proc / "net" / table).read_text(encoding="ascii").splitlines()[1:]
        except OSError:
            continue
        for fields in map(str.split, lines):
            if fields[3] == LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                inodes.add(fields[9])
    return inodes
