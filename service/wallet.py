"""Wallets: what is in them, and the postings that touched them."""

from domain.access import Access
from domain.audit import Noun
from domain.ledger import BookedPosting
from domain.wallet import Balance, Wanted
from service.audit import looked_through
from service.desk import Desk
from store import wallet
from store.page import Page, Place


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
    desk: Desk, access: Access, owner: str, place: Place | None, limit: int
) -> Page[BookedPosting]:
    """The postings below a place, newest first."""
    async with desk.database.read(access.scope) as tx:
        return await wallet.transactions(tx, owner, place, limit)
