"""The book of a PG as the PG itself shows it."""

import pytest

from domain.verification import Moved
from gateway.book import HttpBook, NoBook
from runtime.settings import Settings
from tests.support.billing import Billing
from tests.support.dunning import SOFT_DECLINE


async def test_what_was_taken_and_given_back_is_in_the_book(
    billing: Billing, settings: Settings
) -> None:
    paid = await billing.pay(await billing.order(3000))
    refund = {"paymentId": paid["id"], "amount": 1000, "reason": "returned"}
    assert (await billing.post("/api/v1/refunds", refund)).json()["status"] == "COMPLETED"
    await billing.add_card(SOFT_DECLINE)
    declined = await billing.pay(await billing.order(3000))

    moves = await HttpBook(settings.gateway_url, ("simulator",)).moves()

    assert moves[paid["id"]] == {"KRW": Moved(3000, 1000)}
    assert declined["id"] not in moves


async def test_a_pg_that_does_not_answer_has_no_book() -> None:
    with pytest.raises(NoBook, match=r"does not show its book"):
        await HttpBook("http://127.0.0.1:9", ("simulator",)).moves()
