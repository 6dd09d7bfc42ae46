"""Saying nothing: answers that are never sent, on connections that break or stay open."""

import asyncio

from fastapi import Response
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class BreakableConnection(HttpToolsProtocol):
    """HTTP whose application may break the connection: ASGI has no word for that."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["state"]["transport"] = self.transport


class Silence(Response):
    """No answer: the connection breaks at once or, if `held`, when the caller gives up.

    A held connection breaks also when `hang_up` is set, so that nobody delays the program's end.
    """

    def __init__(self, held: bool, hang_up: asyncio.Event) -> None:
        super().__init__()
        self.held = held
        self.hang_up = hang_up

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        gone = asyncio.create_task(_disconnected(receive))
        if self.held:
            cut_off = asyncio.create_task(self.hang_up.wait())
            await asyncio.wait((gone, cut_off), return_when=asyncio.FIRST_COMPLETED)
            cut_off.cancel()
        scope["state"]["transport"].abort()
        # Without this the server would see an application that forgot to answer, and send a 500.
        await gone


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
