"""What every request handler may use."""

from dataclasses import dataclass
from typing import Annotated, cast

from fastapi import Depends, Request

from api.replay_cache import ReplayCache
from runtime.settings import Settings
from service.desk import Desk
from service.group_commit import GroupCommit


@dataclass(frozen=True)
class Context:
    """Made once per process, in the application's lifespan."""

    settings: Settings
    desk: Desk
    replays: ReplayCache
    usage: GroupCommit


async def _context(request: Request) -> Context:
    # Not a plain function: FastAPI would call that in another thread, for each request.
    return cast(Context, request.app.state.context)


Using = Annotated[Context, Depends(_context)]
