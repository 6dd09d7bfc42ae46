"""API keys on a real database: who is believed, for how long, and what is kept."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

import pytest
from sqlalchemy import func, select, update
from temporalio.client import Client

from domain.access import SYSTEM, Access, at_the_machine
from domain.api_key import Mode, text_of
from domain.errors import InvalidRequest, NotFound, Unauthenticated
from domain.roles import Role, TokenScope
from service import key
from service.desk import Desk
from service.key import (
    BELIEVED_SECONDS,
    NOTED_EVERY,
    Issued,
    KeyRing,
    Keys,
    KeysUnreachable,
    NewKey,
)
from store import clock
from store.database import Database
from store.tables import api_keys
from tests.api.documents import closed_port
from tests.support.audit import trail
from tests.support.databases import connected
from tests.support.desks import desk as a_desk
from tests.support.samples import new_id

RING = KeyRing({"first": "f" * 32}, Mode.LIVE)
WHO = at_the_machine("tests")
ANYWHERE = "203.0.113.5"


@pytest.fixture
def desk(database: Database, temporal_client: Client) -> Desk:
    return a_desk(database, temporal_client)


@asynccontextmanager
async def keys(
    database: Database, ring: KeyRing = RING, believed_seconds: float = BELIEVED_SECONDS
) -> AsyncIterator[Keys]:
    """As a process has them."""
    made = Keys(database, ring, believed_seconds)
    yield made
    await made.close()


async def made(desk: Desk, **wish: object) -> Issued:
    return await key.create(desk, RING, WHO, NewKey("test", Role.SERVICE, **wish))  # type: ignore[arg-type]


async def row(database: Database, id_: str) -> tuple[str, bytes, datetime | None]:
    query = select(api_keys.c.digest_secret, api_keys.c.digest, api_keys.c.last_used_at)
    async with database.read(SYSTEM) as tx:
        found = (await tx.execute(query.where(api_keys.c.id == id_))).one()
        return found[0], bytes(found[1]), found[2]


async def test_whoever_sends_a_key_is_its_holder(desk: Desk, database: Database) -> None:
    issued = await made(desk)
    async with keys(database) as ours:
        access = await ours.access_of(issued.text, ANYWHERE)

    assert access == Access(
        f"key/{issued.key.id}", frozenset({Role.SERVICE}), "", token_id=issued.key.id
    )


async def test_of_a_key_nothing_is_kept_that_could_be_sent(desk: Desk, database: Database) -> None:
    issued = await made(desk)
    async with database.read(SYSTEM) as tx:
        stored = (
            await tx.execute(
                select(func.row_to_json(api_keys.table_valued())).where(
                    api_keys.c.id == issued.key.id
                )
            )
        ).scalar_one()

    chance = issued.text.removeprefix(f"dbk_live_{issued.key.id}_")
    assert chance not in str(stored)


async def test_another_key_with_the_same_id_is_not_believed(desk: Desk, database: Database) -> None:
    """Also not while the right one is remembered."""
    issued = await made(desk)
    forged = text_of(Mode.LIVE, issued.key.id, "x" * 32)
    async with keys(database) as ours:
        for _ in range(2):
            with pytest.raises(Unauthenticated, match="not known"):
                await ours.access_of(forged, ANYWHERE)
            await ours.access_of(issued.text, ANYWHERE)


async def test_a_mistyped_key_asks_no_database(desk: Desk) -> None:
    async with nowhere() as away, keys(away) as ours:
        with pytest.raises(Unauthenticated, match="mistake"):
            await ours.access_of("dbk_live_abcdefgh_" + "x" * 38, ANYWHERE)
        with pytest.raises(KeysUnreachable):
            await ours.access_of(text_of(Mode.LIVE, "a" * 8, "x" * 32), ANYWHERE)


@asynccontextmanager
async def nowhere() -> AsyncIterator[Database]:
    url = f"postgresql://billing_app@127.0.0.1:{closed_port()}/billing"
    async with connected(url, pool_size=1) as database:
        yield database


async def test_a_key_of_a_test_is_none_in_production(desk: Desk, database: Database) -> None:
    test_ring = KeyRing(RING.secrets, Mode.TEST)
    issued = await key.create(desk, test_ring, WHO, NewKey("test", Role.SERVICE))
    async with keys(database, test_ring) as ours, keys(database) as production:
        await ours.access_of(issued.text, ANYWHERE)
        with pytest.raises(Unauthenticated, match="test"):
            await production.access_of(issued.text, ANYWHERE)


async def test_a_revoked_key_is_believed_by_whoever_remembers_it_and_by_nobody_else(
    desk: Desk, database: Database
) -> None:
    issued = await made(desk)
    async with (
        keys(database) as remembering,
        keys(database) as another,
        keys(database, believed_seconds=0) as later,
    ):
        for each in (remembering, later):
            await each.access_of(issued.text, ANYWHERE)
        await key.revoke(desk, WHO, issued.key.id)

        await remembering.access_of(issued.text, ANYWHERE)
        for each in (another, later):
            with pytest.raises(Unauthenticated, match="revoked"):
                await each.access_of(issued.text, ANYWHERE)


async def test_a_key_is_revoked_once(desk: Desk) -> None:
    issued = await made(desk)

    first = await key.revoke(desk, WHO, issued.key.id)
    second = await key.revoke(desk, WHO, issued.key.id)

    assert first.revoked_at is not None
    assert second == first
    with pytest.raises(NotFound):
        await key.revoke(desk, WHO, "nobody00")


async def test_a_key_that_has_expired_is_not_believed(desk: Desk, database: Database) -> None:
    issued = await made(desk)
    async with database.begin(SYSTEM) as tx:
        past = await clock.now(tx)
        await tx.execute(
            update(api_keys).where(api_keys.c.id == issued.key.id).values(expires_at=past)
        )
    async with keys(database) as ours:
        with pytest.raises(Unauthenticated, match="expired"):
            await ours.access_of(issued.text, ANYWHERE)
    with pytest.raises(InvalidRequest, match="past"):
        await made(desk, expires_at=past)


async def test_after_a_rotation_both_keys_are_one_caller_and_the_old_one_ends(
    desk: Desk, database: Database
) -> None:
    old = await made(desk)

    new = await key.rotate(desk, RING, WHO, old.key.id, timedelta(days=7))
    third = await key.rotate(desk, RING, WHO, new.key.id, timedelta(days=7))

    async with keys(database) as ours:
        found = [await ours.access_of(each.text, ANYWHERE) for each in (old, new, third)]
    assert [each.caller for each in found] == [f"key/{old.key.id}"] * 3
    listed = {each.id: each for each in await key.page(desk, None, None, 100_000)}
    assert listed[old.key.id].expires_at == new.key.created_at + timedelta(days=7)
    assert third.key.expires_at is None


async def test_if_the_new_key_got_lost_another_one_lives_as_long_as_it_would_have(
    desk: Desk,
) -> None:
    """Not only until the overlap of the old one ends."""
    old = await made(desk)
    lost = await key.rotate(desk, RING, WHO, old.key.id, timedelta(days=7))
    await key.revoke(desk, WHO, lost.key.id)

    again = await key.rotate(desk, RING, WHO, old.key.id, timedelta(days=1))

    assert again.key.expires_at is None
    assert again.key.access.caller == old.key.access.caller


async def test_the_trail_of_a_key_tells_its_life_and_nothing_that_could_be_sent(
    desk: Desk, database: Database
) -> None:
    old = await made(desk, scopes=frozenset({TokenScope.USAGE}), networks=("10.0.0.0/8",))
    new = await key.rotate(desk, RING, WHO, old.key.id, timedelta(days=7))
    for _ in range(2):
        await key.revoke(desk, WHO, old.key.id)

    of_old, of_new = [await trail(database, target_id=each.key.id) for each in (old, new)]

    assert [each.action for each in of_old] == [
        "API_KEY_CREATED",
        "API_KEY_ROTATED",
        "API_KEY_REVOKED",
    ]
    assert [each.action for each in of_new] == ["API_KEY_CREATED"]
    assert of_old[1].after is not None
    assert of_old[1].after["replacedBy"] == new.key.id
    assert of_new[0].after == {**(of_old[0].after or {})}
    for each in (old, new):
        _, digest, _ = await row(database, each.key.id)
        chance = each.text.removeprefix(f"dbk_live_{each.key.id}_")
        for entry in (*of_old, *of_new):
            assert chance not in str(entry)
            assert digest.hex() not in str(entry)


async def test_without_overlap_the_old_key_ends_with_the_rotation(
    desk: Desk, database: Database
) -> None:
    old = await made(desk)
    await key.rotate(desk, RING, WHO, old.key.id, timedelta())
    async with keys(database) as ours:
        with pytest.raises(Unauthenticated, match="expired"):
            await ours.access_of(old.text, ANYWHERE)
    with pytest.raises(InvalidRequest, match="create a new one"):
        await key.rotate(desk, RING, WHO, old.key.id, timedelta())


async def test_a_rotated_key_that_would_have_ended_ends_when_it_would_have(
    desk: Desk, database: Database
) -> None:
    async with database.read(SYSTEM) as tx:
        tomorrow = await clock.now(tx) + timedelta(days=1)
    old = await made(desk, expires_at=tomorrow)

    new = await key.rotate(desk, RING, WHO, old.key.id, timedelta(days=7))

    assert new.key.expires_at == tomorrow
    listed = {each.id: each for each in await key.page(desk, None, None, 100_000)}
    assert listed[old.key.id].expires_at == tomorrow


async def test_a_key_is_believed_from_its_networks_only(desk: Desk, database: Database) -> None:
    issued = await made(desk, networks=("10.1.0.0/16", "2001:db8::/32"))
    async with keys(database) as ours:
        for near in ("10.1.2.3", "2001:db8::7"):
            await ours.access_of(issued.text, near)
        for far in ("10.2.0.1", "2001:db9::1", "unknown"):
            with pytest.raises(Unauthenticated, match="address"):
                await ours.access_of(issued.text, far)


async def test_50_uses_at_once_are_noted_once_and_nobody_waits_for_it(
    desk: Desk, database: Database
) -> None:
    issued = await made(desk)
    async with keys(database) as ours:
        await asyncio.gather(*(ours.access_of(issued.text, ANYWHERE) for _ in range(50)))
    _, _, first = await row(database, issued.key.id)
    async with keys(database) as another:
        await another.access_of(issued.text, ANYWHERE)

    assert first is not None
    assert (await row(database, issued.key.id))[2] == first, "within a minute, by another process"


async def test_a_use_is_noted_again_a_minute_later(desk: Desk, database: Database) -> None:
    issued = await made(desk)
    async with database.begin(SYSTEM) as tx:
        before = await clock.now(tx) - NOTED_EVERY
        await tx.execute(
            update(api_keys).where(api_keys.c.id == issued.key.id).values(last_used_at=before)
        )
    async with keys(database) as ours:
        await ours.access_of(issued.text, ANYWHERE)

    noted = (await row(database, issued.key.id))[2]
    assert noted is not None
    assert noted > before


async def test_a_key_that_is_used_moves_to_the_new_secret_and_outlives_the_old_one(
    desk: Desk, database: Database
) -> None:
    used, unused = await made(desk), await made(desk)
    both = KeyRing({"second": "s" * 32, **RING.secrets}, Mode.LIVE)
    async with keys(database, both) as ours:
        await ours.access_of(used.text, ANYWHERE)

    assert (await row(database, used.key.id))[0] == "second"
    alone = KeyRing({"second": "s" * 32}, Mode.LIVE)
    async with keys(database, alone) as ours:
        await ours.access_of(used.text, ANYWHERE)
        with pytest.raises(Unauthenticated, match="not known"):
            await ours.access_of(unused.text, ANYWHERE)


async def test_what_cannot_be_a_key_is_not_made(desk: Desk) -> None:
    with pytest.raises(NotFound):
        await key.create(desk, RING, WHO, NewKey("x", Role.CUSTOMER, new_id()))
    with pytest.raises(InvalidRequest, match="no network"):
        await made(desk, networks=("10.1.0.1/16",))
    with pytest.raises(NotFound):
        await key.rotate(desk, RING, WHO, "nobody00", timedelta())


async def test_pages_of_keys_hold_each_of_them_once(desk: Desk) -> None:
    ours = {(await made(desk)).key.id for _ in range(5)}
    seen: list[str] = []
    while page := await key.page(desk, None, seen[-1] if seen else None, 2):
        seen += [each.id for each in page]

    assert ours <= set(seen)
    assert len(seen) == len(set(seen))
