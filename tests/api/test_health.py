"""Probes and metrics."""

from typing import Any
from uuid import uuid4

from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import event

from api.app import create_app
from runtime.settings import Settings
from tests.api.documents import problem_of
from tests.conftest import served
from tests.support.billing import Billing
from tests.support.conditions import eventually
from tests.support.databases import settings_of_its_own


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


async def test_a_replay_is_counted(billing: Billing) -> None:
    before = (await scraped(billing))["billing_idempotency_replays"][""]
    key, item = uuid4().hex, {"sku": "SKU-1", "quantity": 1, "unitPrice": 1}
    order = {"currency": "KRW", "items": [item]}
    for _ in range(3):
        assert (await billing.post("/api/v1/orders", order, key)).status_code == 201

    assert (await scraped(billing))["billing_idempotency_replays"][""] == before + 2


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
