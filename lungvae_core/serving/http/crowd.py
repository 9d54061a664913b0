"""Count the server's connections; when there are too many, close strangers' connections, oldest first.

A connection counts as a stranger's until the app vouches for it (`Crowd.vouch`): with a valid session if a
sign-in is required, otherwise with any request that the app accepts. Strangers' connections are limited per
address and in total. A periodic sweep closes connections that have waited too long for their client.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import struct
import time
from collections import OrderedDict, defaultdict
from typing import Protocol

from lungvae_core.errors import UserError
from lungvae_core.serving.workspace.access import ip_address

STRANGERS = 1_024  # strangers' connections in total
STRANGERS_EACH = 128  # from one address: a browser opens six, and many people may share an address
SWEEP_SECONDS = 1.0
PROXIES = "127.0.0.1,::1"  # whose X-Forwarded-For is trusted, unless LUNGVAE_PROXIES names others
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Connection(Protocol):
    """What `Crowd` needs from a connection."""

    transport: asyncio.Transport
    client: tuple[str, int] | None

    def overdue(self, now: float) -> bool:
        """Whether the connection has waited too long for its client, at `time.monotonic()`."""


class Crowd:
    """All open connections, and which of them belong to strangers, oldest first."""

    def __init__(self, most: int, *, proxies: str = PROXIES) -> None:
        self.most = most
        self._proxies = networks(proxies)
        self._all: set[Connection] = set()
        self._strangers: OrderedDict[Connection, str] = OrderedDict()  # with their addresses
        self._each: defaultdict[str, OrderedDict[Connection, None]] = defaultdict(OrderedDict)
        self._sweeping: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._all)

    def enter(self, connection: Connection) -> None:
        """Count a new connection; if there are too many, abort an older one."""
        self._all.add(connection)
        address = place(connection.client[0] if connection.client else "")
        self._strangers[connection] = address
        self._each[address][connection] = None
        if len(self._each[address]) > STRANGERS_EACH and not self._is_proxy(connection):
            self._end(next(iter(self._each[address])))
        elif len(self._strangers) > STRANGERS or len(self._all) > self.most:
            self._end(next(iter(self._strangers)))
        if self._sweeping is None:
            self._later()

    def leave(self, connection: Connection) -> None:
        """Remove a connection that has ended."""
        self._all.discard(connection)
        self.vouch(connection)

    def vouch(self, connection: Connection) -> None:
        """Mark the connection as not a stranger's."""
        address = self._strangers.pop(connection, None)
        if address is not None:
            self._each[address].pop(connection, None)
            if not self._each[address]:
                del self._each[address]

    def sweep(self) -> None:
        """Abort every connection that has waited too long for its client."""
        now = time.monotonic()
        for connection in [each for each in self._all if each.overdue(now)]:
            self._end(connection)
        self._sweeping = None
        if self._all:
            self._later()

    def _later(self) -> None:
        self._sweeping = asyncio.get_running_loop().call_later(SWEEP_SECONDS, self.sweep)

    def _end(self, connection: Connection) -> None:
        self.leave(connection)
        abort(connection.transport)

    def _is_proxy(self, connection: Connection) -> bool:
        try:
            address = ipaddress.ip_address(connection.client[0]) if connection.client else None
        except ValueError:
            return False
        return address is None or any(address in network for network in self._proxies)


def abort(transport: asyncio.Transport) -> None:
    """End a connection at once, so that the system buffers nothing for a client that does not read."""
    end = transport.get_extra_info("socket")
    if end is not None:
        with contextlib.suppress(OSError):  # it has already ended
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


def place(address: str) -> str:
    """The address to count by: for IPv6, the /64 network that one customer has."""
    parsed = ip_address(address)
    if parsed is None:
        return address[:64]
    return str(ipaddress.ip_network((parsed, 64), strict=False)) if parsed.version == 6 else str(parsed)


def networks(named: str) -> list[Network]:
    """Addresses and networks in the format of LUNGVAE_PROXIES; UserError for anything else."""
    parsed = []
    for part in filter(None, (part.strip() for part in named.split(","))):
        try:
            parsed.append(ipaddress.ip_network(part))
        except ValueError as error:
            raise UserError(
                f"LUNGVAE_PROXIES names {part!r}, which is neither an address nor a network (10.0.0.0/8)."
            ) from error
    return parsed
