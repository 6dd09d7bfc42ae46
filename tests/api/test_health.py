"""Probes and metrics."""

from dataclasses import replace
from typing import Any
from uuid import uuid4

from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import event

from api.app import create_app
from api.idempotency import Outcome
from runtime.settings import Settings
from tests.api.documents import closed_port, problem_of
from tests.conftest import served
from tests.support.billing import Billing
from tests.support.conditions import eventually
from tests.support.databases import settings_of_its_own
from tests.support.unfinished import without_temporal


async def scraped(billing: Billing) -> dict[str, dict[str, float]]:
    """Every sample of ours by family, and within it by its label (or nothing)."""
    answer = await billing.api.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/plain")
    return {
        family.name: {
            next(iter(sample.labels.values()), ""): sample.value for sample in family.samples
        }
        for family in text_string_to_metric_families(answer.text)
        if family.name.startswith("billing_") and not family.name.endswith("_created")
    }


async def test_the_probes_answer(billing: Billing) -> None:
    for path, word in (("/health/live", "live"), ("/health/ready", "ready")):
        answer = await billing.api.get(path)
        assert (answer.status_code, answer.text) == (200, word)


async def test_each_end_of_a_request_with_a_key_is_counted(
    billing: Billing, settings: Settings
) -> None:
    before = (await scraped(billing))["billing_idempotency_requests"]
    assert before.keys() == set(Outcome)
    key, item = uuid4().hex, {"sku": "SKU-1", "quantity": 1, "unitPrice": 1}
    order = {"currency": "KRW", "items": [item]}
    for _ in range(3):
        assert (await billing.post("/api/v1/orders", order, key)).status_code == 201
    other = await billing.post("/api/v1/orders", {**order, "currency": "USD"}, key)
    assert other.status_code == 422
    async with without_temporal(billing, settings) as stopped:
        body, key = {"orderId": await billing.order(), "method": "CARD"}, uuid4().hex
        assert (await stopped.post("/api/v1/payments", body, key)).status_code == 202
        assert (await stopped.post("/api/v1/payments", body, key)).status_code == 409

    after = (await scraped(billing))["billing_idempotency_requests"]
    assert {outcome: after[outcome] - before[outcome] for outcome in Outcome} == {
        Outcome.FIRST: 3,  # the second order too
        Outcome.REPLAYED_CACHE: 2,
        Outcome.REPLAYED_DB: 0,
        Outcome.CONFLICT: 1,
        Outcome.MISMATCH: 1,
    }


async def test_a_repeat_that_the_cache_has_lost_is_counted_as_the_databases(
    billing: Billing, settings: Settings
) -> None:
    key, item = uuid4().hex, {"sku": "SKU-1", "quantity": 1, "unitPrice": 1}
    order = {"currency": "KRW", "items": [item]}
    no_cache = settings.model_copy(update={"redis_url": f"redis://127.0.0.1:{closed_port()}/0"})
    async with served(create_app(no_cache)) as http:
        without = replace(billing, api=http)
        before = (await scraped(billing))["billing_idempotency_requests"]["replayed_db"]
        for _ in range(2):
            assert (await without.post("/api/v1/orders", order, key)).status_code == 201

    assert (await scraped(billing))["billing_idempotency_requests"]["replayed_db"] == before + 1


async def test_the_probes_of_other_paths_are_problems(billing: Billing) -> None:
    assert problem_of(await billing.api.get("/health")) == "not-found"


async def test_a_scrape_shows_the_figures_and_asks_nobody(settings: Settings) -> None:
    asked: list[str] = []
    async with settings_of_its_own(settings) as own:
        app = create_app(own)
        async with served(app) as http:

            async def figures_are_read() -> bool:
                return "billing_figures_read_at_seconds" in (await http.get("/metrics")).text

            await eventually(figures_are_read)
            for database in (
                app.state.context.desk.database,
                app.state.reading.desk.database,
            ):

                @event.listens_for(database.engine.sync_engine, "before_cursor_execute")
                def note(_1: Any, _2: Any, statement: str, _3: Any, _4: Any, _5: Any) -> None:
                    asked.append(statement)

            text = (await http.get("/metrics")).text

    assert 'billing_payments{status="PENDING"} 0.0' in text
    assert "_created" not in text
    assert asked == []
