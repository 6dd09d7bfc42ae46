"""What every call to our own issuer may use."""

from dataclasses import dataclass
from typing import Annotated, cast

from fastapi import Depends, Request

from api import source
from api.address import Networks, client_address
from api.ended import Ended
from auth.attempts import Attempts
from auth.devices import Devices
from auth.signing import Terms
from domain.access import Source
from service.password import Passwords
from service.realm import Realm


@dataclass(frozen=True)
class Context:
    """Made once per process. `clients`: the programs that people may log in with; `trusted`: the
    proxies that say from where they ask."""

    realm: Realm
    terms: Terms
    clients: frozenset[str]
    trusted: Networks
    passwords: Passwords
    attempts: Attempts
    ended: Ended
    devices: Devices


async def _context(request: Request) -> Context:
    return cast(Context, request.app.state.context)


async def source_of(request: Request) -> Source:
    """Where a request comes from."""
    trusted = cast(Context, request.app.state.context).trusted
    return source.of(request, client_address(request.scope, trusted))


Using = Annotated[Context, Depends(_context)]
From = Annotated[Source, Depends(source_of)]
