"""Probes and metrics."""

import random
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import event

from api.app import create_app
from domain.access import SYSTEM
from domain.message import Message, refused
from domain.verification import Finding, Invariant, Report, Violation
from runtime import temporal
from runtime.settings import Settings
from runtime.workers import running, verification_worker
from service import verification
from store import dead_message
from store.database import Database
from tests.api.documents import problem_of
from tests.conftest import served
from tests.support.billing import Billing
from tests.support.conditions import eventually
from tests.support.databases import execute
from tests.support.relays import relay_bed
from tests.support.unfinished import accepted
from workflows import policies
from workflows.verification import Verification


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


async def test_the_metrics_have_their_families(billing: Billing) -> None:
    assert set(await scraped(billing)) == {
        "billing_payments",
        "billing_payments_watched",
        "billing_reviews_waiting",
        "billing_compensations_last_hour",
        "billing_idempotency_replays",
        "billing_log_fields_dropped",
        "billing_overload_refusals",
        "billing_quota_refusals",
        "billing_oldest_unknown_payment_age_seconds",
        "billing_oldest_unpublished_event_age_seconds",
        "billing_usage_default_partition_rows",
        "billing_set_aside_messages",
        "billing_refused_events",
    }


async def test_messages_that_were_set_aside_are_counted_for_each_consumer(
    billing: Billing, database: Database
) -> None:
    before = (await scraped(billing))["billing_set_aside_messages"]
    assert before.keys() >= {"billing-usage", "billing-ranking"}
    message = Message("billing.usage", 1, 1, random.getrandbits(60), None, (), None)
    for offset in range(2):
        async with database.begin(SYSTEM) as tx:
            each = refused(replace(message, offset=offset), ValueError("wrong"))
            await dead_message.put(tx, "billing-usage", each)

    after = (await scraped(billing))["billing_set_aside_messages"]
    assert after["billing-usage"] == before["billing-usage"] + 2
    assert after["billing-ranking"] == before["billing-ranking"]


async def test_payments_replays_and_undone_steps_are_counted(
    billing: Billing, settings: Settings
) -> None:
    before = await scraped(billing)
    await billing.top_up(100)
    declined = await billing.add_card("4000000000000002")
    body = {"orderId": await billing.order(), "method": "CARD", "paymentMethodId": declined}
    split = {"method": "SPLIT", "walletAmount": 100}
    failed = await billing.post("/api/v1/payments", {**body, **split})
    assert failed.json()["status"] == "FAILED"
    key, item = uuid4().hex, {"sku": "SKU-1", "quantity": 1, "unitPrice": 1}
    order = {"currency": "KRW", "items": [item]}
    for _ in range(3):
        assert (await billing.post("/api/v1/orders", order, key)).status_code == 201
    another = {**body, "orderId": await billing.order()}
    await accepted(billing, settings, "/api/v1/payments", another)

    after = await scraped(billing)

    def grown(family: str, label: str = "") -> float:
        return after[family].get(label, 0) - before[family].get(label, 0)

    # One that has ended is counted no more.
    assert after["billing_payments"].keys() == {"PENDING", "UNKNOWN", "NEEDS_REVIEW"}
    assert grown("billing_payments", "PENDING") == 1
    assert grown("billing_compensations_last_hour") == 1
    assert grown("billing_idempotency_replays") == 2


async def test_an_event_that_waits_for_a_relay_has_an_age(billing: Billing) -> None:
    async def seen_before_its_relay() -> bool:
        await billing.order()
        return (await scraped(billing))["billing_oldest_unpublished_event_age_seconds"][""] > 0

    assert await eventually(seen_before_its_relay)


async def test_the_probes_of_other_paths_are_problems(billing: Billing) -> None:
    assert problem_of(await billing.api.get("/health")) == "not-found"


async def test_the_metrics_tell_what_the_last_verification_found(settings: Settings) -> None:
    elsewhere = settings.model_copy(update={"temporal_namespace": f"verified-{uuid4().hex}"})
    client = await temporal.connect_when_ready(elsewhere)
    moment = datetime(2026, 6, 1, 12, tzinfo=UTC)
    violated = Finding(Invariant.WALLETS, 3, 2, (Violation("w", "It is wrong."),))
    report = Report(moment, (Finding(Invariant.ORDERS, 5), violated))

    async def found() -> Report:
        return report

    async def is_remembered() -> bool:
        return await verification.last(client) == report

    async with served(create_app(elsewhere)) as http:
        assert "billing_invariant" not in (await http.get("/metrics")).text
        async with running(verification_worker(client, found)):
            await client.execute_workflow(
                Verification.run, id="verification", task_queue=policies.VERIFICATION
            )
        await eventually(is_remembered)
        text = (await http.get("/metrics")).text

    assert 'billing_invariant_violations{invariant="orders-agree-with-their-payments"} 0.0' in text
    assert 'billing_invariant_violations{invariant="wallets-equal-their-postings"} 2.0' in text
    checked = [line for line in text.splitlines() if line.startswith("billing_invariants_checked")]
    [(_, seconds)] = [line.split() for line in checked]
    assert float(seconds) == moment.timestamp()


_MANY = """
INSERT INTO payments (
    id, payable_type, payable_id, customer_id, currency, method, wallet_amount, card_amount,
    gateway, billing_key, status
)
SELECT gen_random_uuid(), 'ORDER', gen_random_uuid(), 'c', 'KRW', 'CARD', 0, 1, 'simulator', 'bk',
    (ARRAY['COMPLETED', 'FAILED', 'CANCELLED'])[1 + number % 3]
FROM generate_series(1, 20000) AS number;
INSERT INTO saga_steps (saga_id, step, state, at)
SELECT gen_random_uuid(), 'wallet.hold', 'UNDONE', now() - interval '2 hours'
FROM generate_series(1, 20000);
INSERT INTO outbox (topic, event_id, aggregate_id, aggregate_version, customer_id, data,
    published_at)
SELECT 'billing.order.step', gen_random_uuid(), gen_random_uuid(), 1, 'c', '{}', now()
FROM generate_series(1, 20000);
INSERT INTO dead_messages (id, consumer, topic, partition, "offset", "timestamp", header_names,
    header_values, error, reason, resolved_at)
SELECT gen_random_uuid(), 'billing-usage', 'billing.usage', 1, number, 1, '{}', '{}', '', '', now()
FROM generate_series(1, 20000) AS number;
ANALYZE
"""


def rows_read(plan: dict[str, Any]) -> float:
    """How many rows the scans of a plan have met."""
    met = sum(map(rows_read, plan.get("Plans", [])))
    if "Relation Name" in plan:
        met += (plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0)) * plan["Actual Loops"]
    return float(met)


async def test_a_scrape_reads_only_what_has_not_ended(
    settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> None:
    asked: list[tuple[str, Any]] = []
    async with relay_bed(settings, tmp_path_factory.mktemp("metrics")) as bed:
        for statement in _MANY.split(";"):
            await execute(bed.owner_url, statement)
        app = create_app(bed.settings)
        async with served(app) as http, bed.database.engine.connect() as tx:

            @event.listens_for(
                app.state.context.desk.database.engine.sync_engine, "before_cursor_execute"
            )
            def note(_1: Any, _2: Any, statement: str, parameters: Any, _3: Any, _4: Any) -> None:
                asked.append((statement, parameters))

            assert (await http.get("/metrics")).status_code == 200
            plans = []
            for statement, parameters in asked:
                explain = f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}"
                [answer] = (await tx.exec_driver_sql(explain, parameters)).scalars().one()
                plans.append(answer["Plan"])

    assert len(plans) >= 7
    for plan in plans:
        assert rows_read(plan) < 10, plan
