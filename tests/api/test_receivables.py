"""What was unpaid at a moment, by age and currency, to the second."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.api.documents import refused
from tests.support.billing import Billing
from tests.support.invoices import owed

DUE = datetime(2011, 3, 1, 9, tzinfo=UTC)
ISSUED = DUE - timedelta(days=14)
SECOND, DAY = timedelta(seconds=1), timedelta(days=1)


async def unpaid(billing: Billing, as_of: datetime, *currencies: str) -> list[dict[str, Any]]:
    """The rows of these currencies: others are of other tests."""
    answer = await billing.api.get("/api/v1/aged-receivables", params={"asOf": as_of.isoformat()})
    assert answer.status_code == 200, answer.text
    return [row for row in answer.json() if row["currency"] in currencies]


@pytest.mark.parametrize(
    ("past_due", "bucket"),
    [
        (-14 * DAY, "current"),
        (-SECOND, "current"),
        (timedelta(0), "current"),
        (SECOND, "1-30"),
        (30 * DAY, "1-30"),
        (30 * DAY + SECOND, "31-60"),
        (60 * DAY, "31-60"),
        (60 * DAY + SECOND, "61-90"),
        (90 * DAY, "61-90"),
        (90 * DAY + SECOND, "90+"),
        (1000 * DAY, "90+"),
    ],
    ids=str,
)
async def test_a_day_begun_counts_as_a_day(
    billing: Billing, past_due: timedelta, bucket: str
) -> None:
    before = {row["bucket"]: row for row in await unpaid(billing, DUE + past_due, "ISK")}
    await owed(billing.database, "ISK", 700, DUE, ISSUED)

    after = {row["bucket"]: row for row in await unpaid(billing, DUE + past_due, "ISK")}

    changed = {name: row for name, row in after.items() if row != before.get(name)}
    assert set(changed) == {bucket}
    was = before.get(bucket, {"invoices": 0, "amount": 0})
    assert changed[bucket]["invoices"] == was["invoices"] + 1
    assert changed[bucket]["amount"] == was["amount"] + 700


async def test_currencies_are_never_added(billing: Billing) -> None:
    for currency, total in (("UYU", 5), ("PYG", 7), ("UYU", 11)):
        await owed(billing.database, currency, total, DUE, ISSUED)

    rows = await unpaid(billing, DUE + DAY, "UYU", "PYG")

    assert rows == [
        {"currency": "PYG", "bucket": "1-30", "invoices": 1, "amount": 7},
        {"currency": "UYU", "bucket": "1-30", "invoices": 2, "amount": 16},
    ]


async def test_a_past_date_shows_what_was_unpaid_then(billing: Billing) -> None:
    """Paid since does not matter, paid before does; what was not issued yet was not owed."""
    paid_at = DUE + 45 * DAY
    await owed(billing.database, "TND", 900, DUE, ISSUED, closed_at=paid_at)

    async def seen(as_of: datetime) -> list[tuple[str, int]]:
        return [(row["bucket"], row["amount"]) for row in await unpaid(billing, as_of, "TND")]

    assert await seen(ISSUED - SECOND) == []
    assert await seen(ISSUED) == [("current", 900)]
    assert await seen(DUE + 10 * DAY) == [("1-30", 900)]
    assert await seen(paid_at - SECOND) == [("31-60", 900)]
    assert await seen(paid_at) == []
    assert await seen(datetime.now(UTC)) == []


async def test_a_date_is_its_end(billing: Billing) -> None:
    await owed(billing.database, "XPF", 41, DUE, ISSUED)
    issued_on = ISSUED.date()

    async def seen(as_of: str) -> list[int]:
        rows = (await billing.api.get("/api/v1/aged-receivables", params={"asOf": as_of})).json()
        return [row["amount"] for row in rows if row["currency"] == "XPF"]

    assert await seen(str(issued_on)) == [41]
    assert await seen(str(issued_on - DAY)) == []


async def test_a_plus_that_a_query_made_a_space_of_is_told(billing: Billing) -> None:
    """In a query a bare plus is a space."""
    for moment in (
        "2026-05-31T00:00:00+09:00",
        "2026-05-31T00:00+0900",
        "2026-05-31t01:02:03+09:30",
    ):
        bare = await billing.api.get(f"/api/v1/aged-receivables?asOf={moment}")
        encoded = await billing.api.get(
            f"/api/v1/aged-receivables?asOf={moment.replace('+', '%2B')}"
        )

        refused(bare, 400, "invalid-request")
        assert bare.json()["detail"] == (
            "asOf: there is a space where the plus of the offset should be: send + as %2B."
        )
        assert encoded.status_code == 200


async def test_without_a_date_it_is_now(billing: Billing) -> None:
    await owed(billing.database, "VUV", 3, datetime.now(UTC) + DAY, datetime.now(UTC) - DAY)

    rows = (await billing.api.get("/api/v1/aged-receivables")).json()

    assert [row for row in rows if row["currency"] == "VUV"] == [
        {"currency": "VUV", "bucket": "current", "invoices": 1, "amount": 3}
    ]
