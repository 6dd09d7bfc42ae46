"""`billing settlement`: a month for everybody from the command line."""

import orjson
import pytest
from temporalio.client import Client

from cli.refused import Refused
from domain.approval import ApprovalPolicy, Verdict
from domain.run import RunRequest
from domain.settlement import SettlementRequest
from domain.workflow_id import settlement_run_workflow_id, settlement_workflow_id
from service.starts import start_settlement_run
from store.database import Database
from tests.cli.conftest import Command
from tests.support.cashier import WAITS
from tests.support.desks import until_it_waits
from tests.support.tenants import Tenants, tenants

pytestmark = pytest.mark.usefixtures("settlements")


async def settled(client: Client, database: Database, period: str, poisoned: int) -> Tenants:
    """Two whose month is settled, and those whose cannot be."""
    wanted = await tenants(database, period, 2 + poisoned, poisoned)
    request = RunRequest(period, wanted.customers, waits=WAITS)
    await (await start_settlement_run(client, request)).result()
    return wanted


async def test_a_run_is_followed_to_its_end_and_reported(
    command: Command, temporal_client: Client, database: Database
) -> None:
    wanted = await tenants(database, "2023-03", 2)
    only = [word for each in wanted.customers for word in ("--customer", each)]

    ran = await command("settlement", "run", "--yes", wanted.period, *only)
    reported = await command("settlement", "report", wanted.period, "--json")

    assert ran.exit_code == 0, ran.output
    assert f"Settlement of {wanted.period}" in ran.output
    assert "SETTLED" in ran.output
    document = orjson.loads(reported.stdout)
    assert document["finishedAt"] is None, "of the month's run, which there was none of"
    assert document["totals"] == {"KRW": 2_001}
    assert await wanted.invoiced() == {each: [n] for each, n in wanted.totals.items()}
    description = await temporal_client.get_workflow_handle(
        settlement_run_workflow_id(wanted.period, wanted.customers)
    ).describe()
    assert description.status is not None
    assert description.status.name == "COMPLETED"


async def test_what_failed_is_told_replayed_and_gone(
    command: Command, temporal_client: Client, database: Database
) -> None:
    wanted = await settled(temporal_client, database, "2023-01", poisoned=2)
    [first, second] = wanted.poisoned
    replay = ("settlement", "replay", "--yes", wanted.period)

    failed = await command("settlement", "failed", wanted.period)
    listed = await command("settlement", "list", "--period", wanted.period, "--status", "FAILED")
    as_json = await command("settlement", "failed", wanted.period, "--json")
    in_vain = await command(*replay)
    await wanted.mend()
    other_reason = await command(*replay, "--reason", "no such words")
    dry = await command(*replay[:2], wanted.period, "--customer", first, "--dry-run")
    one = await command(*replay, "--customer", first, "--reason", "POISON")
    again = await command(*replay, "--customer", first)
    rest = await command(*replay)

    for customer_id in wanted.poisoned:
        assert customer_id in failed.stdout
        link = settlement_workflow_id(customer_id, wanted.period).replace("/", "%2F")
        assert f"http://ui/namespaces/billing/workflows/{link}" in as_json.stdout
    assert "no price for POISON" in failed.stdout
    rows = [line.split()[:3] for line in listed.stdout.splitlines()[1:]]
    assert sorted(rows) == sorted([wanted.period, each, "FAILED"] for each in wanted.poisoned)
    assert [each["customerId"] for each in orjson.loads(as_json.stdout)] == [first, second]
    assert in_vain.exit_code == 1
    assert f"{first}: FAILED, quality check failed" in in_vain.output
    assert other_reason.stdout == f"Nothing of {wanted.period} that could be settled again.\n"
    assert "1 would be settled again" in dry.stdout
    assert one.stdout == f"{first}: SETTLED\n"
    assert again.stderr == f"{first}: SETTLED, nothing to do\n"
    assert rest.stdout == f"{second}: SETTLED\n"
    assert (await wanted.invoiced())[first] == [5]
    told = (await command("settlement", "failed", wanted.period)).output
    assert told == f"Nothing of {wanted.period} has failed.\n"


async def test_a_rejected_month_is_settled_again_when_it_is_named(
    command: Command, temporal_client: Client, database: Database
) -> None:
    wanted = await tenants(database, "2023-04", 1)
    [name] = wanted.customers
    asks = ApprovalPolicy(thresholds={"KRW": 1})
    request = SettlementRequest(name, wanted.period, approval=asks, waits=WAITS)
    await until_it_waits(database, temporal_client, request)
    draft = temporal_client.get_workflow_handle(settlement_workflow_id(name, wanted.period))
    await draft.execute_update("decide", Verdict(False, "wrong price", "operator-1"))

    everybody = await command("settlement", "replay", "--yes", wanted.period)
    named = await command("settlement", "replay", "--yes", wanted.period, "--customer", name)

    assert everybody.stdout == f"Nothing of {wanted.period} that could be settled again.\n"
    assert named.stdout == f"{name}: SETTLED\n"
    assert await wanted.invoiced() == {name: [1_000]}


async def test_what_would_be_replayed_is_told_and_not_done(
    command: Command, temporal_client: Client, database: Database
) -> None:
    wanted = await settled(temporal_client, database, "2023-02", poisoned=3)
    await wanted.mend()

    told = await command("settlement", "replay", wanted.period, "--dry-run")
    before = await wanted.invoiced()
    done = await command("settlement", "replay", "--yes", wanted.period)

    assert told.stdout.splitlines()[-1] == "3 would be settled again."
    assert all(f"{each}: " in told.stdout for each in wanted.poisoned)
    assert set(before) == set(wanted.totals)
    assert done.stdout.count(": SETTLED\n") == 3
    assert set(await wanted.invoiced()) == set(wanted.customers)


async def test_what_a_run_would_settle_is_told_and_not_done(
    command: Command, temporal_client: Client, database: Database
) -> None:
    wanted = await settled(temporal_client, database, "2023-05", poisoned=1)
    await wanted.mend()
    [named] = wanted.poisoned

    told = await command("settlement", "run", "2023-05", "--customer", named, "--dry-run")

    assert told.stdout.splitlines() == [
        f"2023-05 would be settled for {named}.",
        "So far: 2 SETTLED, 1 FAILED; what is settled stays.",
    ]
    assert named not in await wanted.invoiced()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("run", "2026-13", "--yes"), "A period is a month like 2026-05, not '2026-13'."),
        (("run", "2099-01", "--yes"), "2099-01 lasts until 2099-02-01T00:00:00+00:00."),
        (("failed", "May"), "A period is a month like 2026-05, not 'May'."),
        (
            ("report", "2002-01"),
            "Nothing of 2002-01 was settled yet: billing settlement run 2002-01.",
        ),
        (
            ("replay", "2002-01", "--customer", "nobody", "--yes"),
            "2002-01 of nobody was never settled, so nothing can be repeated.",
        ),
    ],
)
async def test_what_cannot_be_done_is_one_sentence(
    command: Command, arguments: tuple[str, ...], sentence: str
) -> None:
    told = await command("settlement", *arguments)

    assert isinstance(told.exception, Refused)
    assert str(told.exception) == sentence
