"""`billing audit`: what was done, the proof of it, and what is taken away."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import text

from domain.access import SYSTEM
from runtime.settings import Settings
from service.audit import seal
from store import audit
from store.database import Database
from tests.cli.conftest import Command
from tests.support.audit import EACH, an_entry, armed, sealed_years_ago, trail
from tests.support.conditions import eventually
from tests.support.databases import connected, settings_of_its_own
from tests.support.samples import new_customer


@pytest.fixture
async def own(settings: Settings) -> AsyncIterator[Settings]:
    async with settings_of_its_own(settings) as mine:
        yield mine


async def a_seal(database: Database) -> None:
    async def made() -> bool:
        return await seal(database) is not None

    await eventually(made)


async def test_the_trail_is_proven_and_a_tampered_row_is_named(
    command: Command, own: Settings, tmp_path: Path
) -> None:
    where = {"DATABASE_URL": own.database_url}
    kept = tmp_path / "anchors"
    async with connected(own.database_url) as database:
        for _ in range(3):
            async with database.begin(SYSTEM) as tx:
                await audit.append(tx, an_entry())
            await a_seal(database)
        anchored = await command("audit", "anchor", **where)
        kept.write_text(anchored.stdout)
        proven = await command("audit", "verify", "--anchors", str(kept), **where)

    async with connected(own.database_owner_url) as owner, owner.begin(SYSTEM) as tx:
        for table in ("audit_entries", "audit_seals"):
            await tx.execute(text(f"ALTER TABLE {table} DISABLE TRIGGER USER"))
        await tx.execute(text("UPDATE audit_entries SET actor_id = 'another' WHERE id = 2"))
    changed = await command("audit", "verify", **where)
    async with connected(own.database_owner_url) as owner, owner.begin(SYSTEM) as tx:
        await tx.execute(text("DELETE FROM audit_entries WHERE id >= 2"))
        await tx.execute(text("DELETE FROM audit_seals WHERE n >= 2"))
    cut = await command("audit", "verify", **where)
    missed = await command("audit", "verify", "--anchor", kept.read_text().strip(), **where)

    assert anchored.stdout.startswith("3:")
    assert (proven.exit_code, "up to seal 3; 1 anchors hold" in proven.output) == (0, True)
    assert changed.exit_code == 1
    assert "seal 2: It is not that of its entries" in changed.output
    assert (cut.exit_code, missed.exit_code) == (0, 1)
    assert "seal 3: It was anchored, and is missing." in missed.output


async def test_what_is_no_anchor_is_refused(command: Command) -> None:
    answer = await command("audit", "verify", "--anchor", "12:abc")

    assert answer.exit_code == 1
    assert "'12:abc' is no anchor" in str(answer.exception)


async def test_what_was_done_to_a_customer_is_listed(command: Command, database: Database) -> None:
    customer_id = new_customer()
    async with database.begin(SYSTEM) as tx:
        told = {"customer_id": customer_id, "reason": "[red] as agreed"}
        await audit.append(tx, an_entry("x-1", before={"a": 1}, after={"a": 2}, **told))

    listed = await command("audit", "list", "--customer", customer_id)
    as_json = await command(
        "audit", "list", "--customer", customer_id, "--target-id", "x-1", "--json"
    )
    none = await command("audit", "list", "--customer", new_customer())

    [row] = listed.stdout.splitlines()[1:]
    assert "DLQ_DISCARD  somebody  dead-letter  x-1" in row
    assert f"{customer_id}  [red] as agreed" in row
    assert row.endswith("a: 1 → 2")
    [document] = json.loads(as_json.stdout)
    assert (document["before"], document["after"]) == ({"a": 1}, {"a": 2})
    assert (none.stdout, none.stderr) == ("", "Nothing was done.\n")


@pytest.mark.parametrize("form", ["jsonl", "ocsf"])
async def test_an_export_has_every_entry_and_is_noted_itself(
    command: Command, own: Settings, form: str
) -> None:
    async with connected(own.database_url) as database:
        async with database.begin(SYSTEM) as tx:
            await audit.append(tx, *(an_entry(str(number)) for number in range(1_001)))

        exported = await command("audit", "export", "--format", form, DATABASE_URL=own.database_url)

        assert exported.exit_code == 0, exported.output
        lines = [json.loads(line) for line in exported.stdout.splitlines()]
        assert len(lines) == 1_002
        [noted] = await trail(database, action="DATA_EXPORTED")
    if form == "jsonl":
        assert [line["targetId"] for line in lines[:2]] == ["0", "1"]
        assert lines[-1]["id"] == noted.id
    else:
        assert (lines[0]["class_uid"], lines[0]["type_uid"]) == (6003, 600303)
        assert (lines[-1]["activity_id"], lines[-1]["api"]["operation"]) == (2, "DATA_EXPORTED")
        assert lines[0]["resources"] == [{"type": "dead-letter", "uid": "0"}]


async def test_what_is_older_than_its_retention_is_dropped_and_noted(
    command: Command, own: Settings
) -> None:
    where = {"DATABASE_URL": own.database_url}
    async with (
        connected(own.database_url) as database,
        connected(own.database_owner_url) as owner,
    ):
        seals = await sealed_years_ago(database, owner, 8, 3, 0)
        await armed(owner)
        kept = ("audit", "cut", "--reason", "the law asks for seven years")
        dropped = await command(*kept, **where)
        again = await command(*kept, **where)
        young = await command(*kept, **where, AUDIT_DAYS="100")
        three_years = await command(*kept, **where, AUDIT_DAYS="1000")
        proven = await command("audit", "verify", "--anchor", seals[0].anchor, **where)
        noted = await trail(database, action="TRAIL_CUT")

    assert dropped.output.split()[-1] == seals[0].anchor
    assert dropped.output.startswith(f"{EACH} entries were dropped.")
    assert again.output == "Nothing is old enough.\n"
    assert (young.exit_code, three_years.exit_code, proven.exit_code) == (1, 0, 0)
    assert [each.reason for each in noted] == ["the law asks for seven years"] * 2
