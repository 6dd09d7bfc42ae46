"""OutboxRelay: one per shard, `outbox/{shard}`; owns the one activity that publishes it."""

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.outbox import OutboxActivities, RelayTurn

from workflows import policies


def outbox_workflow_id(shard: int) -> str:
    return f"outbox/{shard}"


@workflow.defn(name="OutboxRelay")
class OutboxRelay:
    """Runs for ever, a turn at a time, so that its history stays short."""

    @workflow.run
    async def run(self, shard: int) -> None:
        await workflow.execute_activity_method(
            OutboxActivities.relay,
            RelayTurn(shard, policies.RELAY_TURN),
            **policies.relay(f"publish the events of shard {shard}"),
        )
        workflow.continue_as_new(shard)
