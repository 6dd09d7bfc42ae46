"""ScheduledSettlement: what the monthly Schedule starts. It only starts the run of the right month.

A Schedule appends a time to the id of what it starts, so it cannot start `settlement-run/{period}`
itself. The month is the one before the time that was scheduled, not before now: a start that was
caught up weeks later settles the month that it was meant for.
"""

from dataclasses import replace
from datetime import datetime

from temporalio import workflow
from temporalio.common import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes
from temporalio.exceptions import FailureError

with workflow.unsafe.imports_passed_through():
    from domain.period import Period
    from domain.settlement import RunRequest

from workflows import policies, search_attributes
from workflows.settlement_run import SettlementRun, settlement_run_workflow_id

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
        try:
            await workflow.start_child_workflow(
                SettlementRun.run,
                replace(template, period=period),
                id=settlement_run_workflow_id(period),
                task_timeout=policies.TASK_TIMEOUT,
                parent_close_policy=workflow.ParentClosePolicy.ABANDON,
                search_attributes=TypedSearchAttributes(
                    [SearchAttributePair(search_attributes.PERIOD, period)]
                ),
                static_summary=f"settle {period}",
            )
        except FailureError:
            workflow.logger.info("the month is being settled already")
        return period
