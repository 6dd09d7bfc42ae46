"""Dead letters: kept once, and waiting until somebody has seen to them."""

from domain.access import SYSTEM
from store import dead_letter
from store.database import Database
from tests.support.samples import UNPAID, new_id


async def test_one_is_kept_once_and_waits_until_it_is_resolved(database: Database) -> None:
    id_ = new_id()

    async def waiting() -> list[str]:
        async with database.engine.connect() as tx:
            return [row.id for row in await dead_letter.waiting(tx) if row.id == id_]

    puts, resolved = [], []
    for reason in ("still not paid", "another reason"):
        async with database.begin(SYSTEM) as tx:
            puts.append(await dead_letter.put(tx, id_, "invoice", f"invoice/{id_}", reason, UNPAID))
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
            await dead_letter.put(tx, id_, "invoice", f"invoice/{id_}", "why", UNPAID)

    async with database.engine.connect() as tx:
        rows = [row for row in await dead_letter.waiting(tx) if row.id in ids]

    assert [row.id for row in rows] == ids
    assert [(row.reason, row.body) for row in rows] == [("why", UNPAID)] * 3
