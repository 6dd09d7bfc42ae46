"""The way into an application of ours: who calls is found out before anything else is read."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import httpx2
from fastapi import FastAPI

from api.access import ByHeaders, Door, Identify, of_development
from api.address import Networks
from api.tokens import Tokens
from runtime.issuer import Issuer


class Entrance:
    """By the tokens of issuers, where there are any; else as in development. `trusted`: the proxies
    that say from where a request comes."""

    def __init__(self, issuers: Sequence[Issuer], trusted: Networks) -> None:
        self._tokens = Tokens(issuers, httpx2.AsyncClient())
        self._trusted = trusted
        self.identify: ByHeaders = self._tokens.identify if issuers else of_development

    def guard(self, app: FastAPI, identify: Identify) -> None:
        """Put the door in front of what the application has so far."""
        app.add_middleware(Door, identify=identify, trusted=self._trusted)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """While the application runs. An issuer that is down does not hold it up."""
        asking = asyncio.create_task(self._tokens.start())
        yield
        asking.cancel()
        await self._tokens.close()
