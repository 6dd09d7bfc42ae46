"""The floors: the same over HTTP with nothing of ours in it.

Of a card payment: a route starts a workflow of the same steps (regular, local) and waits for
it. The local ones do nothing, the regular one charges at a gateway simulator. Of what needs no
workflow: a route that reads the same body by the same model and sends it back. `python -m
load.floor api` and `python -m load.floor worker` run the two processes, as ours are two.
"""

import asyncio
import os
import sys
from uuid import uuid4

import httpx2
import uvicorn
import uvloop
from fastapi import FastAPI
from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.worker import PollerBehaviorAutoscaling, UnsandboxedWorkflowRunner, Worker

from api.payment import NewPayment
from api.usage import UsageEvent
from dev.seed import TEST_CARD
from load.nothing import BOUND, nothing
from runtime import temporal
from runtime.settings import Settings
from runtime.workers import STICKY

QUEUE = "floor"
READY = "the floor is ready"
_CONCURRENT_CALLS = 100


class Gateway:
    """One connection pool to the simulator."""

    def __init__(self, url: str) -> None:
        limits = httpx2.Limits(max_connections=_CONCURRENT_CALLS)
        self._http = httpx2.AsyncClient(base_url=url, timeout=10, limits=limits)

    @activity.defn(name="charge")
    async def charge(self) -> str:
        """A good card is charged with ₩2,000 for a new order."""
        body = {
            "orderId": str(uuid4()),
            "billingKey": f"bk_{TEST_CARD}",
            "amount": 2000,
            "currency": "KRW",
            "capture": True,
        }
        key = {"Idempotency-Key": uuid4().hex}
        response = await self._http.post("/v1/charges", json=body, headers=key)
        response.raise_for_status()
        return str(response.json()["status"])


@workflow.defn(name="Floor")
class Floor:
    """The step shape of a card payment: charge (regular), complete (local)."""

    @workflow.run
    async def run(self) -> str:
        status = await workflow.execute_activity_method(Gateway.charge, **BOUND)
        await workflow.execute_local_activity(nothing, **BOUND)
        return status


def create_app(client: Client) -> FastAPI:
    """The routes."""
    app = FastAPI()

    @app.post("/floor", status_code=201)
    async def floor(body: NewPayment) -> dict[str, str]:
        status = await client.execute_workflow(Floor.run, id=f"floor/{uuid4()}", task_queue=QUEUE)
        return {"orderId": body.order_id, "status": status}

    @app.post("/webhook", status_code=204)
    async def webhook() -> None:
        """What the gateway tells."""

    @app.post("/echo/payment", status_code=201)
    async def payment(body: NewPayment) -> NewPayment:
        return body

    @app.post("/echo/usage", status_code=202)
    async def usage(body: UsageEvent) -> UsageEvent:
        return body

    @app.get("/health/ready")
    async def ready() -> str:
        return "ready"

    return app


async def _api() -> None:
    client = await temporal.connect_when_ready(Settings())
    port = int(os.environ["API_PORT"])
    config = uvicorn.Config(create_app(client), port=port, log_config=None, access_log=False)
    await uvicorn.Server(config).serve()


async def _worker() -> None:
    settings = Settings()
    worker = Worker(
        await temporal.connect_when_ready(settings),
        task_queue=QUEUE,
        workflows=[Floor],
        activities=[nothing, Gateway(settings.gateway_url).charge],
        workflow_runner=UnsandboxedWorkflowRunner(),
        sticky_queue_schedule_to_start_timeout=STICKY,
        workflow_task_poller_behavior=PollerBehaviorAutoscaling(),
        activity_task_poller_behavior=PollerBehaviorAutoscaling(),
    )
    async with worker:
        sys.stdout.write(f"{READY}\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run({"api": _api, "worker": _worker}[sys.argv[1]]())
