"""The hourly look at whether everything agrees with everything."""

from collections.abc import Awaitable, Callable

import structlog
from temporalio import activity

from activities.heartbeat import heartbeats
from domain.verification import PROMISES, Report

log = structlog.get_logger()


class VerificationActivities:
    """Reads only. It asks the database, Temporal and the PGs in one step, because what differs
    between them is looked at again before it is believed; `verify` is how."""

    def __init__(self, verify: Callable[[], Awaitable[Report]]) -> None:
        self._verify = verify

    @activity.defn(name="verification.verify")
    async def verify(self) -> Report:
        """Every violation is an error in the log, too."""
        async with heartbeats():
            report = await self._verify()
        for finding in report.findings:
            if finding.violations:
                log.error(
                    "an invariant is violated",
                    invariant=finding.invariant.value,
                    promise=PROMISES[finding.invariant],
                    violations=finding.violations,
                    first=[f"{each.id}: {each.wrong}" for each in finding.first],
                )
        return report
