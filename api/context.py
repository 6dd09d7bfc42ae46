"""What every request handler may use."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, cast

from fastapi import Depends, Request
from temporalio.client import Client

from api.group_commit import GroupCommit
from api.replay_cache import ReplayCache
from domain.terms import Terms
from gateway.client import GatewayProfile
from runtime.settings import Settings
from store.database import Database, reading


@dataclass(frozen=True)
class Context:
    """Made once per process, in the application's lifespan."""

    settings: Settings
    database: Database
    temporal: Client
    replays: ReplayCache
    usage: GroupCommit
    terms: Terms
    gateways: Mapping[str, GatewayProfile]

    @cached_property
    def reads(self) -> Database:
        """For whatever is only read."""
        return reading(self.database)


def _context(request: Request) -> Context:
    return cast(Context, request.app.state.context)


Using = Annotated[Context, Depends(_context)]
