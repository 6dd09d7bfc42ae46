"""The audit trail: sealed behind the path, looked through, and proven."""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta
from itertools import groupby

from domain.access import SYSTEM, Access
from domain.audit import (
    GENESIS,
    LOWEST,
    STAFF,
    TRAIL,
    Action,
    AuditEntry,
    Break,
    Entry,
    Noun,
    Seal,
    Wanted,
    actor,
    breaks,
    cut_off,
    cuts_at,
    sealed,
    sealed_event,
    unlike,
    wrongly_begun,
)
from domain.event import JSON
from service.desk import Desk
from store import audit, clock, outbox
from store.database import Database, Transaction
from store.page import Page, Place

LIST = "list"
"""What somebody looks at who looks at many of a kind."""
BATCH = 1_000
"""Entries of a seal at most."""
PAGE = 50
"""Seals that are looked at together."""


async def seal(database: Database) -> Seal | None:
    """Seal what nothing can come before any more; None where there is nothing, or somebody else
    does it. The anchor leaves with the events."""
    async with database.begin(SYSTEM) as tx:
        if not await audit.lock_chain(tx):
            return None
        previous = await audit.last_seal(tx) or GENESIS
        restored = await audit.was_restored(tx, previous)
        entries = await audit.unsealed(tx, previous, BATCH, all_=restored)
        if restored and not entries:
            previous = previous.anew()
            entries = await audit.unsealed(tx, previous, BATCH, all_=False)
        if not entries:
            return None
        made = sealed(previous, entries)
        await audit.add_seal(tx, made)
        await outbox.append(tx, sealed_event(made))
    return made


async def verify(
    tx: Transaction, anchors: Sequence[str] = (), after: int = 0
) -> AsyncIterator[Break]:
    """Compute every seal after the nth again, and compare what was anchored: where it breaks. An
    anchor of what was cut off by its retention has nothing to be compared with."""
    begin = GENESIS
    if (first := await audit.first_seal(tx)) is not None:
        cut_ = await audit.last_cut(tx)
        begin = first if first.n > 1 or cuts_at(cut_, first) else GENESIS
        left_over = await audit.count_until(tx, first) if cuts_at(cut_, first) else 0
        for wrong in wrongly_begun(first, cut_, left_over):
            yield wrong
    previous = (await audit.seal(tx, after) if after > begin.n else None) or begin
    while page := await audit.seals_after(tx, previous.n, PAGE):
        for from_id, group in groupby(page, lambda each: each.from_id):
            seals = list(group)
            begun = previous if from_id == previous.from_id else previous.anew()
            for each in await _breaks(tx, begun, seals):
                yield each
            previous = seals[-1]
    for anchor in anchors:
        n = int(anchor.partition(":")[0])
        kept = await audit.seal(tx, n) if n else GENESIS
        differs = unlike(anchor, kept) if not n or n >= begin.n else None
        if differs is not None:
            yield differs


async def _breaks(tx: Transaction, previous: Seal, seals: Sequence[Seal]) -> list[Break]:
    following = await audit.seals_after(tx, seals[-1].n, 1)
    ends = following and following[0].from_id != seals[-1].from_id
    below = await audit.next_segment(tx, seals[-1]) if ends else None
    return list(breaks(previous, seals, await audit.between(tx, previous, seals[-1], below)))


async def cut(desk: Desk, access: Access, keep: timedelta, reason: str) -> tuple[Seal, int] | None:
    """Drop what was sealed longer ago than that: the last seal of it, which stays as what the next
    one follows, and how many entries went. None where nothing is so old."""
    async with desk.database.begin(SYSTEM) as tx:
        before = await clock.now(tx) - keep
        seed = await audit.last_sealed_before(tx, before)
        if seed is None or cuts_at(await audit.last_cut(tx), seed):
            return None
        await audit.append(tx, cut_off(actor(access), seed, before, reason))
        return seed, await audit.drop_until(tx, seed)


async def head(tx: Transaction) -> Seal:
    """The last seal: whoever keeps its anchor elsewhere can tell later whether all is there."""
    return await audit.last_seal(tx) or GENESIS


async def waiting(tx: Transaction) -> list[AuditEntry]:
    """What no seal has yet, as far as one could have it."""
    return await audit.unsealed(tx, await head(tx), BATCH, all_=True)


async def oldest_unsealed_age_seconds(tx: Transaction, now: datetime) -> float:
    """How long the entry waits that is the next to be sealed; 0 without one."""
    for entry in await audit.unsealed(tx, await head(tx), 1, all_=True):
        return (now - entry.at).total_seconds()
    return 0.0


async def listed(
    desk: Desk, access: Access, wanted: Wanted, place: Place | None, limit: int
) -> Page[AuditEntry]:
    """The entries below a place, newest first."""
    async with desk.database.read(access.scope) as tx:
        found = await audit.listed(tx, wanted, place, limit)
    await looked_through(desk, access, Noun.AUDIT, wanted.customer_id, TRAIL)
    return found


async def export(desk: Desk, access: Access, wanted: Wanted) -> AsyncIterator[AuditEntry]:
    """Every entry, oldest first. That somebody takes it away is noted first, always."""
    after: dict[str, JSON] = {
        "since": None if wanted.since is None else wanted.since.isoformat(),
        "until": None if wanted.until is None else wanted.until.isoformat(),
    }
    async with desk.database.begin(access.scope) as tx:
        taken = Entry(actor(access), Action.DATA_EXPORTED, Noun.AUDIT, TRAIL, after=after)
        await audit.append(tx, taken)
    last_id = LOWEST
    async with desk.database.read(access.scope) as tx:
        while rows := await audit.after(tx, wanted, last_id, BATCH):
            for row in rows:
                yield row
            last_id = rows[-1].id


async def break_glass(database: Database, access: Access, command: str, reason: str | None) -> None:
    """Somebody is about to act past the API: noted first, always."""
    words: dict[str, JSON] = {"command": command}
    used = Entry(
        actor(access),
        Action.BREAK_GLASS_USED,
        Noun.COMMAND,
        command.split(" ")[0],
        after=words,
        reason=reason,
    )
    async with database.begin(SYSTEM) as tx:
        await audit.append(tx, used)


async def viewed(desk: Desk, access: Access, noun: Noun, id_: str, customer_id: str | None) -> None:
    """Somebody of the staff has looked at a customer's data: noted once in ten minutes, before they
    are given. What is the caller's own is not noted, and costs it nothing."""
    who = actor(access)
    if who.type not in STAFF or customer_id == access.customer_id:
        return
    async with desk.database.statements(access.scope) as tx:
        await audit.view(tx, who, noun, id_, customer_id)


async def looked_through(
    desk: Desk, access: Access, noun: Noun, customer_id: str | None, what: str = LIST
) -> None:
    """The same of many things of a kind: those of one customer are others than those of the
    next."""
    id_ = what if customer_id is None else f"{what}/{customer_id}"
    await viewed(desk, access, noun, id_, customer_id)
