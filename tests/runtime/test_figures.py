"""Figures of the database: what they say, what they cost, and that one process reads them."""

import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import uuid4

from sqlalchemy import event, text

from domain.access import SYSTEM
from domain.dead_letter import LetterSource, NewLetter, set_aside
from domain.message import Message, refused
from domain.verification import Finding, Invariant, Report, Violation
from runtime import figures, temporal
from runtime.figures import FigureReader, families
from runtime.settings import Settings
from runtime.workers import running, verification_worker
from service import health, verification
from store import dead_letter, leader
from store.database import Database
from tests.support.billing import Billing
from tests.support.conditions import eventually, meanwhile
from tests.support.databases import connected, execute, settings_of_its_own
from tests.support.namespaces import a_namespace
from tests.support.unfinished import accepted
from workflows import policies
from workflows.verification import Verification

AT_ONCE = 0.02
"""How often these tests read: they wait for what is read, not for the time."""


async def shown(database: Database) -> dict[str, dict[str, float]]:
    """Every figure by family, and within it by its labels (or nothing)."""
    async with database.statements(SYSTEM) as tx:
        found = await health.figures(tx)
    return by_labels(families(found, None, None, ["simulator"]))


def read_at(reader: FigureReader) -> float:
    """When it read what it shows; 0 while it shows nothing."""
    found = by_labels(reader.collect())
    return found["billing_figures_read_at_seconds"][""] if found else 0


async def reads_after(reader: FigureReader, moment: float) -> float:
    """Wait until it shows something newer."""

    async def newer() -> float:
        return at if (at := read_at(reader)) > moment else 0

    return await eventually(newer)


def by_labels(found: Iterator[Any]) -> dict[str, dict[str, float]]:
    return {
        family.name: {
            " ".join(map(str, sample.labels.values())): sample.value for sample in family.samples
        }
        for family in found
    }


async def test_every_figure_of_an_empty_installation_is_0(settings: Settings) -> None:
    async with (
        settings_of_its_own(settings) as own,
        connected(own.database_url) as database,
    ):
        found = await shown(database)

    assert found.pop("billing_figures_read_at_seconds")[""] > 0
    assert found.keys() == {
        "billing_compensations_last_hour",
        "billing_dead_letters",
        "billing_gateway_waiting",
        "billing_invoices",
        "billing_oldest_unknown_payment_age_seconds",
        "billing_oldest_unpublished_event_age_seconds",
        "billing_oldest_unsealed_entry_age_seconds",
        "billing_payments",
        "billing_payments_watched",
        "billing_refused_events",
        "billing_reviews_waiting",
        "billing_set_aside_messages",
        "billing_settlements_unsettled",
        "billing_usage_default_partition_rows",
    }
    assert found["billing_payments"].keys() == {"PENDING", "UNKNOWN", "NEEDS_REVIEW"}
    kinds = {f"simulator {kind}" for kind in ("payment", "refund", "watch")}
    assert found["billing_gateway_waiting"].keys() == kinds
    assert found["billing_invoices"].keys() >= {"DRAFT not-due", "OVERDUE over-90"}
    assert {value for family in found.values() for value in family.values()} == {0}


async def test_messages_that_were_set_aside_are_counted_for_each_consumer(
    database: Database,
) -> None:
    before = (await shown(database))["billing_set_aside_messages"]
    assert before.keys() >= {"billing-usage", "billing-ranking"}
    message = Message("billing.usage", 1, 1, random.getrandbits(60), None, (), None)
    for offset in range(2):
        async with database.begin(SYSTEM) as tx:
            each = refused(replace(message, offset=offset), ValueError("wrong"))
            await dead_letter.put(tx, set_aside("billing-usage", each))

    after = (await shown(database))["billing_set_aside_messages"]
    assert after["billing-usage"] == before["billing-usage"] + 2
    assert after["billing-ranking"] == before["billing-ranking"]


async def test_a_dead_letter_is_counted_until_somebody_has_seen_to_it(database: Database) -> None:
    before = (await shown(database))["billing_dead_letters"]
    assert before.keys() == set(LetterSource)
    reference = f"invoice/{uuid4()}"
    letter = NewLetter(LetterSource.INVOICE, "UNCOLLECTIBLE", "declined", b"{}", reference)
    async with database.begin(SYSTEM) as tx:
        await dead_letter.bury(tx, letter)
    assert (await shown(database))["billing_dead_letters"]["INVOICE"] == before["INVOICE"] + 1

    async with database.begin(SYSTEM) as tx:
        await dead_letter.resolve(tx, reference)
    assert (await shown(database))["billing_dead_letters"] == before


_INVOICES = """
INSERT INTO invoices (id, customer_id, period, currency, status, total, snapshot, workflow_id,
    run_id, issued_at, due_at)
SELECT gen_random_uuid(), number, '2026-01', 'KRW', status, 1, '{}', number, number, now(), due_at
FROM (VALUES
    ('1', 'ISSUED', now() + interval '1 day'),
    ('2', 'OVERDUE', now() - interval '29 days'),
    ('3', 'OVERDUE', now() - interval '91 days'),
    ('4', 'UNCOLLECTIBLE', now() - interval '61 days'),
    ('5', 'PAID', now() - interval '61 days'),
    ('6', 'AWAITING_APPROVAL', NULL)
) AS each (number, status, due_at)
"""
_RUNS = """
INSERT INTO settlement_runs (period) VALUES ('2026-01'), ('2026-05');
INSERT INTO settlement_outcomes (period, customer_id, status)
VALUES ('2026-01', '1', 'FAILED'), ('2026-05', '1', 'FAILED'), ('2026-05', '2', 'SETTLED');
INSERT INTO audit_entries (actor_type, actor_id, action, target_type, target_id, at)
VALUES ('system', 's', 'order.create', 'order', '1', now() - interval '1 hour')
"""


async def test_invoices_months_and_unsealed_entries_are_counted(settings: Settings) -> None:
    async with (
        settings_of_its_own(settings) as own,
        connected(own.database_url) as database,
    ):
        for statement in [_INVOICES, *_RUNS.split(";")]:
            await execute(own.database_owner_url, statement)
        found = await shown(database)

    assert {name: count for name, count in found["billing_invoices"].items() if count} == {
        "ISSUED not-due": 1,
        "OVERDUE 1-30": 1,
        "OVERDUE over-90": 1,
        "UNCOLLECTIBLE 61-90": 1,
        "AWAITING_APPROVAL not-due": 1,
    }
    assert found["billing_settlements_unsettled"] == {"FAILED": 1, "RUNNING": 0}
    ends = datetime.fromtimestamp(found["billing_settlement_run_ends_at_seconds"][""], UTC)
    assert ends == datetime(2026, 6, 1, tzinfo=UTC)
    assert found["billing_oldest_unsealed_entry_age_seconds"][""] >= 3_600


async def test_open_payments_and_undone_steps_are_counted(
    billing: Billing, settings: Settings, database: Database
) -> None:
    before = await shown(database)
    await billing.top_up(100)
    declined = await billing.add_card("4000000000000002")
    body = {"orderId": await billing.order(), "method": "CARD", "paymentMethodId": declined}
    split = {"method": "SPLIT", "walletAmount": 100}
    failed = await billing.post("/api/v1/payments", {**body, **split})
    assert failed.json()["status"] == "FAILED"
    another = {**body, "orderId": await billing.order()}
    await accepted(billing, settings, "/api/v1/payments", another)

    after = await shown(database)

    def grown(family: str, label: str = "") -> float:
        return after[family].get(label, 0) - before[family].get(label, 0)

    # One that has ended is counted no more.
    assert grown("billing_payments", "PENDING") == 1
    assert grown("billing_compensations_last_hour") == 1


async def test_an_event_that_waits_for_a_relay_has_an_age(
    billing: Billing, database: Database
) -> None:
    async def seen_before_its_relay() -> bool:
        await billing.order()
        return (await shown(database))["billing_oldest_unpublished_event_age_seconds"][""] > 0

    assert await eventually(seen_before_its_relay)


async def test_figures_tell_what_the_last_verification_found(
    settings: Settings, database: Database
) -> None:
    elsewhere = settings.model_copy(update={"temporal_namespace": a_namespace("verified")})
    client = await temporal.connect_when_ready(elsewhere)
    moment = datetime(2026, 6, 1, 12, tzinfo=UTC)
    violated = Finding(Invariant.WALLETS, 3, 2, (Violation("w", "It is wrong."),))
    report = Report(moment, (Finding(Invariant.ORDERS, 5), violated))

    async def found() -> Report:
        return report

    async def is_remembered() -> bool:
        return await verification.last(client) == report

    assert await verification.last(client) is None
    async with running(verification_worker(client, found)):
        await client.execute_workflow(
            Verification.run, id="verification", task_queue=policies.VERIFICATION
        )
    await eventually(is_remembered)
    async with database.statements(SYSTEM) as tx:
        figures = await health.figures(tx)
    shown = by_labels(families(figures, await verification.last(client), None))

    assert shown["billing_invariant_violations"] == {
        "orders-agree-with-their-payments": 0,
        "wallets-equal-their-postings": 2,
    }
    assert shown["billing_invariants_checked_at_seconds"] == {"": moment.timestamp()}


async def test_one_of_two_processes_reads_and_the_other_takes_over(settings: Settings) -> None:
    client = await temporal.connect_later(settings)
    async with (
        settings_of_its_own(settings) as own,
        connected(own.database_url) as first_pool,
        connected(own.database_url) as second_pool,
    ):
        first, second = FigureReader(first_pool, client), FigureReader(second_pool, client)

        async with meanwhile(first.read_for_ever(AT_ONCE)):
            moment = await reads_after(first, 0)
            async with meanwhile(second.read_for_ever(AT_ONCE)):
                for _ in range(3):
                    moment = await reads_after(first, moment)
                    assert read_at(second) == 0
        assert read_at(first) == 0
        async with meanwhile(second.read_for_ever(AT_ONCE)):
            await reads_after(second, moment)


async def test_a_reader_whose_connection_breaks_shows_nothing_until_it_has_another(
    settings: Settings,
) -> None:
    client = await temporal.connect_later(settings)
    async with (
        settings_of_its_own(settings) as own,
        connected(own.database_url) as pool,
    ):
        reader = FigureReader(pool, client)

        async with meanwhile(reader.read_for_ever(AT_ONCE)):
            moment = await reads_after(reader, 0)
            pids = "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND database = ("
            pids += "SELECT oid FROM pg_database WHERE datname = current_database())"
            [pid] = await execute(own.database_owner_url, pids)
            await execute(own.database_url, f"SELECT pg_terminate_backend({pid})")
            await eventually(partial(_other_than, own.database_owner_url, pids, [pid]))
            await reads_after(reader, moment)


async def _other_than(url: str, statement: str, before: list[str]) -> bool:
    return await execute(url, statement) not in ([], before)


async def test_a_silent_leader_is_sent_away_by_postgresql(
    settings: Settings, database: Database
) -> None:
    async with connected(settings.database_url) as pool, pool.statements(SYSTEM) as tx:
        assert await leader.lead(tx, uuid4().hex)
        assert await tx.scalar(text("SHOW idle_session_timeout")) == "1min"
        await tx.invalidate()


async def test_figures_that_are_old_are_not_shown(settings: Settings) -> None:
    moment = [0.0]
    client = await temporal.connect_later(settings)
    async with (
        settings_of_its_own(settings) as own,
        connected(own.database_url) as pool,
    ):
        reader = FigureReader(pool, client, lambda: moment[0])

        async with meanwhile(reader.read_for_ever(every=3_600)):
            await reads_after(reader, 0)
            moment[0] = figures.BELIEVED_SECONDS
            assert read_at(reader) == 0


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
INSERT INTO dead_letters (id, source, consumer_group, header_names, header_values, error_class,
    failure_reason, state)
SELECT gen_random_uuid(), 'USAGE', 'billing-usage', '{}', '{}', '', '', 'DISCARDED'
FROM generate_series(1, 20000) AS number;
INSERT INTO invoices (id, customer_id, period, currency, status, total, snapshot, workflow_id,
    run_id, closed_at)
SELECT gen_random_uuid(), number, '2026-05', 'KRW', 'PAID', 1, '{}', number, number, now()
FROM generate_series(1, 20000) AS number;
INSERT INTO settlement_runs (period) VALUES ('2026-05');
INSERT INTO settlement_outcomes (period, customer_id, status)
SELECT '2026-05', number, 'SETTLED' FROM generate_series(1, 20000) AS number;
ANALYZE
"""


def rows_read(plan: dict[str, Any]) -> float:
    """How many rows the scans of a plan have met."""
    met = sum(map(rows_read, plan.get("Plans", [])))
    if "Relation Name" in plan:
        met += (plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0)) * plan["Actual Loops"]
    return float(met)


async def test_reading_the_figures_reads_only_what_has_not_ended(settings: Settings) -> None:
    asked: list[tuple[str, Any]] = []
    async with (
        settings_of_its_own(settings) as own,
        connected(own.database_url, pool_size=2) as database,
    ):
        for statement in _MANY.split(";"):
            await execute(own.database_owner_url, statement)

        @event.listens_for(database.engine.sync_engine, "before_cursor_execute")
        def note(_1: Any, _2: Any, statement: str, parameters: Any, _3: Any, _4: Any) -> None:
            asked.append((statement, parameters))

        async with database.statements(SYSTEM) as tx:
            await health.figures(tx)
            plans = []
            for statement, parameters in tuple(asked):
                explain = f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}"
                [answer] = (await tx.exec_driver_sql(explain, parameters)).scalars().one()
                plans.append(answer["Plan"])

    assert len(plans) >= 14
    for plan in plans:
        assert rows_read(plan) < 10, plan


async def test_who_waits_for_figures_waits_for_nobody_else(settings: Settings) -> None:
    """The block of a process ends although Temporal does not answer the reader."""
    nowhere = settings.model_copy(update={"temporal_address": "127.0.0.1:9"})
    client = await temporal.connect_later(nowhere)
    async with settings_of_its_own(nowhere) as own, figures.reading(own, client) as reader:
        await reads_after(reader, 0)
    assert read_at(reader) == 0


def test_a_scrape_comes_less_often_than_figures_are_believed() -> None:
    assert timedelta(seconds=figures.EVERY_SECONDS) * 3 <= leader.SILENCE
