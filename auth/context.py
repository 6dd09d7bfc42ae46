"""What every call to our own issuer may use."""

from dataclasses import dataclass
from typing import Annotated, cast

from fastapi import Depends, Request

from api import source
from auth.attempts import Attempts
from auth.ended import Ended
from auth.signing import Terms
from domain.access import Source
from service.password import Passwords
from service.realm import Realm


@dataclass(frozen=True)
class Context:
    """Made once per process. `clients`: the programs that people may log in with."""

    realm: Realm
    terms: Terms
    clients: frozenset[str]
    passwords: Passwords
    attempts: Attempts
    ended: Ended


async def _context(request: Request) -> Context:
    return cast(Context, request.app.state.context)


async def _source(request: Request) -> Source:
    return source.of(request)


Using = Annotated[Context, Depends(_context)]
From = Annotated[Source, Depends(_source)]
