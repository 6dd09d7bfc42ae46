"""Dead letters: kept once, and waiting until somebody has seen to them."""

from domain.access import SYSTEM
from store import dead_letter
from store.database import Database
from tests.support.samples import new_id

BODY = {
    "customerId": "acme-corp",
    "period": "2026-05",
    "currency": "KRW",
    "total": 1,
    "dueAt": "2026-06-15T00:00:00+00:00",
    "attempts": [],
}
"""As an invoice's is: the command line lists whatever waits."""


async def test_one_is_kept_once_and_waits_until_it_is_resolved(database: Database) -> None:
    id_ = new_id()

    async def waiting() -> list[str]:
        async with database.engine.connect() as tx:
            return [row.id for row in await dead_letter.waiting(tx) if row.id == id_]

    puts, resolved = [], []
    for reason in ("still not paid", "another reason"):
        async with database.begin(SYSTEM) as tx:
            puts.append(await dead_letter.put(tx, id_, "invoice", f"invoice/{id_}", reason, BODY))
    assert await waiting() == [id_]
    for _ in range(2):
        async with database.begin(SYSTEM) as tx:
            resolved.append(await dead_letter.resolve(tx, id_))

    assert (puts, resolved) == ([True, False], [True, False])
    assert await waiting() == []


async def test_the_oldest_comes_first_with_all_that_explains_it(database: Database) -> None:
    ids = [new_id() for _ in range(3)]
    for id_ in ids:
        async with database.begin(SYSTEM) as tx:
            await dead_letter.put(tx, id_, "invoice", f"invoice/{id_}", "why", BODY)

    async with database.engine.connect() as tx:
        rows = [row for row in await dead_letter.waiting(tx) if row.id in ids]

    assert [row.id for row in rows] == ids
    assert [(row.reason, row.body) for row in rows] == [("why", BODY)] * 3
