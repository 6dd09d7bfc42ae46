"""`billing verify`: one line per invariant, what is wrong, and an exit code for programs."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import orjson
import pytest

from domain.access import SYSTEM
from domain.verification import SHOWN, Invariant
from runtime.settings import Settings
from store import wallet
from tests.cli.conftest import Command
from tests.dev.simulator.conftest import Gateway
from tests.support.databases import connected, settings_of_its_own
from tests.support.samples import new_customer

WALLETS = "wallets-equal-their-postings"


@pytest.fixture(scope="module")
def pg(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A PG whose book is empty."""
    gateway = Gateway(tmp_path_factory.mktemp("verify") / "book")
    yield gateway
    gateway.stop()


@pytest.fixture
async def alone(settings: Settings) -> AsyncIterator[Settings]:
    """A system that nobody else uses."""
    async with settings_of_its_own(settings) as own:
        yield own


async def test_where_everything_agrees_each_invariant_has_a_line(
    command: Command, alone: Settings, pg: Gateway
) -> None:
    ran = await command("verify", DATABASE_URL=alone.database_url, GATEWAY_URL=pg.url)

    assert ran.exit_code == 0, ran.output
    lines = ran.stdout.splitlines()
    assert [line.split()[1].rstrip(":") for line in lines[:-1]] == [
        *(each for each in Invariant if each not in LAST),
        *LAST,
    ]
    assert {line.split()[0] for line in lines[:-1]} == {"ok"}
    assert lines[-1] == f"All {len(Invariant)} invariants hold."


LAST = (
    *(Invariant.INVOICE_PRICES, Invariant.AUDIT_SEALED, Invariant.AUDIT_CHAIN),
    *(Invariant.OWNERS, Invariant.GATEWAY),
)
"""What the database alone does not tell comes last."""


async def test_what_is_wrong_is_told_one_by_one_up_to_a_number(
    command: Command, alone: Settings, pg: Gateway
) -> None:
    unbooked = sorted(new_customer() for _ in range(SHOWN + 2))
    async with connected(alone.database_url) as database, database.begin(SYSTEM) as tx:
        for customer_id in unbooked:
            await wallet.credit(tx, customer_id, "KRW", 300)
    where = {"DATABASE_URL": alone.database_url, "GATEWAY_URL": pg.url}

    told = await command("verify", **where)
    document = orjson.loads((await command("verify", "--json", **where)).stdout)

    assert told.exit_code == 1, told.output
    # Each wallet has two accounts: what is available, and what is held.
    assert f"WRONG  {WALLETS}: {SHOWN + 2} of {2 * (SHOWN + 2)}" in told.stdout
    for customer_id in unbooked[:SHOWN]:
        account = f"wallet:{customer_id}:available KRW"
        assert f"{account}: The wallet says 300, its postings come to 0." in told.stdout
    assert "and 2 more" in told.stdout
    assert unbooked[-1] not in told.stdout
    assert document["violations"] == SHOWN + 2
    assert {each["name"] for each in document["invariants"]} == set(Invariant)
    [wrong] = [each for each in document["invariants"] if each["violations"]]
    assert (wrong["name"], wrong["lookedAt"]) == (WALLETS, 2 * (SHOWN + 2))
    assert len(wrong["first"]) == SHOWN


async def test_a_program_can_tell_wrong_from_not_looked_at(
    command: Command, alone: Settings, tmp_path: Path
) -> None:
    nobody = "http://127.0.0.1:9"
    without_pg = await command("verify", DATABASE_URL=alone.database_url, GATEWAY_URL=nobody)
    without_database = await command("verify", DATABASE_URL="postgresql://x@127.0.0.1:9/x")

    assert (without_pg.exit_code, without_database.exit_code) == (2, 2)
    assert f"The PG at {nobody} does not show its book" in without_pg.stderr
    assert "The database cannot be used" in without_database.stderr
