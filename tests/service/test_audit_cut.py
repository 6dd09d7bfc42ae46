"""The trail has an end somewhere: what is older than its retention goes, what is left still proves
itself, and whoever pretends a retention is found."""

from datetime import timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from temporalio.client import Client

from domain.access import SYSTEM, at_the_machine
from domain.audit import Break
from service.audit import cut, seal, verify
from store.database import Database
from tests.support.audit import EACH, armed, sealed_years_ago, trail
from tests.support.conditions import eventually
from tests.support.desks import desk

ME = at_the_machine("me")

KEEP = timedelta(days=2557)


async def breaks(database: Database, *anchors: str, after: int = 0) -> list[Break]:
    async with database.read(SYSTEM) as tx:
        return [each async for each in verify(tx, anchors, after)]


async def test_what_is_too_old_goes_and_the_rest_still_proves_itself(
    mine: Database, its_owner: Database, temporal_client: Client
) -> None:
    seals = await sealed_years_ago(mine, its_owner, 9, 8, 6, 0)
    await armed(its_owner)
    here = desk(mine, temporal_client)

    done = await cut(here, ME, KEEP, "the law asks for seven years")

    assert done == (seals[1], 2 * EACH)
    assert await cut(here, ME, KEEP, "again") is None
    left = await trail(mine)
    assert len(left) == 2 * EACH + 1
    told = left[-1]
    assert (told.action, told.actor_id) == ("TRAIL_CUT", ME.caller)
    assert told.after is not None
    assert (told.after["seal"], told.after["hash"]) == (seals[1].n, seals[1].hash.hex())
    await eventually(lambda: seal(mine))
    every = [each.anchor for each in seals]
    for after in (0, 1, 2, 3):
        assert await breaks(mine, *every, after=after) == []

    await sealed_years_ago(mine, its_owner, 0)
    assert await breaks(mine, *every) == [], "and goes on"


async def test_the_first_seal_can_be_the_only_one_that_is_left(
    mine: Database, its_owner: Database, temporal_client: Client
) -> None:
    [only] = await sealed_years_ago(mine, its_owner, 8)
    await armed(its_owner)

    assert await cut(desk(mine, temporal_client), ME, KEEP, "old") == (only, EACH)

    assert await breaks(mine, only.anchor) == []
    await eventually(lambda: seal(mine))
    assert await breaks(mine, only.anchor) == []


async def test_nothing_is_dropped_without_the_entry_that_says_so_nor_what_is_young(
    mine: Database, its_owner: Database
) -> None:
    """The database refuses it to everybody."""
    seals = await sealed_years_ago(mine, its_owner, 8, 0)
    await armed(its_owner)
    young = {"seal": seals[1].n, "hash": seals[1].hash.hex()}
    for database in (mine, its_owner):
        for said in (None, {**young, "hash": "00"}, young):
            for statement in ("DELETE FROM audit_entries", "DELETE FROM audit_seals"):
                async with database.engine.connect() as tx:
                    if said is not None:
                        entry = text(
                            "INSERT INTO audit_entries (actor_type, actor_id, action, target_type,"
                            " target_id, after) VALUES ('OPERATOR', 'me', 'TRAIL_CUT', 'audit',"
                            " 'trail', CAST(:said AS jsonb))"
                        )
                        await tx.execute(entry, {"said": str(said).replace("'", '"')})
                    with pytest.raises(DBAPIError, match="append-only"):
                        await tx.execute(text(statement))


FORGED = """
    INSERT INTO audit_entries (actor_type, actor_id, action, target_type, target_id, after)
    SELECT 'OPERATOR', 'me', 'TRAIL_CUT', 'audit', 'trail', jsonb_build_object(
        'seal', n, 'hash', encode(hash, 'hex'), 'before', now() - interval '{ago}')
    FROM audit_seals WHERE n = {n}
"""
DROPPED = (
    "DELETE FROM audit_entries USING audit_seals AS seal WHERE seal.n = {n}"
    " AND (created_xid, audit_entries.id) <= (last_xid, last_id)",
    "DELETE FROM audit_seals WHERE n < {n}",
)
TAMPERINGS = {
    "nobody says why": DROPPED,
    "more than was said": (FORGED.replace("{n}", "2").replace("{ago}", "7 years"), *DROPPED),
    "too young": (FORGED.replace("{ago}", "1 day"), *DROPPED),
    "not so old": (FORGED.replace("{ago}", "7 years"), *DROPPED),
    "another hash": (
        FORGED.replace("{ago}", "1 year"),
        *DROPPED,
        "UPDATE audit_seals SET hash = '\\x00' WHERE n = {n}",
    ),
    "entries are left": (
        FORGED.replace("{n}", "2").replace("{ago}", "7 years"),
        "DELETE FROM audit_seals WHERE n < 2",
    ),
}


@pytest.mark.parametrize("how", TAMPERINGS)
async def test_a_retention_that_is_none_is_found(
    mine: Database, its_owner: Database, how: str
) -> None:
    await sealed_years_ago(mine, its_owner, 9, 8, 6, 0)
    assert await breaks(mine) == []

    async with its_owner.begin(SYSTEM) as tx:
        for statement in TAMPERINGS[how]:
            await tx.execute(text(statement.format(n=3)))

    assert await breaks(mine)


async def test_an_old_entry_that_is_put_back_is_found(
    mine: Database, its_owner: Database, temporal_client: Client
) -> None:
    """Below the cut no seal would miss it."""
    seals = await sealed_years_ago(mine, its_owner, 9, 8, 0)
    await armed(its_owner)
    assert await cut(desk(mine, temporal_client), ME, KEEP, "old")
    assert await breaks(mine, seals[1].anchor) == []

    async with its_owner.begin(SYSTEM) as tx:
        made_up = (
            "INSERT INTO audit_entries (id, created_xid, actor_type, actor_id, action,"
            " target_type, target_id) OVERRIDING SYSTEM VALUE"
            " VALUES (1, 1, 'USER', 'me', 'ORDER_CREATED', 'order', '1')"
        )
        await tx.execute(text(made_up))

    assert [each.wrong for each in await breaks(mine)] == [
        "1 entries stand before the place of the cut."
    ]
