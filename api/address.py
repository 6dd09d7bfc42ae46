"""Where a request comes from: the one place that says which address its client has."""

import re
from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from starlette.datastructures import Headers
from starlette.types import Scope

Networks = tuple[IPv4Network | IPv6Network, ...]

_Address = IPv4Address | IPv6Address

_LONGEST = 60
_WITH_PORT = re.compile(r"^(?:(?P<four>[0-9.]+):[0-9]+|\[(?P<six>[^\]]+)\](?::[0-9]+)?)$")

UNKNOWN = "unknown"
"""Of a client that has no address, as over a Unix socket."""


def client_address(scope: Scope, trusted: Networks) -> str:
    """The address of whoever sent this.

    `X-Forwarded-For` is read from its right end, where our own proxies write, for as long as the
    hop that wrote an entry is trusted. What stands further left anybody could have sent.
    """
    client = scope.get("client")
    if client is None:
        return UNKNOWN
    forwarded = ",".join(Headers(scope=scope).getlist("x-forwarded-for"))
    return _behind(client[0], forwarded, trusted)


def _behind(peer: str, forwarded: str, trusted: Networks) -> str:
    here = _parsed(peer)
    if here is None:
        return peer
    for entry in reversed(forwarded.split(",")):
        before = _parsed(entry.strip())
        if before is None or not _within(here, trusted):
            break
        here = before
    return str(here)


def counted_as(address: str) -> str:
    """Whom an address is counted as: a household or a server has a whole /64 of IPv6."""
    parsed = _parsed(address)
    if isinstance(parsed, IPv6Address):
        return str(ip_network((parsed, 64), strict=False))
    return address


def _within(address: _Address, networks: Iterable[IPv4Network | IPv6Network]) -> bool:
    return any(address in network for network in networks)


def _parsed(entry: str) -> _Address | None:
    """An address as proxies write it, some of them with a port."""
    return _address(entry) if len(entry) <= _LONGEST else None


@lru_cache(4_096)
def _address(entry: str) -> _Address | None:
    bare = _WITH_PORT.sub(r"\g<four>\g<six>", entry)
    try:
        found = ip_address(bare)
    except ValueError:
        return None
    if isinstance(found, IPv6Address):
        # A zone names an interface of whoever wrote it.
        return found.ipv4_mapped or IPv6Address(int(found))
    return found
