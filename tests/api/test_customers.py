"""Customers and their cards."""

import asyncio
from collections import Counter
from uuid import uuid4

from sqlalchemy import select

from store.tables import payment_methods
from tests.api.documents import refused
from tests.support.billing import GOOD_CARD, Billing


async def test_a_customer_is_made_once_and_put_ever_after(billing: Billing) -> None:
    path = f"/api/v1/customers/c-{uuid4().hex}"

    first = await billing.api.put(path, json={})
    second = await billing.api.put(path)

    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json() == second.json()


async def test_a_customer_and_its_cards_are_found_again(billing: Billing) -> None:
    path = f"/api/v1/customers/c-{uuid4().hex}"
    made = await billing.api.put(path, json={"dueDays": 30})
    card = {"billingKey": f"bk_{GOOD_CARD}", "last4": GOOD_CARD[-4:]}
    cards = [(await billing.api.post(f"{path}/payment-methods", json=card)) for _ in range(2)]

    assert (await billing.api.get(path)).json() == made.json()
    listed = (await billing.api.get(f"{path}/payment-methods")).json()
    assert [(each["id"], each["isDefault"]) for each in listed] == [
        (cards[0].json()["id"], False),
        (cards[1].json()["id"], True),
    ]
    for unknown in ("/api/v1/customers/nobody", "/api/v1/customers/nobody/payment-methods"):
        refused(await billing.api.get(unknown), 404, "not-found")


async def test_ten_puts_at_once_make_one_customer(billing: Billing) -> None:
    path = f"/api/v1/customers/c-{uuid4().hex}"

    answers = await asyncio.gather(*(billing.api.put(path) for _ in range(10)))

    assert Counter(answer.status_code for answer in answers) == {201: 1, 200: 9}


async def test_the_longest_and_the_strangest_names_are_names(billing: Billing) -> None:
    suffix = uuid4().hex
    for name in ("x" * 32 + suffix, f"_.-{suffix}", f"...{suffix}"):
        made = await billing.api.put(f"/api/v1/customers/{name}")
        assert (made.status_code, made.json()["id"]) == (201, name)


async def test_the_last_default_card_is_the_default_one(billing: Billing) -> None:
    declined = await billing.add_card("4000000000000002")
    path = f"/api/v1/customers/{billing.customer_id}/payment-methods"
    card = {"billingKey": f"bk_{GOOD_CARD}", "last4": "4242", "isDefault": False}

    other = await billing.api.post(path, json=card)

    assert (other.status_code, other.json()["isDefault"]) == (201, False)
    assert "billingKey" not in other.json()
    by_default = await billing.pay(await billing.order())
    assert by_default["status"] == "FAILED", f"the default card is {declined}"
    named = await billing.pay(await billing.order(), paymentMethodId=other.json()["id"])
    assert named["status"] == "COMPLETED"


async def test_ten_default_cards_at_once_leave_one_default(billing: Billing) -> None:
    await asyncio.gather(*(billing.add_card(GOOD_CARD) for _ in range(10)))

    async with billing.database.engine.connect() as tx:
        query = select(payment_methods.c.is_default)
        mine = query.where(payment_methods.c.customer_id == billing.customer_id)
        defaults = (await tx.execute(mine)).scalars().all()
    assert (len(defaults), sum(defaults)) == (11, 1)


async def test_a_card_of_nobody_is_not_added(billing: Billing) -> None:
    path = f"/api/v1/customers/c-{uuid4().hex}/payment-methods"
    card = {"billingKey": f"bk_{GOOD_CARD}", "last4": "4242"}

    refused(await billing.api.post(path, json=card), 404, "not-found")


async def test_a_card_at_an_unknown_gateway_is_not_added(billing: Billing) -> None:
    path = f"/api/v1/customers/{billing.customer_id}/payment-methods"
    card = {"billingKey": f"bk_{GOOD_CARD}", "last4": "4242", "gateway": "nobody"}

    refused(await billing.api.post(path, json=card), 400, "invalid-request")
