"""OutboxRelay: the one workflow `outbox`; owns the one activity that publishes events."""

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.outbox import OutboxActivities, RelayTurn

from workflows import policies


@workflow.defn(name="OutboxRelay")
class OutboxRelay:
    """Runs for ever, a turn at a time, so that its history stays short."""

    @workflow.run
    async def run(self) -> None:
        await workflow.execute_activity_method(
            OutboxActivities.relay,
            RelayTurn(policies.RELAY_TURN),
            **policies.relay("publish events"),
        )
        workflow.continue_as_new()
