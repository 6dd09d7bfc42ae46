"""Coupons: set up by operators, claimed by customers, used by orders."""

from datetime import datetime

from domain.access import Access
from domain.audit import Action, Entry, Noun, actor, changed
from domain.coupon import Coupon, CouponClaim, check_window
from domain.errors import CouponNotIssued, NotFound
from domain.event import JSON
from domain.money import check_currency
from service.call import Answer, Call
from service.desk import Desk
from store import audit, clock, coupon, customer, idempotency
from store.database import Transaction
from store.idempotency import StoredAnswer
from store.identifier import new_id
from store.page import Page, Place


async def put(desk: Desk, access: Access, wanted: Coupon) -> tuple[Coupon, bool]:
    """Make a coupon or change it; True when made. Orders made before keep their discount."""
    for currency in {**wanted.amounts, **wanted.minimum_order}:
        check_currency(currency)
    async with desk.database.begin(access.scope) as tx:
        known = await coupon.find(tx, wanted.code)
        made = await coupon.put(tx, wanted)
        what = Action.COUPON_CREATED if made else Action.COUPON_CHANGED
        before, after = changed({} if known is None else _terms(known), _terms(wanted))
        entry = Entry(actor(access), what, Noun.COUPON, wanted.code, before=before, after=after)
        await audit.append(tx, entry)
        return await _found(tx, wanted.code), made


def _terms(row: Coupon) -> dict[str, JSON]:
    return {
        "kind": row.kind,
        "basisPoints": row.basis_points,
        "amounts": dict(row.amounts),
        "minimumOrder": dict(row.minimum_order),
        "validFrom": row.valid_from.isoformat(),
        "validUntil": row.valid_until.isoformat(),
        "customerLimit": row.customer_limit,
        "totalLimit": row.total_limit,
        "issueLimit": row.issue_limit,
    }


async def get(desk: Desk, access: Access, code: str) -> Coupon:
    """A coupon with its counts; raises `NotFound`."""
    async with desk.database.read(access.scope) as tx:
        return await _found(tx, code)


async def listed(
    desk: Desk,
    access: Access,
    since: datetime | None,
    until: datetime | None,
    place: Place | None,
    limit: int,
) -> Page[Coupon]:
    """Those below a place, the one that was made last first."""
    async with desk.database.read(access.scope) as tx:
        return await coupon.listed(tx, since, until, place, limit)


async def claim(
    desk: Desk, call: Call, code: str, customer_id: str | None
) -> Answer[CouponClaim] | StoredAnswer:
    """Get one of the limited coupons, first come, first served."""
    owner = call.access.named(customer_id)
    async with desk.database.begin(call.access.scope) as tx:
        claimed = await idempotency.claim(tx, call.claim, new_id())
        if claimed.answer is not None:
            return claimed.answer
        if not claimed.repeated:
            await _issue(tx, code, claimed.resource_id, owner)
            who = actor(call.access)
            await audit.append(tx, Entry(who, Action.COUPON_CLAIMED, Noun.COUPON, code, owner))
        given = await coupon.claim(tx, claimed.resource_id)
    return Answer(claimed.resource_id, given, True, claimed.repeated)


async def _issue(tx: Transaction, code: str, claim_id: str, customer_id: str) -> None:
    if await customer.find(tx, customer_id) is None:
        raise NotFound(f"There is no customer {customer_id}.")
    issued = await coupon.issue(tx, code, claim_id, customer_id)
    if issued is None:
        raise await _why_not_issued(tx, code)
    check_window(issued, await clock.now(tx))
    limit = issued.customer_limit
    if limit is not None and await coupon.claims(tx, code, customer_id) > limit:
        raise CouponNotIssued(f"{customer_id} has claimed coupon {code} as often as one may.")


async def _why_not_issued(tx: Transaction, code: str) -> Exception:
    found = await coupon.find(tx, code)
    if found is None:
        return NotFound(f"There is no coupon {code}.")
    if found.issue_limit is None:
        return CouponNotIssued(f"Coupon {code} needs no claim: just name it in an order.")
    return CouponNotIssued(f"All coupons {code} are given out.")


async def _found(tx: Transaction, code: str) -> Coupon:
    row = await coupon.find(tx, code)
    if row is None:
        raise NotFound(f"There is no coupon {code}.")
    return row
