"""The audit trail in tests."""

from typing import Any

from domain.access import SYSTEM
from domain.audit import Action, Actor, ActorType, AuditEntry, Entry, Noun, Wanted
from store import audit
from store.database import Database
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
        return (await audit.listed(tx, Wanted(**wanted), None, ALL))[::-1]
