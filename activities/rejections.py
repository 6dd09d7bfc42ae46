"""Turns a business refusal into an error that Temporal does not retry."""

from typing import Any

from temporalio.exceptions import ApplicationError
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

from domain.errors import Rejected


class RejectionInterceptor(Interceptor):
    """`Rejected` → a non-retryable `ApplicationError` whose type is the slug."""

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        return _Rejections(next)


class _Rejections(ActivityInboundInterceptor):
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        try:
            return await self.next.execute_activity(input)
        except Rejected as refusal:
            raise ApplicationError(str(refusal), type=refusal.slug, non_retryable=True) from refusal
