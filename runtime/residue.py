"""Whoever is final holds nothing. What an ended payment still holds is given back, or reported.

There is none in the normal course of things: every undo has run before a payment ends, and leaves a
tombstone for what comes late. Should a fault leave something all the same, it must not stay.
"""

import structlog

from activities.coupon import CouponActivities
from activities.funding import STEPS
from activities.inventory import InventoryActivities
from domain.payment import Payment, PaymentStatus
from domain.waits import Waits
from store import payment
from store.database import Database

log = structlog.get_logger()


async def give_back(database: Database, row: Payment, waits: Waits) -> None:
    """Run the undos of a payment that took nothing; harmless twice. What a completed one still
    holds should have been used up: nobody but a person can tell what is right."""
    if row.status is PaymentStatus.COMPLETED:
        log.error("a completed payment still holds something", payment_id=row.id)
        return
    ended = payment.request(row, waits)
    for part in reversed(ended.ours):
        step = STEPS[part.kind]
        await step.undo(step.activities(database), ended)
    if ended.stock:
        await InventoryActivities(database).restore(ended)
    if ended.coupon_code:
        await CouponActivities(database).restore(ended)
    log.warning("an ended payment held something: it was given back", payment_id=row.id)
