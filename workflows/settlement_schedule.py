"""ScheduledSettlement: what the monthly Schedule starts. It only starts the run of the right month.

A Schedule appends a time to the id of what it starts, so it cannot start `settlement-run/{period}`
itself. The month is the one before the time that was scheduled, not before now: a start that was
caught up weeks later settles the month that it was meant for.
"""

from dataclasses import replace
from datetime import datetime

from temporalio import workflow
from temporalio.common import SearchAttributeKey
from temporalio.exceptions import FailureError

with workflow.unsafe.imports_passed_through():
    from domain.period import Period
    from domain.run import RunRequest

from workflows import starts
from workflows.settlement_run import SettlementRun

SCHEDULED_AT = SearchAttributeKey.for_datetime("TemporalScheduledStartTime")
"""Set by the server on everything that a Schedule starts."""


@workflow.defn(name="ScheduledSettlement")
class ScheduledSettlement:
    """Ends when the run has started; answers with its month."""

    @workflow.run
    async def run(self, template: RunRequest) -> str:
        scheduled_at: datetime = (
            workflow.info().typed_search_attributes.get(SCHEDULED_AT) or workflow.now()
        )
        period = str(Period.containing(scheduled_at, "UTC").previous())
        run = replace(template, period=period)
        try:
            await workflow.start_child_workflow(
                SettlementRun.run, run, **starts.of_settlement_run(run).as_child()
            )
        except FailureError:
            workflow.logger.info("the month is being settled already")
        return period
