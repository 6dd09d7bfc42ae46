"""The audit trail as it is found in the database itself: its seals, and all of it."""

from collections.abc import Sequence
from datetime import timedelta

import orjson
import typer

from cli.system import connected
from domain.access import SYSTEM
from domain.audit import Break, Seal, Wanted
from domain.audit_export import Format, ocsf, written
from runtime.version import VERSION
from service import audit
from store.database import BATCH_SECONDS


async def verified(anchors: Sequence[str], after: int) -> tuple[Seal, list[Break]]:
    """The last seal, and where the chain breaks or an anchor does not hold."""
    async with connected(BATCH_SECONDS) as system, system.desk.database.read(SYSTEM) as tx:
        found = [each async for each in audit.verify(tx, anchors, after)]
        return await audit.head(tx), found


async def last_seal() -> Seal:
    """With which the chain ends now."""
    async with connected() as system, system.desk.database.read(SYSTEM) as tx:
        return await audit.head(tx)


async def dropped(reason: str) -> tuple[Seal, int] | None:
    """With which seal the chain begins now, and how many entries are gone; None if none is old."""
    async with connected(BATCH_SECONDS) as system:
        keep = timedelta(days=system.settings.audit_days)
        return await audit.cut(system.desk, system.access, keep, reason)


async def exported(form: Format, wanted: Wanted) -> None:
    """A line for each entry, on standard output."""
    async with connected() as system:
        async for each in audit.export(system.desk, system.access, wanted):
            line = written(each) if form is Format.JSONL else ocsf(each, VERSION)
            typer.echo(orjson.dumps(line))
