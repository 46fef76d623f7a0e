"""Ways out over a network, and to sockets that are not the sandbox's own."""

from __future__ import annotations

import errno
import socket
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final

from .attempt import NOT_THERE, SHUT, Attempt, ShutError, nothing_in

__all__ = ["NETWORK"]

_NOWHERE: Final = SHUT | {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}
_NO_SUCH_SOCKET: Final = SHUT | {errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT, errno.ESOCKTNOSUPPORT}
_AF_ALG, _AF_VSOCK = 38, 40
# Those of the C library and of a program that talks to its neighbours; netlink tells it which interfaces there are.
_COMMON_FAMILIES: Final = {socket.AF_UNIX, socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK, _AF_ALG, _AF_VSOCK}
_FAMILIES: Final = range(1, 46)
_BESIDE_LOOPBACK: Final = ("lo", "tunl", "gre", "gretap", "erspan", "sit", "ip6tnl", "ip6gre", "ip_vti", "ip6_vti")
_HOSTS_SOCKETS: Final = (
    *("/run/docker.sock", "/var/run/docker.sock", "/run/containerd/containerd.sock", "/run/podman/podman.sock"),
    *("/run/dbus/system_bus_socket", "/run/systemd/private"),
)


def _connect(address: tuple[str, int], family: int = socket.AF_INET) -> str:
    """Waits for no answer: where there is a way out, the first packet is on it."""
    with socket.socket(family, socket.SOCK_STREAM) as stream:
        stream.setblocking(False)
        with suppress(BlockingIOError):
            stream.connect(address)
    return "a packet left"


def _send(address: tuple[str, int]) -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stream:
        stream.sendto(b"stopgap", address)
    return "a packet left"


def _resolve(name: str) -> str:
    try:
        socket.getaddrinfo(name, 80)
    except socket.gaierror as error:
        if error.errno == socket.EAI_NONAME:
            return "a name server answered"
        raise ShutError("no name server") from error
    return "a name server answered"


def _interfaces() -> str:
    names = (name for _, name in socket.if_nameindex())
    return nothing_in(name for name in names if name.rstrip("0123456789") not in _BESIDE_LOOPBACK)


def _abstract_sockets() -> str:
    lines = Path("/proc/net/unix").read_text(encoding="utf-8", errors="replace").splitlines()
    return nothing_in(line.split()[-1] for line in lines if line.split()[-1].startswith("@"))


def _socket(family: int, kind: int = socket.SOCK_STREAM, protocol: int = 0) -> None:
    kernel_socket = socket.socket(family, kind, protocol)
    kernel_socket.close()


def _uncommon_sockets() -> str:
    made = []
    for family in _FAMILIES:
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET):
            with suppress(OSError):
                if family not in _COMMON_FAMILIES:
                    _socket(family, kind)
                    made.append(family)
    return nothing_in(dict.fromkeys(made))


def _dial(path: str | Path) -> None:
    with socket.socket(socket.AF_UNIX) as stream:
        stream.settimeout(1)
        stream.connect(str(path))


NETWORK: Final = (
    Attempt(
        "tcp",
        lambda _: {
            "an address of the internet": lambda: _connect(("192.0.2.1", 443)),
            "a cloud's metadata": lambda: _connect(("169.254.169.254", 80)),
            "the host, over Docker's bridge": lambda: _connect(("172.17.0.1", 22)),
            "IPv6": lambda: _connect(("2001:db8::1", 443), socket.AF_INET6),
        },
        _NOWHERE,
    ),
    Attempt("udp", lambda _: {"a datagram": lambda: _send(("192.0.2.1", 53))}, _NOWHERE),
    Attempt("dns", lambda _: {"a name": lambda: _resolve("stopgap.invalid")}),
    Attempt("interfaces", lambda _: {"interfaces": _interfaces}),
    Attempt("abstract_sockets", lambda _: {"sockets": _abstract_sockets}),
    Attempt("host_sockets", lambda _: {path: partial(_dial, path) for path in _HOSTS_SOCKETS}, NOT_THERE),
    Attempt("control_socket", lambda scene: {"connect": lambda: _dial(scene.sockets / "control.sock")}, NOT_THERE),
    Attempt(
        "raw_sockets",
        lambda _: {
            "raw": lambda: _socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP),
            "packet": lambda: _socket(socket.AF_PACKET, socket.SOCK_RAW),
        },
        _NO_SUCH_SOCKET,
    ),
    Attempt("sockets", lambda _: {"Unix": lambda: _socket(socket.AF_UNIX), "IP": lambda: _socket(socket.AF_INET)}),
    Attempt("vsock", lambda _: {"to the hypervisor": lambda: _socket(_AF_VSOCK)}, _NO_SUCH_SOCKET),
    Attempt(
        "uncommon_sockets",
        lambda _: {
            "the kernel's ciphers": lambda: _socket(_AF_ALG, socket.SOCK_SEQPACKET),
            "families": _uncommon_sockets,
        },
        _NO_SUCH_SOCKET,
    ),
)
