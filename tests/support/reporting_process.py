"""A process that says of one gateway how it does, so that a test can kill it.

python -m tests.support.reporting_process GATEWAY WORKER
"""

import asyncio
import sys

from gateway.client import GatewayProfile
from gateway.guard import GuardedGateway
from gateway.http import HttpGateway
from gateway.reports import Reports
from runtime.gateway_watch import report_for_ever
from runtime.settings import Settings


async def main(name: str, worker: str) -> None:
    settings = Settings()
    profile = GatewayProfile(name, settings.gateway_url)
    guarded = GuardedGateway(HttpGateway(profile), profile)
    await report_for_ever(Reports(settings.redis_url), worker, {name: guarded})


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
