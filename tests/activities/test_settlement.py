"""Every step of a settlement, run twice: the same state, the same answer."""

from activities.settlement import SettlementActivities
from domain.settlement import DecidedDraft, Reminder, SettlementRequest, SettlementStatus, Verdict
from store.database import Database
from tests.activities.conftest import Twice
from tests.months import ASKS, Months


async def drafted(
    database: Database, months: Months, twice: Twice, quantity: int
) -> tuple[SettlementRequest, str]:
    await months.price()
    await months.use(quantity)
    wanted = months.wanted(approval=ASKS)
    draft = await twice(SettlementActivities(database).draft, wanted)
    assert (draft.total, draft.status) == (quantity, SettlementStatus.RUNNING)
    return wanted, draft.invoice_id or ""


async def test_a_month_is_drafted_checked_and_issued_once(
    database: Database, months: Months, twice: Twice
) -> None:
    wanted, id_ = await drafted(database, months, twice, 1000)
    settlement = SettlementActivities(database)

    checked = await twice(settlement.check, DecidedDraft(wanted, id_))
    issued = await twice(settlement.issue, DecidedDraft(wanted, id_))

    assert issued is not None
    assert checked.status is SettlementStatus.RUNNING
    [row] = await months.invoices()
    assert (row.id, row.number, row.total) == (id_, issued.number, 1000)
    assert await months.claims() == [id_]
    assert (await twice(settlement.draft, wanted)).status is SettlementStatus.SETTLED


async def test_a_draft_that_waits_is_reminded_of_once_and_rejected_once(
    database: Database, months: Months, twice: Twice
) -> None:
    wanted, id_ = await drafted(database, months, twice, 5000)
    settlement = SettlementActivities(database)
    await settlement.check(DecidedDraft(wanted, id_))
    found = await twice(settlement.draft, wanted)
    assert found.status is SettlementStatus.AWAITING_APPROVAL
    assert found.waiting_since is not None

    await twice(settlement.note, Reminder(id_, "reminder", "above"))
    rejected = DecidedDraft(wanted, id_, Verdict(False, "a test", "operator-1"))
    assert not await twice(settlement.reject, rejected)

    [row] = await months.invoices()
    assert (row.status, len(row.decisions)) == ("REJECTED", 2)
    assert await months.claims() == [None]
    assert await twice(settlement.issue, DecidedDraft(wanted, id_)) is None
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
