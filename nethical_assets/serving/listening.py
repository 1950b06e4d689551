"""The address of the gateway: who may reach it, whether it is free, and a socket of it for every worker.

What belongs here: addresses and sockets. What does not: what is served on them.
"""

from __future__ import annotations

import ipaddress
import socket
from contextlib import suppress
from typing import Any

from nethical_assets.core.ground.errors import SettingsError

_Place = tuple[socket.AddressFamily, Any]


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches ``host``.

    Raises:
        SettingsError: there is no such address.
    """
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return all(ipaddress.ip_address(str(place[0]).partition("%")[0]).is_loopback for _, place in _places(host, 0))


def reserve(host: str, port: int) -> socket.socket:
    """Keep a free port for the workers as long as the socket is open, which itself takes no connection; port 0 takes
    any. Its number is that of the socket.

    Raises:
        SettingsError: the address is in use, or not one of this machine's.
    """
    try:
        # Sockets that share a port are shared with whoever else shares it: another gateway is found without.
        with _bound(host, port, shared=False) as probe:
            probe.listen(1)
            port = probe.getsockname()[1]
        # Without SO_REUSEADDR, or the probe of another gateway would succeed until the workers listen.
        return _bound(host, port, shared=True, reused=False)
    except OSError as error:
        raise SettingsError(
            f"cannot listen on {host}:{port} ({error.strerror}); choose another with --port, or 0 for a free one"
        ) from None


def listening_socket(host: str, port: int) -> socket.socket:
    """A socket of one worker: the kernel spreads connections over those of a port. It takes none before it listens.

    Raises:
        OSError: the address cannot be had.
    """
    bound = _bound(host, port, shared=True)
    bound.setblocking(False)
    bound.set_inheritable(False)
    return bound


def can_share() -> bool:
    """Whether several processes can listen on one port here."""
    return hasattr(socket, "SO_REUSEPORT")


def _bound(host: str, port: int, *, shared: bool, reused: bool = True) -> socket.socket:
    family, place = _places(host, port)[0]
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        if reused:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared and can_share():
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET:
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        made.bind(place)
    except OSError:
        made.close()
        raise
    return made


def _places(host: str, port: int) -> list[_Place]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError):
        raise SettingsError(f"there is no address {host!r} here; name one of this machine with --host") from None
    return [(family, place) for family, _, _, _, place in found]
