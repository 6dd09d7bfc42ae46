"""Migrations: up, in agreement with the tables, down to nothing, and up again."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from uuid import uuid4

import pytest
from alembic import command
from alembic.config import Config

from domain.dead_letter import set_aside
from domain.message import Message, refused
from runtime import schema
from runtime.settings import Settings
from tests.support.databases import execute, named

_LEFT_OVER = """
    SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace
    UNION ALL SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace
    UNION ALL SELECT typname FROM pg_type
    WHERE typnamespace = 'public'::regnamespace AND typname NOT LIKE '%alembic_version'
"""


@pytest.fixture
def empty_database(settings: Settings) -> Iterator[str]:
    """The owner's address of a database of its own."""
    name = f"empty_{uuid4().hex}"
    asyncio.run(execute(settings.database_owner_url, f"CREATE DATABASE {name}"))
    yield named(settings.database_owner_url, name)
    asyncio.run(execute(settings.database_owner_url, f"DROP DATABASE {name}"))


def configured(url: str) -> Config:
    config = Config()
    config.set_main_option("script_location", str(schema.MIGRATIONS))
    config.attributes["url"] = url
    return config


def test_up_and_down_and_up_again(empty_database: str) -> None:
    schema.upgrade(empty_database)
    schema.check(empty_database)

    command.downgrade(configured(empty_database), "base")
    left_over = set(asyncio.run(execute(empty_database, _LEFT_OVER)))
    assert left_over == {"alembic_version", "alembic_version_pkc"}

    schema.upgrade(empty_database)
    schema.check(empty_database)


def test_an_upgrade_of_what_is_up_to_date_changes_nothing(empty_database: str) -> None:
    schema.upgrade(empty_database)
    schema.upgrade(empty_database)

    schema.check(empty_database)


_INVOICES = """
    INSERT INTO invoices (
        id, number, customer_id, period, currency, total, status, snapshot, workflow_id, run_id,
        issued_at
    )
    SELECT
        md5(status)::uuid, number, 'c', '2026-0' || number, 'KRW', 1, status, '{}', '', '',
        '2026-07-01T00:00:00Z'::timestamptz + number * interval '1 hour'
    FROM unnest(ARRAY['CANCELLED', 'WRITTEN_OFF', 'PAID']) WITH ORDINALITY AS old (status, number)
"""
_USAGE = """
    INSERT INTO usage_events (
        customer_id, event_id, resource_type, quantity, occurred_at, invoice_id
    )
    SELECT 'c', status, 'API_CALL', 1, '2026-05-10T00:00:00Z', id FROM invoices
"""
_COUNTER = "INSERT INTO invoice_numbers (series, last) VALUES ('invoice', 3)"


def test_what_was_cancelled_before_gives_its_usage_back_with_an_upgrade(
    empty_database: str,
) -> None:
    command.upgrade(configured(empty_database), "0005")
    for statement in (_INVOICES, _USAGE, _COUNTER):
        asyncio.run(execute(empty_database, statement))

    schema.upgrade(empty_database)

    free = "SELECT event_id FROM usage_events WHERE invoice_id IS NULL"
    assert asyncio.run(execute(empty_database, free)) == ["CANCELLED"]
    dated = "SELECT last_at = '2026-07-01T03:00:00Z' FROM invoice_numbers"
    assert asyncio.run(execute(empty_database, dated)) == ["True"]


_PAYMENT = """
    INSERT INTO payments (
        id, payable_type, payable_id, customer_id, currency, method, wallet_amount, card_amount,
        gateway, billing_key, status
    )
    VALUES (md5('p')::uuid, 'ORDER', md5('o')::uuid, 'c', 'KRW', 'CARD', 0, 1, 'g', 'b', 'PENDING')
"""
_ATTEMPT = """
    INSERT INTO gateway_attempts (
        reference_id, operation, payment_id, gateway, idempotency_key, amount, currency,
        opened_by_run
    )
    VALUES (md5('p')::uuid, 'charge', md5('p')::uuid, 'g', 'k', 1, 'KRW', '')
"""
_KEYS = """
    INSERT INTO idempotency_keys (caller, route, key, request_hash, resource_id)
    VALUES ('me', 'r', 'paid', '', md5('p')::uuid), ('me', 'r', 'other', '', md5('x')::uuid)
"""


def test_what_is_there_is_told_whose_it_is_with_an_upgrade(empty_database: str) -> None:
    """So that a customer still finds the attempts of its payments, and the answers to its keys."""
    command.upgrade(configured(empty_database), "0013")
    for statement in (_PAYMENT, _ATTEMPT, _KEYS):
        asyncio.run(execute(empty_database, statement))

    schema.upgrade(empty_database)

    asked = "SELECT customer_id FROM gateway_attempts"
    assert asyncio.run(execute(empty_database, asked)) == ["c"]
    keys = "SELECT key || ' of ' || customer_id FROM idempotency_keys ORDER BY key DESC"
    assert asyncio.run(execute(empty_database, keys)) == ["paid of c", "other of "]


_OLD_LETTERS = """
    INSERT INTO dead_letters (id, kind, reference, reason, body, resolved_at)
    SELECT md5(name)::uuid, 'invoice', 'invoice/' || md5(name)::uuid, name,
        '{"customerId": "c", "total": 1}', CASE name WHEN 'seen to' THEN now() END
    FROM unnest(ARRAY['waits', 'seen to']) AS old (name);
    INSERT INTO dead_messages (id, consumer, topic, "partition", "offset", "timestamp", key,
        header_names, header_values, value, error, reason)
    SELECT md5(n::text)::uuid, 'billing-usage', 'billing.usage', 3, n, 5, 'k',
        ARRAY['h'], ARRAY['\\xff'::bytea], '\\x00ff', 'ValueError', 'why'
    FROM generate_series(1, 2) AS n
"""
_NEW_LETTERS = """
    SELECT concat_ws(' ', source, state, failure_reason, origin) FROM dead_letters
    ORDER BY source, failure_reason, origin
"""
_AS_BEFORE = """
    SELECT concat_ws(' ', kind, reference, reason, body->>'total', resolved_at IS NULL) AS all_of_it
    FROM dead_letters
    UNION ALL
    SELECT concat_ws(' ', consumer, topic, "offset", error, encode(value, 'hex'), header_values)
    FROM dead_messages ORDER BY all_of_it
"""


def test_letters_and_messages_become_one_table_and_two_again(empty_database: str) -> None:
    command.upgrade(configured(empty_database), "0016")
    for statement in _OLD_LETTERS.split(";"):
        asyncio.run(execute(empty_database, statement))
    before = asyncio.run(execute(empty_database, _AS_BEFORE))

    schema.upgrade(empty_database)

    message = Message("billing.usage", 3, 1, 5, b"k", (("h", b"\xff"),), b"\x00\xff")
    first, second = (
        set_aside("billing-usage", refused(replace(message, offset=each), ValueError("why"))).origin
        for each in (1, 2)
    )
    # Set aside once more it is the same letter.
    assert asyncio.run(execute(empty_database, _NEW_LETTERS)) == [
        "INVOICE RESOLVED seen to",
        "INVOICE OPEN waits",
        f"USAGE OPEN why {first}",
        f"USAGE OPEN why {second}",
    ]
    command.downgrade(configured(empty_database), "0016")
    assert asyncio.run(execute(empty_database, _AS_BEFORE)) == before
