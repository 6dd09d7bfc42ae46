"""Updates that wait for a workflow that is not ready, as the product's own do (service/owner)."""

from typing import Any

from temporalio.client import (
    Client,
    Interceptor,
    OutboundInterceptor,
    StartWorkflowUpdateInput,
    WorkflowUpdateHandle,
)
from temporalio.service import RPCError, RPCStatusCode

from tests.support.conditions import eventually


class _Patient(OutboundInterceptor):
    async def start_workflow_update(
        self, input: StartWorkflowUpdateInput
    ) -> WorkflowUpdateHandle[Any]:
        """A busy machine loses workflow tasks to their time-out; then Temporal takes no Update."""

        async def taken() -> WorkflowUpdateHandle[Any] | None:
            try:
                return await self.next.start_workflow_update(input)
            except RPCError as error:
                if error.status is RPCStatusCode.FAILED_PRECONDITION:
                    return None
                raise

        handle = await eventually(taken)
        assert handle is not None
        return handle


class PatientUpdates(Interceptor):
    def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:
        return _Patient(super().intercept_client(next))


def patient(client: Client) -> Client:
    """The same client, whose Updates wait."""
    config = client.config()
    config["interceptors"] = [*config["interceptors"], PatientUpdates()]
    return Client(**config)
