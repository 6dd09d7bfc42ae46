"""Coupons, the claims of first-come ones, and their uses by payments."""

from datetime import datetime
from typing import Any

from sqlalchemy import Row, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert

from domain.coupon import Coupon, CouponClaim, CouponKind, CouponUseState
from domain.errors import HoldReleased
from store.change import Change
from store.database import Transaction
from store.page import Order, Page, Place, page, within
from store.tables import coupon_claims, coupon_uses, coupons

_LIVE = coupon_uses.c.state.in_([CouponUseState.IN_USE, CouponUseState.USED])

_USE = """
seen_coupon AS MATERIALIZED (
    SELECT code, xmin AS version FROM coupons
    WHERE code = :coupon_code
      AND (customer_limit IS NULL OR customer_limit > (
        SELECT count(*) FROM coupon_uses
        WHERE code = :coupon_code AND customer_id = :customer_id AND state IN ('IN_USE', 'USED')
      ))
      AND (issue_limit IS NULL OR (
        SELECT count(*) FROM coupon_claims
        WHERE code = :coupon_code AND customer_id = :customer_id
      ) > (
        SELECT count(*) FROM coupon_uses
        WHERE code = :coupon_code AND customer_id = :customer_id AND state IN ('IN_USE', 'USED')
      ))
), taken_place AS (
    UPDATE coupons SET used = used + 1 FROM seen_coupon
    WHERE coupons.code = seen_coupon.code
      AND clock_timestamp() >= valid_from AND clock_timestamp() < valid_until
      AND (total_limit IS NULL OR used < total_limit)
      AND (customer_limit IS NULL AND issue_limit IS NULL OR coupons.xmin = seen_coupon.version)
    RETURNING coupons.code
), begun_use AS (
    INSERT INTO coupon_uses (payment_id, code, customer_id, state)
    SELECT CAST(:payment_id AS uuid), code, :customer_id, 'IN_USE' FROM taken_place
    RETURNING payment_id
)"""
"""What a customer may was counted as the statement began. Whoever used or claimed the coupon since
then has changed its row, and then its version is another one: it must be counted again."""
_LOCK_USE = """
locked_use AS (
    SELECT payment_id FROM coupon_uses
    WHERE payment_id = CAST(:payment_id AS uuid) AND state = 'IN_USE' FOR UPDATE
)"""
_USED = """
used_coupon AS (
    UPDATE coupon_uses SET state = 'USED'
    WHERE payment_id = CAST(:payment_id AS uuid) AND state = 'IN_USE'
    RETURNING payment_id
)"""


async def put(tx: Transaction, coupon: Coupon) -> bool:
    """Make or change a coupon; True when made. What was issued or used stays counted."""
    values = {
        "kind": coupon.kind,
        "basis_points": coupon.basis_points,
        "amounts": dict(coupon.amounts),
        "minimum_order": dict(coupon.minimum_order),
        "valid_from": coupon.valid_from,
        "valid_until": coupon.valid_until,
        "customer_limit": coupon.customer_limit,
        "total_limit": coupon.total_limit,
        "issue_limit": coupon.issue_limit,
    }
    made = await tx.execute(
        insert(coupons).values(code=coupon.code, **values).on_conflict_do_nothing()
    )
    if made.rowcount == 1:
        return True
    changed = update(coupons).where(coupons.c.code == coupon.code)
    await tx.execute(changed.values(**values, updated_at=func.now()))
    return False


async def find(tx: Transaction, code: str) -> Coupon | None:
    row = (await tx.execute(select(coupons).where(coupons.c.code == code))).first()
    return None if row is None else _coupon(row)


async def listed(
    tx: Transaction,
    since: datetime | None,
    until: datetime | None,
    place: Place | None,
    limit: int,
) -> Page[Coupon]:
    """The one that was made last first, below a place."""
    columns = coupons.c
    query = select(coupons).where(*within(columns.created_at, since, until))
    order = Order((columns.created_at, columns.code), columns.created_xid)
    return await page(tx, query, order, place, limit, _coupon)


async def issue(tx: Transaction, code: str, claim_id: str, customer_id: str) -> Coupon | None:
    """Give one of the limited coupons to a customer; None when all are given out.

    One conditional update counts: a thousand at once get exactly as many as there are. The coupon's
    row stays locked to the commit, so the customer's own limit can be checked after it.
    """
    counted = await tx.execute(
        update(coupons)
        .where(coupons.c.code == code, coupons.c.issued < coupons.c.issue_limit)
        .values(issued=coupons.c.issued + 1)
        .returning(coupons)
    )
    found = counted.first()
    if found is None:
        return None
    await tx.execute(insert(coupon_claims).values(id=claim_id, code=code, customer_id=customer_id))
    return _coupon(found)


async def claims(tx: Transaction, code: str, customer_id: str) -> int:
    """How many of the coupon this customer has claimed."""
    query = select(func.count()).where(
        coupon_claims.c.code == code, coupon_claims.c.customer_id == customer_id
    )
    return (await tx.execute(query)).scalar_one()


async def claim(tx: Transaction, claim_id: str) -> CouponClaim:
    row = (await tx.execute(select(coupon_claims).where(coupon_claims.c.id == claim_id))).one()
    return CouponClaim(row.id, row.code, row.customer_id, row.created_at)


async def live_uses(tx: Transaction, code: str, customer_id: str) -> int:
    """How many uses of this customer are in progress or done."""
    query = select(func.count()).where(
        coupon_uses.c.code == code, coupon_uses.c.customer_id == customer_id, _LIVE
    )
    return (await tx.execute(query)).scalar_one()


async def use_state(tx: Transaction, payment_id: str) -> CouponUseState | None:
    query = select(coupon_uses.c.state).where(coupon_uses.c.payment_id == payment_id)
    state = (await tx.execute(query)).scalar()
    return None if state is None else CouponUseState(state)


async def lock_use(tx: Transaction, payment_id: str) -> CouponUseState | None:
    """The same, locked to the commit."""
    query = select(coupon_uses.c.state).where(coupon_uses.c.payment_id == payment_id)
    state = (await tx.execute(query.with_for_update())).scalar()
    return None if state is None else CouponUseState(state)


def locking_use(payment_id: str) -> Change:
    """That it is in use, as a part of a statement."""
    return Change("locked_use", _LOCK_USE, 1, {"payment_id": payment_id})


async def take_place(tx: Transaction, code: str) -> Coupon | None:
    """Count one more use, if the total limit has a place; None when it has not.

    Locks the coupon's row to the commit: the uses of one customer are counted after it.
    """
    counted = await tx.execute(
        update(coupons)
        .where(
            coupons.c.code == code,
            or_(coupons.c.total_limit.is_(None), coupons.c.used < coupons.c.total_limit),
        )
        .values(used=coupons.c.used + 1)
        .returning(coupons)
    )
    found = counted.first()
    return None if found is None else _coupon(found)


async def begin_use(tx: Transaction, payment_id: str, code: str, customer_id: str) -> None:
    """Note whose use it is; a second one of the same payment raises `IntegrityError`."""
    await tx.execute(
        insert(coupon_uses).values(
            payment_id=payment_id,
            code=code,
            customer_id=customer_id,
            state=CouponUseState.IN_USE,
        )
    )


def using(payment_id: str, code: str, customer_id: str) -> Change:
    """The place and whose it is, as a part of a statement, where the coupon may be used now."""
    values = {"payment_id": payment_id, "coupon_code": code, "customer_id": customer_id}
    return Change("begun_use", _USE, 1, values)


async def restore(tx: Transaction, payment_id: str, code: str, customer_id: str) -> bool:
    """Give a use back; True when there was one. Without one a tombstone is left.

    Locks the coupon's row before the use, as `take_place` and `begin_use` do: no deadlock.
    """
    await tx.execute(select(coupons.c.code).where(coupons.c.code == code).with_for_update())
    tombstone = insert(coupon_uses).values(
        payment_id=payment_id,
        code=code,
        customer_id=customer_id,
        state=CouponUseState.RESTORED,
    )
    await tx.execute(tombstone.on_conflict_do_nothing())
    if not await _end_use(tx, payment_id, CouponUseState.RESTORED):
        return False
    await tx.execute(update(coupons).where(coupons.c.code == code).values(used=coupons.c.used - 1))
    return True


async def commit_use(tx: Transaction, payment_id: str) -> None:
    """The order is paid: the coupon is used up. Raises `HoldReleased` where an earlier run gave it
    back."""
    if not await _end_use(tx, payment_id, CouponUseState.USED):
        if await use_state(tx, payment_id) is CouponUseState.RESTORED:
            raise HoldReleased("An earlier run of this payment gave its coupon back.")
        raise RuntimeError(f"payment {payment_id} completes without its coupon")


def committing_use(payment_id: str) -> Change:
    """The same as a part of a statement."""
    return Change("used_coupon", _USED, 1, {"payment_id": payment_id})


async def _end_use(tx: Transaction, payment_id: str, state: CouponUseState) -> bool:
    ended = await tx.execute(
        update(coupon_uses)
        .where(
            coupon_uses.c.payment_id == payment_id,
            coupon_uses.c.state == CouponUseState.IN_USE,
        )
        .values(state=state)
    )
    return ended.rowcount == 1


def _coupon(row: Row[Any]) -> Coupon:
    return Coupon(
        code=row.code,
        kind=CouponKind(row.kind),
        basis_points=row.basis_points,
        amounts=row.amounts,
        minimum_order=row.minimum_order,
        valid_from=row.valid_from,
        valid_until=row.valid_until,
        customer_limit=row.customer_limit,
        total_limit=row.total_limit,
        issue_limit=row.issue_limit,
        issued=row.issued,
        used=row.used,
    )
