"""GatewayHurry: whoever waits for a PG asks it now, `gateway-hurry/{name}`.

A hint is a reason to ask and no answer, and takes no step of the ladder of waits: so this is
harmless at any time, and as often as somebody wants it.
"""

import asyncio
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

from temporalio import workflow
from temporalio.exceptions import FailureError

with workflow.unsafe.imports_passed_through():
    from activities.hurry import HurryActivities
    from domain.gateway_health import HurryPage, HurryRequest

from workflows import policies

HINT = "gateway_hint"
"""The signal, as payments and refunds call it."""
_A_SECOND = timedelta(seconds=1)


@workflow.defn(name="GatewayHurry")
class GatewayHurry:
    """One of them for each PG, so that all who want it together are as slow as one."""

    @workflow.init
    def __init__(self, hurry: HurryRequest) -> None:
        self._again = hurry.again

    @workflow.run
    async def run(self, hurry: HurryRequest) -> None:
        """Until everybody was hinted who waited when this was last asked for."""
        hinted = 0
        while True:
            if hurry.after is None:
                self._again = False
            page = await self._next(hurry)
            await asyncio.gather(*map(_hint, page.workflow_ids))
            if page.last is None and not self._again:
                return
            hinted += len(page.workflow_ids)
            await workflow.sleep(_A_SECOND, summary="not too many at once")
            hurry = replace(hurry, after=page.last)
            if hinted >= hurry.per_execution:
                workflow.continue_as_new(replace(hurry, again=self._again))

    @workflow.signal
    def again(self) -> None:
        """Somebody else wants it too: who has asked in vain meanwhile asks once more."""
        self._again = True

    async def _next(self, hurry: HurryRequest) -> HurryPage:
        return await workflow.execute_local_activity_method(
            HurryActivities.next,
            hurry,
            **policies.step(f"who waits for {hurry.gateway}?"),
        )


async def _hint(workflow_id: str) -> None:
    """One that has ended meanwhile needs none."""
    with suppress(FailureError):
        await workflow.get_external_workflow_handle(workflow_id).signal(HINT)
