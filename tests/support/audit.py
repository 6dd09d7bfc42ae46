"""The audit trail in tests."""

from typing import Any

from sqlalchemy import text

from domain.access import SYSTEM
from domain.audit import Action, Actor, ActorType, AuditEntry, Entry, Noun, Seal, Wanted
from service.audit import seal
from store import audit
from store.database import Database, Transaction
from tests.support.conditions import eventually
from tests.support.samples import new_id

SOMEBODY = Actor(ActorType.OPERATOR, "somebody")
ALL = 10_000


def an_entry(target_id: str | None = None, **more: Any) -> Entry:
    """An entry about a thing of its own."""
    about = (Action.DLQ_DISCARD, Noun.DEAD_LETTER, target_id or new_id())
    return Entry(SOMEBODY, *about, **more)


async def trail(database: Database, **wanted: Any) -> list[AuditEntry]:
    """Whatever was noted, oldest first: of a customer, of a target."""
    async with database.read(SYSTEM) as tx:
        return (await audit.listed(tx, Wanted(**wanted), None, ALL)).items[::-1]


EACH = 3
"""Entries of such a seal."""


async def sealed_years_ago(mine: Database, its_owner: Database, *years: int) -> list[Seal]:
    """A seal for each, with entries of that time."""
    for each in years:
        async with mine.begin(SYSTEM) as tx:
            await audit.append(tx, *(an_entry() for _ in range(EACH)))
        async with its_owner.begin(SYSTEM) as tx:
            await without_triggers(tx)
            ago = f"now() - interval '{each} years'"
            newest = "id > (SELECT coalesce(max(highest_id), 0) FROM audit_seals)"
            await tx.execute(text(f"UPDATE audit_entries SET at = {ago} WHERE {newest}"))  # noqa: S608
        made = await eventually(lambda: seal(mine))
        assert made is not None
        async with its_owner.begin(SYSTEM) as tx:
            await without_triggers(tx)
            then = f"UPDATE audit_seals SET sealed_at = {ago} WHERE n = {made.n}"  # noqa: S608
            await tx.execute(text(then))
    async with mine.read(SYSTEM) as tx:
        return await audit.seals_after(tx, 0, 100)


async def without_triggers(tx: Transaction) -> None:
    """As the owner of the tables can, for the rest of its transaction or until `with_triggers`."""
    for table in ("audit_entries", "audit_seals"):
        await tx.execute(text(f"ALTER TABLE {table} DISABLE TRIGGER USER"))


async def armed(its_owner: Database) -> None:
    async with its_owner.begin(SYSTEM) as tx:
        for table in ("audit_entries", "audit_seals"):
            for trigger in ("append_only_rows", "append_only_table"):
                await tx.execute(text(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {trigger}"))
