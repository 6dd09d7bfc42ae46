"""The payment gateways: how they do, what waits for them, and asking them earlier."""

import asyncio
from collections.abc import Sequence

from domain.access import SYSTEM, Access
from domain.audit import Action, Entry, Noun, actor
from domain.errors import NotFound
from domain.gateway import GatewayRequest
from domain.gateway_health import HurryRequest, Kind, Queue, Standing, Waiting, seen
from domain.waits import Waits
from service.desk import Desk
from service.starts import start_gateway_hurry
from service.temporal import UNREACHABLE, TemporalUnreachable
from store import audit, clock, payment, refund, waiting
from store.database import Transaction


async def standings(desk: Desk) -> list[Standing]:
    """Of every PG, in the order of their names."""
    return await _standings(desk, sorted(desk.gateways))


async def standing(desk: Desk, name: str) -> Standing:
    """How this PG does."""
    [found] = await _standings(desk, [name])
    return found


async def _standings(desk: Desk, names: Sequence[str]) -> list[Standing]:
    """The clock is read as soon as workers have said how long it has been so."""
    told = await desk.reports.all()
    async with desk.database.read(SYSTEM) as tx:
        now = await clock.now(tx)
        queues = await waiting.queues(tx)
    return [
        Standing(name, [seen(each, now) for each in told.get(name, ())], queues.get(name, Queue()))
        for name in names
    ]


async def hurry(desk: Desk, access: Access, name: str) -> Queue:
    """Have everybody who waits for this PG ask it now, so many a second; who that is. Raises
    `NotFound`, and `TemporalUnreachable` when nobody was told."""
    if name not in desk.gateways:
        raise NotFound(f"There is no gateway {name!r}.")
    async with desk.database.begin(access.scope) as tx:
        queue = (await waiting.queues(tx)).get(name, Queue())
        await audit.append(tx, Entry(actor(access), Action.GATEWAY_HURRIED, Noun.GATEWAY, name))
    try:
        async with asyncio.timeout(desk.wait_seconds):
            await start_gateway_hurry(desk.temporal, HurryRequest(name))
    except (TimeoutError, *UNREACHABLE) as error:
        raise TemporalUnreachable(str(error)) from error
    return queue


async def inquiries(tx: Transaction, name: str, limit: int) -> Sequence[GatewayRequest]:
    """What this PG could be asked without changing anything: about a few who wait for it."""
    return [await _inquiry(tx, each) for each in await waiting.some(tx, name, limit)]


async def _inquiry(tx: Transaction, about: Waiting) -> GatewayRequest:
    if about.kind is Kind.REFUND:
        given_back = await refund.find(tx, about.id)
        assert given_back is not None, "rows are not deleted"
        return refund.request(given_back, Waits()).gateway_refund()
    paid = await payment.find(tx, about.id)
    assert paid is not None, "rows are not deleted"
    request = payment.request(paid, Waits())
    return request.gateway_request(request.pivot)
