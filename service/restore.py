"""After a dump was restored: what Temporal remembers, and the database does not."""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime

from temporalio.client import Client, WorkflowExecution, WorkflowExecutionStatus
from temporalio.service import RPCError

from domain.access import SYSTEM
from domain.restore import Noun, Remembered, Standing, standing
from service.temporal import TemporalUnreachable
from service.verification import OWNERS, TEMPORAL_TIMEOUT
from store import restore
from store.database import Database
from workflows.search_attributes import CUSTOMER_ID

PAGE = 500


async def compare(
    database: Database, client: Client, since: datetime
) -> AsyncIterator[tuple[Remembered, Standing]]:
    """Every workflow that ran after the dump was made, where the database does not agree with it.
    Raises `TemporalUnreachable`."""
    async for page in _remembered(client, since):
        async with database.read(SYSTEM) as tx:
            is_open = await restore.known(tx, [each.workflow_id for each in page])
        for each in page:
            if found := standing(each, is_open):
                yield each, found


async def _remembered(client: Client, since: datetime) -> AsyncIterator[Sequence[Remembered]]:
    """The last run of each, page by page: one that was started again stands for those before."""
    moment = since.isoformat()
    query = f"{OWNERS} AND (ExecutionStatus = 'Running' OR CloseTime >= '{moment}')"
    page: dict[str, Remembered] = {}
    seen: set[str] = set()
    try:
        async for each in client.list_workflows(
            query, page_size=PAGE, rpc_timeout=TEMPORAL_TIMEOUT
        ):
            if each.id not in seen:  # The newest is listed first.
                seen.add(each.id)
                page[each.id] = _of(each)
            if len(page) == PAGE:
                yield list(page.values())
                page = {}
    except (RPCError, RuntimeError) as error:
        raise TemporalUnreachable(str(error)) from error
    yield list(page.values())


def _of(found: WorkflowExecution) -> Remembered:
    noun, _, name = found.id.partition("/")
    customer = found.typed_search_attributes.get(CUSTOMER_ID)
    runs = found.status is WorkflowExecutionStatus.RUNNING
    return Remembered(Noun(noun), name, customer or "", found.start_time, runs)
