"""The desk of a process, put together as its settings say."""

from gateway.reports import Reports
from runtime import gateways, keys, temporal, terms
from runtime.settings import Settings
from service.desk import Desk
from store import database


async def connected(
    settings: Settings,
    *,
    pool_size: int,
    wait_seconds: float,
    statement_seconds: float = 10,
) -> Desk:
    """With connections that are made when first used."""
    return Desk(
        database=database.connect(settings.database_url, pool_size, statement_seconds),
        temporal=await temporal.connect_later(settings),
        terms=terms.of(settings),
        gateways={profile.name: profile for profile in gateways.profiles(settings)},
        reports=Reports(settings.redis_url),
        keys=keys.ring(settings),
        wait_seconds=wait_seconds,
    )
