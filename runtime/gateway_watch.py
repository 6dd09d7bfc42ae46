"""What a worker does about its payment gateways: it says how they do, asks one that is down whether
it is back, and then lets everybody ask who waits for it."""

import asyncio
from collections.abc import Mapping
from itertools import cycle, islice

import structlog
from temporalio.client import Client

from domain.access import SYSTEM
from domain.gateway_health import HurryRequest
from gateway.guard import PROBES, GuardedGateway
from gateway.reports import EVERY_SECONDS, NotTold, Reports
from service.gateway import inquiries
from service.starts import start_gateway_hurry
from service.temporal import UNREACHABLE
from store.database import ERRORS, Database

LOOK_SECONDS = 1.0
"""How often it is looked whether a gateway is down: it costs nothing."""

log = structlog.get_logger()


async def report_for_ever(
    reports: Reports, worker: str, gateways: Mapping[str, GuardedGateway]
) -> None:
    """Say how every gateway does, until cancelled; while nobody takes it, say it again later."""
    heard = True
    while True:
        try:
            await reports.put(worker, {name: each.health() for name, each in gateways.items()})
            heard = True
        except NotTold as error:
            if heard:
                log.warning("nobody takes what is said of the gateways", error=error)
            heard = False
        await asyncio.sleep(EVERY_SECONDS)


async def mend_for_ever(
    client: Client, database: Database, gateway: GuardedGateway, look: float = LOOK_SECONDS
) -> None:
    """Whenever this gateway was down and is back, hurry those who wait for it; until cancelled."""
    while True:
        await asyncio.sleep(look)
        if not gateway.is_well:
            await _until_it_is_well(database, gateway, look)
            await _hurry(client, gateway, look)


async def _until_it_is_well(database: Database, gateway: GuardedGateway, look: float) -> None:
    """Those who wait ask more and more seldom, and there may be no new payments: then nobody would
    find out that it is back."""
    while not gateway.is_well:
        if gateway.retried_in == 0:
            try:
                await _try(database, gateway)
            except (*ERRORS, OSError) as error:
                log.warning("nobody knows who waits for a gateway that is down", error=error)
        await asyncio.sleep(look)


async def _hurry(client: Client, gateway: GuardedGateway, look: float) -> None:
    """Not before Temporal takes it: those who wait would not hear of it any more."""
    while True:
        try:
            return await start_gateway_hurry(client, HurryRequest(gateway.name))
        except UNREACHABLE as error:
            log.warning("those who wait for a gateway are not hurried yet", error=error)
            await asyncio.sleep(look)


async def _try(database: Database, gateway: GuardedGateway) -> None:
    """Ask about some who wait, until it is well or to be left alone again. What it says is for its
    breaker alone: who waits asks for itself."""
    async with database.read(SYSTEM) as tx:
        about = await inquiries(tx, gateway.name, PROBES)
    for request in islice(cycle(about), PROBES):
        await gateway.inquire(request)
        if gateway.is_well or gateway.retried_in > 0:
            return
