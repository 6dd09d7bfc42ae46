"""What every request handler may use."""

from dataclasses import dataclass, replace
from typing import Annotated, cast

from fastapi import Depends, Request

from api.replay_cache import ReplayCache
from runtime.settings import Settings
from service.desk import Desk
from service.group_commit import GroupCommit
from service.overload import AdmittedDatabase, Turn


@dataclass(frozen=True)
class Context:
    """Made once per process, in the application's lifespan."""

    settings: Settings
    desk: Desk
    replays: ReplayCache
    usage: GroupCommit

    def during(self, turn: Turn) -> "Context":
        """The same for one request, which takes its turn when it first asks the database."""
        database = AdmittedDatabase(self.desk.database, turn)
        return replace(self, desk=replace(self.desk, database=database))


async def _context(request: Request) -> Context:
    # Not a plain function: FastAPI would call that in another thread, for each request.
    if request.method == "GET":
        return cast(Context, request.app.state.reading)
    return cast(Context, request.app.state.context).during(request.state.turn)


async def _replicated(request: Request) -> Context:
    return cast(Context, request.app.state.replicated)


async def _unbounded(request: Request) -> Context:
    return cast(Context, request.app.state.context)


async def _lengthy(request: Request) -> Context:
    return cast(Context, request.app.state.lengthy)


Using = Annotated[Context, Depends(_context)]
"""Within the bounds of `api.admission`, and with the connections that are kept for them."""
Replicated = Annotated[Context, Depends(_replicated)]
"""For lists and reports by which nothing is decided: they may be read from a replica, and then are
as old as `DATABASE_READ_LAG_SECONDS` allows."""
Unbounded = Annotated[Context, Depends(_unbounded)]
"""For whoever must be answered however much is under way."""
Lengthy = Annotated[Context, Depends(_lengthy)]
"""For what reads a whole month of somebody: few at a time, and each may take its time."""
