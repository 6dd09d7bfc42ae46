"""Steps: who did what, and the proof that nobody has changed it since."""

from sqlalchemy import text

from dev.demo import month
from dev.demo.stage import Stage
from dev.demo.verdict import expect
from domain.access import SYSTEM
from domain.audit import Action, Noun
from service import audit
from store.database import Transaction, connect

# What only the owner of the tables can do, and no part of the product does.
_TAMPERING = (
    "ALTER TABLE audit_entries DISABLE TRIGGER USER",
    "UPDATE audit_entries SET actor_id = 'nobody' WHERE id = :id",
)


async def approved_by(stage: Stage) -> None:
    """The trail of the invoice that a person approved."""
    id_ = (await month.of(stage, month.LARGE))["id"]
    await month.command(
        stage, "audit", "list", "--target-type", Noun.INVOICE, "--target-id", id_, "--limit", "5"
    )
    found = await _approval(stage, id_)
    expect("why it was approved", found["reason"], "as agreed with the customer")
    stage.tell(f"{found['actorId']} approved it, from {found['ip']}; the settlement issued it.")


async def tampering(stage: Stage) -> None:
    """Somebody with every right to the tables makes it somebody else who approved: it is found."""
    id_ = (await _approval(stage, (await month.of(stage, month.LARGE))["id"]))["id"]

    async def is_sealed() -> bool:
        async with stage.desk.database.read(SYSTEM) as tx:
            return id_ not in [each.id for each in await audit.waiting(tx)]

    await stage.until("the trail is sealed", is_sealed)
    owner = connect(stage.stack.endpoints.database_owner_url, pool_size=1)
    try:
        async with owner.engine.connect() as tx:
            expect("the trail before", await _breaks(tx), [])
            for statement in _TAMPERING:
                await tx.execute(text(statement), {"id": id_})
            [found] = await _breaks(tx)
            await tx.rollback()
    finally:
        await owner.dispose()
    stage.tell(f"The triggers off, and entry {id_} changed to say that nobody approved it.")
    stage.tell(f"Found: {found} The change was taken back.")
    await month.command(stage, "audit", "verify")


async def _approval(stage: Stage, invoice_id: str) -> dict[str, object]:
    path = f"/api/v1/audit?targetId={invoice_id}&action={Action.INVOICE_APPROVED}"
    [found] = (await stage.shop.get(path))["items"]
    return dict(found)


async def _breaks(tx: Transaction) -> list[str]:
    return [f"seal {each.n}: {each.wrong}" async for each in audit.verify(tx)]


STEPS = (
    ("Who approved the large invoice", approved_by),
    ("A row of the audit trail is tampered with", tampering),
)
"""Title and step, in order."""
