"""The gateway as an ASGI application.

Refusals are `{"code", "message"}` with a 4xx or 5xx; a decline is 402 with the declined object.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Literal

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from dev.simulator import calls
from dev.simulator.connection import Silence
from dev.simulator.control import control
from dev.simulator.merchant import v1
from dev.simulator.state import Simulator, simulator_of
from dev.simulator.webhooks import deliver_for_ever
from dev.simulator.wire import NoAnswer, Refused, answer, as_json


async def health() -> dict[Literal["status"], str]:
    return {"status": "ok"}


def build_app(sim: Simulator) -> FastAPI:
    """The gateway as an ASGI application; its late effects and webhooks run in its lifespan."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        calls.resume_late_effects(sim)
        signer = sim.options.signer
        sender = asyncio.create_task(deliver_for_ever(sim, signer)) if signer else None
        yield
        if sender is not None:
            sender.cancel()
            with suppress(asyncio.CancelledError):
                await sender
        sim.db.close()

    app = FastAPI(title="Payment gateway simulator", lifespan=lifespan)
    app.state.simulator = sim
    app.include_router(v1)
    app.include_router(control)
    app.get("/health")(health)
    app.add_exception_handler(Refused, _on_refused)
    app.add_exception_handler(NoAnswer, _on_no_answer)
    app.add_exception_handler(RequestValidationError, _on_invalid_request)
    app.add_exception_handler(HTTPException, _on_http_exception)
    return app


def _refusal(status: int, code: str, message: str) -> Response:
    return answer(status, as_json({"code": code, "message": message}))


async def _on_refused(request: Request, error: Any) -> Response:
    return _refusal(error.status, error.code, error.message)


async def _on_no_answer(request: Request, error: Any) -> Response:
    return Silence(error.held, simulator_of(request).hang_up)


async def _on_invalid_request(request: Request, error: Any) -> Response:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return _refusal(400, "invalid-request", f"{where}: {first['msg']}")


async def _on_http_exception(request: Request, error: Any) -> Response:
    codes = {400: "invalid-request", 404: "not-found", 405: "method-not-allowed"}
    code = codes.get(error.status_code, "refused")
    return _refusal(error.status_code, code, str(error.detail))
