"""Usage in PostgreSQL: counted once, claimed once."""

import asyncio
import hashlib
import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import uuid4

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import DBAPIError

from domain.access import SYSTEM
from domain.errors import NotFound, UsageConflict
from domain.period import Period
from domain.usage import Aggregate, Receipt, UsageEvent
from store import customer, usage
from store.database import Database, Transaction
from store.tables import usage_events
from tests.support import zones
from tests.support.conditions import eventually
from tests.support.databases import crowd
from tests.support.usage import MAY, event, new_customer

JUNE = datetime(2026, 6, 1, tzinfo=UTC)


async def ingest(database: Database, *events: UsageEvent) -> list[Receipt]:
    async with database.begin(SYSTEM) as tx:
        return await usage.ingest(tx, events)


async def claim(
    database: Database, invoice_id: str, customer_id: str, before: datetime = JUNE
) -> list[Aggregate]:
    async with database.begin(SYSTEM) as tx:
        return await claim_in(tx, invoice_id, customer_id, before, "UTC")


async def claim_in(
    tx: Transaction, invoice_id: str, customer_id: str, before: datetime, zone: str
) -> list[Aggregate]:
    since = await usage.first_to_claim(tx, invoice_id, customer_id, before)
    return await usage.claim(tx, invoice_id, customer_id, since, before, zone)


def outcomes(receipts: Sequence[Receipt]) -> list[str]:
    return [receipt.outcome.value for receipt in receipts]


async def counted(database: Database, customer_id: str) -> tuple[int, Decimal]:
    """(events, their quantity)"""
    total = select(func.count(), func.coalesce(func.sum(usage_events.c.quantity), 0))
    async with database.engine.connect() as tx:
        rows = await tx.execute(total.where(usage_events.c.customer_id == customer_id))
        events, quantity = rows.one()
    return events, quantity


async def test_an_event_counts_once_within_a_batch_and_ever_after(database: Database) -> None:
    customer_id = await new_customer(database)
    first = event(customer_id, "a", quantity="1.5")
    again = event(customer_id, "a", quantity="1.500000")

    assert outcomes(await ingest(database, first, again)) == ["ACCEPTED", "DUPLICATE"]
    assert outcomes(await ingest(database, event(customer_id, "b"), again)) == [
        "ACCEPTED",
        "DUPLICATE",
    ]
    assert await counted(database, customer_id) == (2, Decimal("2.5"))


async def test_another_content_is_refused_and_what_was_counted_stays(database: Database) -> None:
    customer_id = await new_customer(database)
    other = event(customer_id, "a", quantity="2")

    found = await ingest(database, event(customer_id, "a"), other)
    later = await ingest(database, other)

    assert outcomes([*found, *later]) == ["ACCEPTED", "CONFLICT", "CONFLICT"]
    assert isinstance(later[0].refusal, UsageConflict)
    assert await counted(database, customer_id) == (1, Decimal(1))


async def test_one_event_id_of_two_customers_is_two_events(database: Database) -> None:
    one, two = await new_customer(database), await new_customer(database)

    found = await ingest(database, event(one, "a"), event(two, "a", quantity="7"))

    assert outcomes(found) == ["ACCEPTED", "ACCEPTED"]


async def test_an_unknown_customer_refuses_its_event_only(database: Database) -> None:
    customer_id, nobody = await new_customer(database), f"nobody-{uuid4().hex}"

    found = await ingest(database, event(nobody, "a"), event(customer_id, "a"))

    assert outcomes(found) == ["REFUSED", "ACCEPTED"]
    assert isinstance(found[0].refusal, NotFound)
    assert await counted(database, nobody) == (0, Decimal(0))


async def test_nothing_is_ingested_of_nothing(database: Database) -> None:
    assert await ingest(database) == []


@pytest.mark.parametrize(
    ("commits", "quantity", "outcome"),
    [(True, "1", "DUPLICATE"), (True, "2", "CONFLICT"), (False, "2", "ACCEPTED")],
)
async def test_a_repeat_waits_for_the_first_to_commit(
    database: Database, commits: bool, quantity: str, outcome: str
) -> None:
    customer_id = await new_customer(database)
    async with database.engine.connect() as tx:
        await usage.ingest(tx, [event(customer_id, "a")])
        second = asyncio.create_task(ingest(database, event(customer_id, "a", quantity=quantity)))
        await eventually(lambda: _somebody_waits(database))
        await (tx.commit() if commits else tx.rollback())

    assert outcomes(await second) == [outcome]


async def _somebody_waits(database: Database) -> bool:
    waiting = text(
        "SELECT EXISTS (SELECT FROM pg_stat_activity "
        "WHERE wait_event = 'transactionid' AND query LIKE '%INTO usage_identities%')"
    )
    async with database.engine.connect() as tx:
        return bool((await tx.execute(waiting)).scalar())


async def test_overlapping_batches_in_any_order_never_deadlock(database: Database) -> None:
    customer_id = await new_customer(database)
    events = [event(customer_id, f"e-{number}") for number in range(300)]
    order = random.Random(7)
    batches = [order.sample(events, 200) for _ in range(15)]

    found = await asyncio.gather(*(ingest(database, *batch) for batch in batches))

    accepted = [receipt.event_id for receipts in found for receipt in receipts]
    fresh = [receipt for receipts in found for receipt in receipts if not receipt.refusal]
    assert len(fresh) == len(accepted) == 3000
    assert outcomes(fresh).count("ACCEPTED") == len(set(accepted))
    assert await counted(database, customer_id) == (len(set(accepted)), Decimal(len(set(accepted))))


async def test_a_claim_takes_what_happened_before_and_names_each_month(
    database: Database,
) -> None:
    customer_id, invoice_id = await new_customer(database), str(uuid4())
    april = MAY - timedelta(days=20)
    await ingest(
        database,
        event(customer_id, "b", quantity="2", occurred_at=MAY + timedelta(days=1)),
        event(customer_id, "a", quantity="0.5"),
        event(customer_id, "B", quantity="4", resource_type="STORAGE"),
        event(customer_id, "late", quantity="8", occurred_at=april),
        event(customer_id, "next", occurred_at=JUNE),
    )
    await ingest(database, event(await new_customer(database), "a"))

    assert await claim(database, invoice_id, customer_id) == [
        Aggregate("API_CALL", Period(2026, 4), Decimal(8), 1, april, april, _digest("late")),
        Aggregate(
            *("API_CALL", Period(2026, 5), Decimal("2.5"), 2),
            *(MAY, MAY + timedelta(days=1), _digest("a", "b")),
        ),
        Aggregate("STORAGE", Period(2026, 5), Decimal(4), 1, MAY, MAY, _digest("B")),
    ]


def _digest(*ids: str) -> str:
    lines = b"".join(each.encode() + b"\n" for each in sorted(ids, key=str.encode))
    return hashlib.sha256(lines).hexdigest()


async def test_event_ids_are_digested_in_the_order_of_their_bytes(database: Database) -> None:
    customer_id = await new_customer(database)
    ids = ("a", "B", "_", "-", "a-", "a0", "Z", "~", "10", "9")
    await ingest(database, *(event(customer_id, each) for each in ids))

    [aggregate] = await claim(database, str(uuid4()), customer_id)

    assert aggregate.digest == _digest(*ids)


async def test_a_claim_again_finds_the_same_and_what_came_late(database: Database) -> None:
    customer_id, invoice_id = await new_customer(database), str(uuid4())
    await ingest(database, event(customer_id))
    [first] = await claim(database, invoice_id, customer_id)

    assert await claim(database, invoice_id, customer_id) == [first]
    assert await claim(database, str(uuid4()), customer_id) == []
    async with database.engine.connect() as tx:
        assert await usage.aggregates(tx, invoice_id, "UTC") == [first]

    await ingest(database, event(customer_id))
    [late] = await claim(database, str(uuid4()), customer_id)
    assert (late.period, late.events) == (Period(2026, 5), 1)


async def test_released_events_are_claimed_by_the_next_invoice(database: Database) -> None:
    customer_id, rejected = await new_customer(database), str(uuid4())
    await ingest(database, event(customer_id), event(customer_id))
    first = await claim(database, rejected, customer_id)

    async with database.begin(SYSTEM) as tx:
        assert await usage.release(tx, rejected) == 2
    async with database.begin(SYSTEM) as tx:
        assert await usage.release(tx, rejected) == 0

    assert await claim(database, str(uuid4()), customer_id) == first


async def test_each_event_is_on_one_claim_while_ingest_and_claims_race(
    database: Database,
) -> None:
    customer_id = await new_customer(database)
    events = [event(customer_id, f"e-{n}", quantity=str(n)) for n in range(1000)]
    order = random.Random(11)
    batches = [order.sample(events, 60) for _ in range(40)]
    rest = [events[start : start + 100] for start in range(0, 1000, 100)]
    claims = [str(uuid4()) for _ in range(25)]
    work = [ingest(database, *batch) for batch in [*batches, *rest]]
    claiming = [claim(database, invoice_id, customer_id) for invoice_id in claims]
    mixed = [*work, *claiming]
    order.shuffle(mixed)

    await asyncio.gather(*mixed)
    last = str(uuid4())
    await claim(database, last, customer_id)

    async with database.engine.connect() as tx:
        claimed = [
            found for each in [*claims, last] for found in await usage.aggregates(tx, each, "UTC")
        ]
    assert sum(found.events for found in claimed) == 1000
    assert sum(found.quantity for found in claimed) == sum(range(1000))
    assert await counted(database, customer_id) == (1000, Decimal(sum(range(1000))))


async def test_what_a_claim_returned_is_what_it_keeps_whatever_races(database: Database) -> None:
    customer_id = await new_customer(database)
    claims = [str(uuid4()) for _ in range(10)]
    ingesting = (ingest(database, event(customer_id)) for _ in range(100))

    async def claimed(invoice_id: str) -> list[Aggregate]:
        return await claim(database, invoice_id, customer_id)

    returned, _ = await asyncio.gather(
        asyncio.gather(*(claimed(invoice_id) for invoice_id in claims)),
        crowd(ingesting),
    )

    async with database.engine.connect() as tx:
        kept = [await usage.aggregates(tx, invoice_id, "UTC") for invoice_id in claims]
    assert kept == returned


@pytest.mark.parametrize(
    "zone", ["Asia/Seoul", "America/New_York", "Pacific/Apia", "Asia/Kathmandu"]
)
async def test_months_are_those_of_the_zone_to_the_microsecond(
    database: Database, zone: str
) -> None:
    customer_id, invoice_id = await new_customer(database), str(uuid4())
    moment = timedelta(microseconds=1)
    edges = [Period(2026, month).starts_at(zone).astimezone(UTC) for month in (2, 3, 4, 11)]
    times = [time for edge in edges for time in (edge - moment, edge)]
    await ingest(database, *(event(customer_id, occurred_at=time) for time in times))

    async with database.begin(SYSTEM) as tx:
        found = await claim_in(tx, invoice_id, customer_id, edges[-1] + moment, zone)

    by_month = {each.period: each.events for each in found}
    expected = [Period.containing(time, zone) for time in times]
    assert by_month == {period: expected.count(period) for period in expected}


async def test_a_claim_ends_exactly_where_the_period_does(database: Database) -> None:
    customer_id = await new_customer(database)
    end = Period(2026, 5).ends_at("Asia/Seoul")
    inside, outside = end - timedelta(microseconds=1), end
    await ingest(
        database,
        event(customer_id, "in", occurred_at=inside.astimezone(UTC)),
        event(customer_id, "out", occurred_at=outside.astimezone(UTC)),
    )

    async with database.begin(SYSTEM) as tx:
        [found] = await claim_in(tx, str(uuid4()), customer_id, end, "Asia/Seoul")

    assert (found.period, found.digest) == (Period(2026, 5), _digest("in"))


FIRST, MONTHS = Period(2025, 7), 24
TICK, HOUR = timedelta(microseconds=1), timedelta(hours=1)
AROUND = (-HOUR, -TICK, timedelta(0), TICK, HOUR)


async def test_each_instant_around_each_boundary_is_in_the_month_that_the_clock_on_the_wall_names(
    database: Database,
) -> None:
    wrong: list[str] = []
    compared = 0
    for zone in zones.ALL:
        async with database.begin(SYSTEM) as tx:
            found, expected = await billed_by_month(tx, zone)
        compared += len(expected)
        if found != expected:
            wrong.append(zone)

    print(f"{len(zones.ALL)} zones × {MONTHS} months: {compared} compared")
    assert wrong == []
    assert compared == len(zones.ALL) * MONTHS


async def billed_by_month(tx: Transaction, zone: str) -> tuple[dict[str, str], dict[str, str]]:
    """Which events a claim puts into each of these months, as a digest of their ids, and which
    should be there."""
    customer_id, clock = f"c-{uuid4().hex}", zones.pinned(zone)
    months = [FIRST]
    while len(months) < MONTHS:
        months.append(months[-1].next())
    following = months[-1].next()
    bounds = [datetime(each.year, each.month, 1, tzinfo=clock) for each in (*months, following)]
    times = {bound.astimezone(UTC) + each for bound in bounds for each in AROUND}
    events = {str(number): time for number, time in enumerate(sorted(times))}
    await customer.put(tx, customer_id)
    used = [event(customer_id, name, occurred_at=time) for name, time in events.items()]
    await usage.ingest(tx, used)

    claimed = await claim_in(tx, str(uuid4()), customer_id, bounds[-1], zone)

    found = {str(each.period): each.digest for each in claimed}
    expected = {}
    for month in map(str, months):
        named = [id_ for id_, time in events.items() if f"{time.astimezone(clock):%Y-%m}" == month]
        expected[month] = _digest(*named)
    found.pop(str(FIRST.previous()), None)
    return found, expected


async def test_an_event_without_a_partition_waits_in_the_default_one(database: Database) -> None:
    customer_id = await new_customer(database)
    first = Period(2031, 12)
    times = [
        first.starts_at("UTC") - timedelta(microseconds=1),
        first.starts_at("UTC"),
        first.ends_at("UTC") - timedelta(microseconds=1),
        first.ends_at("UTC"),
        first.next().ends_at("UTC"),
    ]
    await ingest(
        database, *(event(customer_id, occurred_at=time.astimezone(UTC)) for time in times)
    )
    async with database.engine.connect() as tx:
        before = await usage.in_default_partition(tx)

    for _ in range(2):
        async with database.begin(SYSTEM) as tx:
            await usage.make_partitions(tx, first, first.next())

    async with database.engine.connect() as tx:
        assert await usage.in_default_partition(tx) == before - 3
        where = await tx.execute(
            select(text("tableoid::regclass::text"))
            .select_from(usage_events)
            .where(usage_events.c.customer_id == customer_id)
            .order_by(usage_events.c.occurred_at)
        )
        assert [table for (table,) in where] == [
            "usage_events_default",
            "usage_events_2031_12",
            "usage_events_2031_12",
            "usage_events_2032_01",
            "usage_events_default",
        ]
    far = datetime(2033, 1, 1, tzinfo=UTC)
    [*found] = await claim(database, str(uuid4()), customer_id, far)
    assert sum(each.events for each in found) == 5


async def test_partitions_are_made_by_several_at_once_while_events_come(
    database: Database,
) -> None:
    customer_id = await new_customer(database)
    first, last = Period(2035, 1), Period(2035, 6)
    times = [datetime(2035, 1 + n % 6, 1 + n % 28, tzinfo=UTC) for n in range(120)]

    async def make() -> None:
        async with database.begin(SYSTEM) as tx:
            await usage.make_partitions(tx, first, last)

    await asyncio.gather(
        *(ingest(database, event(customer_id, occurred_at=time)) for time in times[:60]),
        make(),
        make(),
        *(ingest(database, event(customer_id, occurred_at=time)) for time in times[60:]),
    )

    assert await counted(database, customer_id) == (120, Decimal(120))


async def test_who_cannot_lock_the_table_gives_up_soon(database: Database) -> None:
    async with database.engine.connect() as tx:
        await usage.ingest(tx, [event(await new_customer(database))])

        async with database.begin(SYSTEM) as other:
            with pytest.raises(DBAPIError, match="lock timeout"):
                await usage.make_partitions(other, Period(2037, 1), Period(2037, 1))
        await tx.rollback()
