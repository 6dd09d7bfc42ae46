"""The chain of the audit trail: whatever is done to it afterwards is seen, and nothing is left out
of it, in whatever order transactions end."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta

from sqlalchemy import text
from temporalio.client import Client

from domain.access import SYSTEM
from domain.audit import GENESIS, AuditEntry, Break, Seal, sealed
from domain.verification import Finding, Invariant
from service import verification
from service.audit import seal, verify
from service.verification import Sources
from store import audit
from store.database import Database, Transaction
from tests.support.audit import an_entry, trail
from tests.support.conditions import eventually
from tests.support.databases import may_idle

TRIALS = 400
MADE_UP = """
    INSERT INTO audit_entries (created_xid, actor_type, actor_id, action, target_type, target_id)
    VALUES (:xid, 'USER', 'me', 'ORDER_CREATED', 'order', '1')
"""
ANOTHER_CLUSTER = 10**12
"""No transaction of this one has such a number."""


async def note(database: Database, *entries: int) -> None:
    """In one transaction."""
    async with database.begin(SYSTEM) as tx:
        await audit.append(tx, *(an_entry(after={"number": each}) for each in entries))


async def everything_sealed(database: Database) -> list[Seal]:
    """Seal until nothing waits any more; another test's transaction may hold it up meanwhile."""

    async def done() -> bool:
        while await seal(database):
            pass
        async with database.read(SYSTEM) as tx:
            last = await audit.last_seal(tx) or GENESIS
            return not await audit.unsealed(tx, last, 1, all_=True)

    await eventually(done)
    async with database.read(SYSTEM) as tx:
        return await audit.seals_after(tx, 0, 10_000)


async def breaks(tx: Transaction, *anchors: str) -> list[Break]:
    return [each async for each in verify(tx, anchors)]


async def numbers(database: Database) -> list[int]:
    noted = [each.after["number"] for each in await trail(database) if each.after]
    return sorted(each for each in noted if isinstance(each, int))


# Tampering, as the owner of the tables can do it, who switches the triggers off.


async def change(tx: Transaction, dice: random.Random, entries: Sequence[AuditEntry]) -> None:
    how = dice.choice(
        [
            "actor_id = actor_id || 'x'",
            "actor_type = 'SYSTEM'",
            "ip = '192.0.2.9'",
            "action = 'PLAN_WITHDRAWN'",
            "target_id = 'another'",
            "customer_id = 'another'",
            "after = '{\"number\": -1}'",
            "before = '{}'",
            "reason = ''",
            "at = at + interval '1 microsecond'",
            "viewed_from = at",
            "created_xid = created_xid + 1",
            "created_xid = 9000000000000000000",
        ]
    )
    id_ = dice.choice(entries).id
    changed = f"UPDATE audit_entries SET {how} WHERE id = :id"  # noqa: S608 - of ours
    await tx.execute(text(changed), {"id": id_})


async def delete(tx: Transaction, dice: random.Random, entries: Sequence[AuditEntry]) -> None:
    id_ = dice.choice(entries).id
    await tx.execute(text("DELETE FROM audit_entries WHERE id = :id"), {"id": id_})


async def insert(tx: Transaction, dice: random.Random, entries: Sequence[AuditEntry]) -> None:
    """With a number that is free, among what is sealed."""
    like, id_ = dice.choice(entries[:-3]), dice.choice([-5, 10**6])
    await tx.execute(
        text("""
            INSERT INTO audit_entries (id, created_xid, actor_type, actor_id, action, target_type,
                target_id)
            OVERRIDING SYSTEM VALUE
            SELECT :id, created_xid, actor_type, actor_id, action, target_type, target_id
            FROM audit_entries WHERE id = :like
        """),
        {"id": id_, "like": like.id},
    )


async def reorder(tx: Transaction, dice: random.Random, entries: Sequence[AuditEntry]) -> None:
    """What two of them tell, or in which transactions they were."""
    one = dice.choice(entries)
    other = dice.choice([each for each in entries if each.xid != one.xid])
    what = dice.choice(["target_id", "created_xid"])
    swapped = f"""
        UPDATE audit_entries AS mine SET {what} = other.{what} FROM audit_entries AS other
        WHERE mine.id IN (:one, :other) AND other.id IN (:one, :other) AND mine.id <> other.id
    """  # noqa: S608 - of ours
    await tx.execute(text(swapped), {"one": one.id, "other": other.id})


async def cut_tail(tx: Transaction, dice: random.Random, entries: Sequence[AuditEntry]) -> None:
    seals = await audit.seals_after(tx, 0, 10_000)
    last = dice.choice(seals[:-1])
    place = {"xid": last.last_xid, "id": last.last_id}
    await tx.execute(text("DELETE FROM audit_seals WHERE n > :n"), {"n": last.n})
    beyond = "DELETE FROM audit_entries WHERE (created_xid, id) > (:xid, :id)"
    await tx.execute(text(beyond), place)


async def rewrite(tx: Transaction, dice: random.Random, entries: Sequence[AuditEntry]) -> None:
    """And seal everything anew, as we do it."""
    seals = await audit.seals_after(tx, 0, 10_000)
    id_ = dice.choice(entries).id
    await tx.execute(
        text("UPDATE audit_entries SET actor_id = 'somebody else' WHERE id = :id"), {"id": id_}
    )
    await tx.execute(text("DELETE FROM audit_seals"))
    previous = GENESIS
    for each in seals:
        made = sealed(previous, await audit.between(tx, previous, each, None))
        await audit.add_seal(tx, made)
        previous = made


Tampering = Callable[[Transaction, random.Random, Sequence[AuditEntry]], Awaitable[None]]
BY_THE_CHAIN: tuple[Tampering, ...] = (change, delete, insert, reorder)
BY_AN_ANCHOR: tuple[Tampering, ...] = (cut_tail, rewrite)


async def test_each_of_400_tamperings_is_seen(mine: Database, its_owner: Database) -> None:
    dice = random.Random(11)
    for number in range(30):
        await note(mine, *range(number, number + dice.randint(1, 4)))
        if number % 3 == 0:
            await seal(mine)
    last = (await everything_sealed(mine))[-1]
    entries = sorted(await trail(mine), key=lambda each: (each.xid, each.id))
    assert last.n > 5
    assert len(entries) > 50

    async with mine.read(SYSTEM) as reading:
        assert await breaks(reading, last.anchor) == []

    unseen, without_anchor = [], set()
    for trial in range(TRIALS):
        how = (*BY_THE_CHAIN, *BY_AN_ANCHOR)[trial % 6]
        async with its_owner.engine.connect() as tx:
            for table in ("audit_entries", "audit_seals"):
                await tx.execute(text(f"ALTER TABLE {table} DISABLE TRIGGER USER"))
            await how(tx, dice, entries)
            if not await breaks(tx):
                without_anchor.add(how)
                if not await breaks(tx, last.anchor):
                    unseen.append((trial, how.__name__))
            await tx.rollback()

    assert unseen == []
    assert without_anchor == set(BY_AN_ANCHOR), "these the chain alone cannot show"


async def test_a_seal_that_was_changed_or_taken_out_is_seen(
    mine: Database, its_owner: Database
) -> None:
    for number in range(4):
        await note(mine, number)
        await everything_sealed(mine)
    first, second, *_ = await everything_sealed(mine)

    for how in (
        "UPDATE audit_seals SET hash = '\\x00' WHERE n = :n",
        "UPDATE audit_seals SET count = 2 WHERE n = :n",
        "UPDATE audit_seals SET last_id = last_id + 1 WHERE n = :n",
        "UPDATE audit_seals SET from_id = 1 WHERE n = :n",
        "DELETE FROM audit_seals WHERE n = :n",
    ):
        for each in (first, second):
            async with its_owner.engine.connect() as tx:
                await tx.execute(text("ALTER TABLE audit_seals DISABLE TRIGGER USER"))
                await tx.execute(text(how), {"n": each.n})
                assert await breaks(tx), how
                await tx.rollback()


async def test_what_commits_late_is_sealed_in_its_place(mine: Database) -> None:
    """Nothing is sealed behind a transaction that is still open."""
    async with mine.begin(SYSTEM) as open_:
        await may_idle(open_)
        await audit.append(open_, an_entry(after={"number": 1}))
        await note(mine, 2, 3)

        assert await seal(mine) is None

    [made] = await everything_sealed(mine)
    async with mine.read(SYSTEM) as tx:
        in_order = await audit.between(tx, GENESIS, made, None)
        assert [each.after for each in in_order] == [{"number": each} for each in (1, 2, 3)]
        assert await breaks(tx) == []


async def test_nothing_is_lost_or_sealed_twice_while_many_write_and_two_seal(
    mine: Database,
) -> None:
    """Ids, transaction numbers and commits come in three different orders."""
    dice = random.Random(3)
    over = asyncio.Event()
    gates = [asyncio.Event() for _ in range(12)]

    async def write(number: int) -> None:
        async with mine.begin(SYSTEM) as tx:
            if dice.random() < 0.5:
                await tx.execute(text("SELECT pg_current_xact_id()"))
            if dice.random() < 0.5:
                await audit.append(tx, an_entry(after={"number": number}))
                await gates[number % len(gates)].wait()
            else:
                await gates[number % len(gates)].wait()
                await audit.append(tx, an_entry(after={"number": number}))
            if dice.random() < 0.2:
                await tx.rollback()
                left_out.add(number)

    async def seal_meanwhile() -> None:
        while not over.is_set():
            await seal(mine)
            await asyncio.sleep(0)

    left_out = set[int]()
    sealing = [asyncio.create_task(seal_meanwhile()) for _ in range(2)]
    for round_ in range(20):
        for gate in gates:
            gate.clear()
        numbers_ = range(round_ * len(gates), (round_ + 1) * len(gates))
        writing = [asyncio.create_task(write(number)) for number in numbers_]
        for gate in dice.sample(gates, len(gates)):
            await asyncio.sleep(0)
            gate.set()
        await asyncio.gather(*writing)
    over.set()
    await asyncio.gather(*sealing)
    seals = await everything_sealed(mine)

    written = sorted(set(range(20 * len(gates))) - left_out)
    assert await numbers(mine) == written
    assert sum(each.count for each in seals) == len(written)
    assert len(seals) > 1
    async with mine.read(SYSTEM) as tx:
        assert await breaks(tx) == []


async def test_in_another_cluster_the_chain_goes_on(mine: Database, its_owner: Database) -> None:
    """Restored from a dump: the transactions are counted anew, and what nobody had sealed yet goes
    before what is new."""
    async with its_owner.begin(SYSTEM) as tx:
        for number in range(3):
            await tx.execute(text(MADE_UP), {"xid": ANOTHER_CLUSTER + number})
    old = await trail(mine)
    async with mine.begin(SYSTEM) as tx:
        await audit.add_seal(tx, sealed(GENESIS, old[:2]))
    await note(mine, 4)

    seals = await everything_sealed_anew(mine)

    assert [each.count for each in seals] == [2, 1, 1]
    assert [each.from_id for each in seals] == [GENESIS.from_id, GENESIS.from_id, old[-1].id + 1]
    async with mine.read(SYSTEM) as tx:
        assert await breaks(tx) == []
    async with its_owner.engine.connect() as tx:
        forged = MADE_UP.replace("(created_xid", "(id, created_xid").replace("(:xid", "(-1, :xid")
        forged = forged.replace("VALUES", "OVERRIDING SYSTEM VALUE VALUES")
        await tx.execute(text(forged), {"xid": 2 * ANOTHER_CLUSTER})
        assert await breaks(tx), "behind the end of the segment that is over"
        await tx.rollback()


async def everything_sealed_anew(database: Database) -> list[Seal]:
    async def three() -> list[Seal]:
        await seal(database)
        async with database.read(SYSTEM) as tx:
            found = await audit.seals_after(tx, 0, 10)
        return found if len(found) == 3 else []

    return await eventually(three)


async def looked(database: Database, client: Client, invariant: Invariant) -> Finding:
    report = await verification.verify(Sources(database, client, (), timedelta(0)))
    [found] = [each for each in report.findings if each.invariant is invariant]
    return found


async def test_what_is_not_sealed_within_a_minute_is_a_violation(
    mine: Database, its_owner: Database, temporal_client: Client
) -> None:
    await note(mine, 1)
    async with its_owner.begin(SYSTEM) as tx:
        old = MADE_UP.replace("(created_xid", "(at, created_xid").replace("(:xid", "(:at, :xid")
        values = {"at": datetime.now(UTC) - timedelta(minutes=2), "xid": ANOTHER_CLUSTER}
        await tx.execute(text(old), values)

    found = await looked(mine, temporal_client, Invariant.AUDIT_SEALED)

    assert (found.looked_at, found.violations) == (2, 1)
    assert found.first[0].wrong.endswith("and is not sealed.")


async def test_a_seal_that_does_not_hold_is_a_violation(
    mine: Database, its_owner: Database, temporal_client: Client
) -> None:
    for number in range(3):
        await note(mine, number)
        await everything_sealed(mine)
    whole = await looked(mine, temporal_client, Invariant.AUDIT_CHAIN)
    async with its_owner.begin(SYSTEM) as tx:
        await tx.execute(text("ALTER TABLE audit_entries DISABLE TRIGGER USER"))
        await tx.execute(text("UPDATE audit_entries SET reason = 'another' WHERE id = 2"))

    found = await looked(mine, temporal_client, Invariant.AUDIT_CHAIN)

    assert (whole.looked_at, whole.violations) == (3, 0)
    assert [each.id for each in found.first] == ["seal 2"]
