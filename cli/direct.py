"""`--direct`: the same requests to the same application, inside the command's own process.

For whoever has the keys of the house on a day when its door is broken: with the database of the
settings, as the user of this machine, and noted before anything else is done.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2

from api.app import create_app
from cli.refused import Refused
from cli.settings import os_user
from cli.system import known_settings
from cli.way import Way
from domain.access import at_the_machine
from runtime import logs
from runtime.version import VERSION
from service.audit import break_glass


@asynccontextmanager
async def inside(way: Way) -> AsyncIterator[httpx2.AsyncClient]:
    """The application, for the length of the block, behind an HTTP client."""
    settings = known_settings()
    if settings.billing_environment != "dev" and not (way.reason or "").strip():
        raise Refused(
            "Why past the API? Say it before the command: billing --direct --reason '...' …"
        )
    logs.configure("ERROR")
    who = at_the_machine(os_user())
    app = create_app(settings, insider=who)
    async with app.router.lifespan_context(app):
        await break_glass(app.state.context.desk.database, who, way.command, way.reason)
        transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
        async with httpx2.AsyncClient(
            transport=transport,
            base_url="http://direct",
            headers={"User-Agent": f"billing/{VERSION} --direct"},
        ) as http:
            yield http
