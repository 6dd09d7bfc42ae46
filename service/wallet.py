"""Wallets: what is in them, and the postings that touched them."""

from collections.abc import Sequence

from domain.access import Access
from domain.audit import Noun
from domain.ledger import BookedPosting
from domain.wallet import Balance, Wanted
from service.audit import looked_through
from service.desk import Desk
from service.page import Descent
from store import wallet
from store.page import Page, Place
from store.seen import seen


async def balances(desk: Desk, access: Access, owner: str) -> list[Balance]:
    """What the wallet of a customer holds, per currency and in points."""
    async with desk.database.read(access.scope) as tx:
        return await wallet.balances(tx, owner)


async def listed(
    desk: Desk, access: Access, wanted: Wanted, place: Place | None, limit: int
) -> Page[Balance]:
    """Those below a place, the wallet that was made last first, each as it stands now."""
    async with desk.database.read(access.scope) as tx:
        found = await wallet.listed(tx, wanted, place, limit)
    await looked_through(desk, access, Noun.WALLET, wanted.customer_id)
    return found


async def transactions(
    desk: Desk, access: Access, owner: str, place: Descent | None, limit: int
) -> tuple[list[BookedPosting], Descent | None]:
    """The postings below a place, with what came late above it, and the place below them; None at
    the end."""
    late: Sequence[BookedPosting] = ()
    async with desk.database.read(access.scope) as tx:
        if place is None:
            rows = await wallet.transactions(tx, owner, None, limit)
        else:
            late = await wallet.came_late(tx, owner, place.newest, place.last, place.seen)
            rows = await wallet.transactions(tx, owner, place.last, limit)
        if len(rows) < limit:
            return [*late, *rows], None
        newest = rows[0].id if place is None else place.newest
        return [*late, *rows], Descent(newest, rows[-1].id, await seen(tx))
