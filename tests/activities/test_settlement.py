"""Every step of a settlement, run twice: the same state, the same answer."""

from random import Random
from uuid import uuid4

import pytest
from temporalio.testing import ActivityEnvironment

from activities.invoice import InvoiceActivities
from activities.settlement import SettlementActivities
from domain.access import SYSTEM
from domain.approval import ApprovalPolicy, Reminder, Verdict
from domain.dunning import DunningPolicy
from domain.invoice import ClosedInvoice, InvoiceCharge, InvoiceStatus
from domain.settlement import DecidedDraft, Issued, SettlementRequest, SettlementStatus
from domain.waits import Waits
from store import invoice, settlement, usage
from store.database import Database
from tests.activities.conftest import Twice
from tests.support.databases import statements
from tests.support.months import ASKS, BIG, MAY, Months


async def drafted(
    database: Database, months: Months, twice: Twice, quantity: int
) -> tuple[SettlementRequest, str]:
    await months.price()
    await months.use(quantity)
    wanted = months.wanted(approval=ASKS)
    draft = await twice(SettlementActivities(database).draft, wanted)
    waits = quantity > BIG
    status = SettlementStatus.AWAITING_APPROVAL if waits else SettlementStatus.RUNNING
    assert (draft.total, draft.status) == (quantity, status)
    return wanted, draft.invoice_id or ""


async def test_a_month_is_drafted_and_issued_once(
    database: Database, months: Months, twice: Twice
) -> None:
    wanted, id_ = await drafted(database, months, twice, 1000)
    settlement = SettlementActivities(database)

    issued = await twice(settlement.issue, DecidedDraft(wanted, id_))

    assert isinstance(issued, Issued)
    [row] = await months.invoices()
    assert (row.id, row.number, row.total) == (id_, issued.number, 1000)
    assert await months.claims() == [id_]
    assert (await twice(settlement.draft, wanted)).status is SettlementStatus.SETTLED


async def test_a_draft_that_waits_is_reminded_of_once_and_rejected_once(
    database: Database, months: Months, twice: Twice
) -> None:
    wanted, id_ = await drafted(database, months, twice, 5000)
    settlement = SettlementActivities(database)
    found = await twice(settlement.draft, wanted)
    assert found.status is SettlementStatus.AWAITING_APPROVAL
    assert found.waiting_since is not None

    await twice(settlement.note, Reminder(id_, "reminder", "above"))
    rejected = DecidedDraft(wanted, id_, Verdict(False, "a test", "operator-1"))
    assert not await twice(settlement.reject, rejected)

    [row] = await months.invoices()
    assert (row.status, len(row.decisions)) == ("REJECTED", 2)
    assert await months.claims() == [None]
    assert await twice(settlement.issue, DecidedDraft(wanted, id_)) is SettlementStatus.REJECTED
    [row] = await months.invoices()
    assert (row.status, row.number, len(row.decisions)) == ("REJECTED", None, 2)


async def test_an_issued_invoice_is_not_rejected(
    database: Database, months: Months, twice: Twice
) -> None:
    wanted, id_ = await drafted(database, months, twice, 1000)
    settlement = SettlementActivities(database)
    await settlement.issue(DecidedDraft(wanted, id_))

    rejected = DecidedDraft(wanted, id_, Verdict(False, "too late", "operator-1"))
    assert await twice(settlement.reject, rejected)

    [row] = await months.invoices()
    assert row.status == "ISSUED"
    assert await months.claims() == [id_]


async def test_a_draft_of_which_nothing_is_left_does_not_stay(
    database: Database, months: Months, twice: Twice
) -> None:
    code = await months.price(flatFee=500)
    settlement = SettlementActivities(database)
    assert (await twice(settlement.draft, months.wanted())).total == 500
    await months.price(code=code, effectiveFrom="2020-01-02T00:00:00Z")

    assert (await twice(settlement.draft, months.wanted())).status is SettlementStatus.SKIPPED

    [row] = await months.invoices()
    assert (row.status, row.total) == ("REJECTED", 0)


async def test_a_draft_that_can_no_longer_be_made_is_stopped_and_its_usage_can_be_voided(
    database: Database, months: Months, twice: Twice
) -> None:
    """Its worker died, and its customer has another plan since, without prices for that month."""
    wanted, id_ = await drafted(database, months, twice, 1000)
    later = await months.price(effectiveFrom="2026-06-01T00:00:00Z")
    assert later

    stopped = await twice(SettlementActivities(database).draft, wanted)

    reason = f"{months.customer_id} has no plan with prices for 2026-05."
    assert (stopped.status, stopped.reason) == (SettlementStatus.FAILED, reason)
    [row] = await months.invoices()
    assert (row.id, row.status, row.reason) == (id_, "DRAFT", reason)
    [event_id] = await months.events()
    async with database.begin(SYSTEM) as tx:
        assert await usage.void(tx, months.customer_id, event_id, "a mistake")
    assert await months.claims() == [None]


async def test_a_month_is_settled_and_its_charge_begun_by_few_statements(
    database: Database, months: Months
) -> None:
    await months.price()
    await months.use(1000)
    run, wanted = ActivityEnvironment().run, months.wanted()

    with statements(database) as drafting:
        draft = await run(SettlementActivities(database).draft, wanted)
    with statements(database) as issuing:
        decided = DecidedDraft(wanted, draft.invoice_id or "")
        issued = await run(SettlementActivities(database).issue, decided)
    assert isinstance(issued, Issued)
    with statements(database) as opening:
        charge = InvoiceCharge(issued.invoice, str(uuid4()))
        opened = await run(InvoiceActivities(database).open, charge)

    assert opened.payment is not None
    assert (len(drafting), len(issuing), len(opening)) == (4, 3, 2)


async def test_a_month_of_nothing_is_settled_by_one_step_of_few_statements(
    database: Database, months: Months
) -> None:
    await months.price()

    with statements(database) as sent:
        wanted = months.wanted()
        draft = await ActivityEnvironment().run(SettlementActivities(database).draft, wanted)

    assert draft.status is SettlementStatus.SKIPPED
    assert len(sent) == 3
    async with database.engine.connect() as tx:
        noted = await settlement.find(tx, wanted.period, wanted.customer_id)
    assert noted is not None
    assert noted.status is SettlementStatus.SKIPPED


ANYTHING = ApprovalPolicy(thresholds={"KRW": 10**9}, anomaly_factor=10**9)
FREE, COMMITMENT = 1_000, 1_500
MONTHS = ("2026-05", "2026-06", "2026-07", "2026-08")


async def settle(database: Database, months: Months, period: str) -> None:
    """To the end, whatever a person would say."""
    settlement = SettlementActivities(database)
    run = ActivityEnvironment().run
    wanted = months.wanted(period, approval=ANYTHING)
    draft = await run(settlement.draft, wanted)
    if draft.status in (SettlementStatus.RUNNING, SettlementStatus.AWAITING_APPROVAL):
        decided = DecidedDraft(wanted, draft.invoice_id or "", Verdict(True, "a test", "o"))
        await run(settlement.issue, decided)


async def cancel_one(database: Database, months: Months, chance: Random) -> None:
    issued = [row for row in await months.invoices() if row.status == "ISSUED"]
    if issued:
        owed = invoice.request(chance.choice(issued), DunningPolicy(), Waits())
        closed = ClosedInvoice(owed, InvoiceStatus.CANCELLED, "a test", "operator-1")
        await InvoiceActivities(database).close(closed)


async def billed_of_may(database: Database, months: Months) -> int:
    async with database.engine.connect() as tx:
        return sum(each.amount for each in await invoice.billed(tx, months.customer_id, MAY))


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("minimum", [0, COMMITMENT])
async def test_a_month_comes_to_the_same_however_its_usage_is_split_and_what_is_cancelled(
    database: Database, months: Months, seed: int, minimum: int
) -> None:
    """Usage in time and late, months that are skipped because all is free, invoices that are
    cancelled: once everything is billed, May came to what it costs in one piece."""
    chance = Random(seed)
    call = {"resourceType": "API_CALL", "model": "PER_UNIT", "unitPrice": "1"}
    await months.price(charges=[{**call, "freeUnits": str(FREE)}], minimum=minimum)
    used = 0
    for _ in range(12):
        step = chance.choice(["use", "use", "settle", "settle", "cancel"])
        if step == "use":
            quantity = chance.randint(1, 600)
            used += quantity
            await months.use(quantity)
        elif step == "settle":
            await settle(database, months, chance.choice(MONTHS))
        else:
            await cancel_one(database, months, chance)

    async with database.engine.connect() as tx:
        stands = await invoice.of_month(tx, months.customer_id, MAY)
    for period in ("2026-09",) if stands else (MAY, "2026-09"):
        await settle(database, months, period)

    assert None not in await months.claims()
    assert await billed_of_may(database, months) == max(minimum, used - FREE, 0)
