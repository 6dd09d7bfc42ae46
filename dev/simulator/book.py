"""The gateway's book: one SQLite file with every payment, refund, key, late effect and webhook.

Each function takes the open book first. Everything runs on the event loop's thread: a statement
costs tens of microseconds, and a call that never awaits between looking and writing cannot race.
WAL with `synchronous=NORMAL` keeps every commit when the process is killed, which is what the book
promises; it may lose the last commits when the machine loses power.
"""

import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import NamedTuple

_SCHEMA = """
CREATE TABLE IF NOT EXISTS payments (
  seq INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  order_id TEXT NOT NULL,
  billing_key TEXT NOT NULL,
  status TEXT NOT NULL,
  amount INTEGER NOT NULL,
  currency TEXT NOT NULL,
  captured_amount INTEGER NOT NULL,
  refunded_amount INTEGER NOT NULL DEFAULT 0 CHECK (refunded_amount <= captured_amount),
  decline_code TEXT,
  decline_message TEXT,
  created_at TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS payments_of_order ON payments (order_id);
CREATE TABLE IF NOT EXISTS refunds (
  seq INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  refund_id TEXT NOT NULL,
  payment_id TEXT NOT NULL REFERENCES payments (id),
  order_id TEXT NOT NULL,
  status TEXT NOT NULL,
  amount INTEGER NOT NULL,
  currency TEXT NOT NULL,
  decline_code TEXT,
  decline_message TEXT
);
CREATE INDEX IF NOT EXISTS refunds_of_order ON refunds (order_id, refund_id);
CREATE TABLE IF NOT EXISTS keys (
  key TEXT PRIMARY KEY,
  fingerprint TEXT NOT NULL,
  first_seen REAL NOT NULL,
  turned_away INTEGER NOT NULL DEFAULT 0,
  status INTEGER,
  body TEXT
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS late_effects (
  key TEXT PRIMARY KEY,
  operation TEXT NOT NULL,
  order_id TEXT NOT NULL,
  request TEXT NOT NULL,
  due_at REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS events (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  id TEXT NOT NULL UNIQUE,
  body TEXT NOT NULL,
  copies INTEGER NOT NULL,
  state TEXT NOT NULL,
  attempts INTEGER NOT NULL DEFAULT 0,
  due_at REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS events_to_send ON events (seq) WHERE state IN ('PENDING', 'HELD');
CREATE TABLE IF NOT EXISTS counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value TEXT);
"""

_EMPTY = """
DELETE FROM refunds;
DELETE FROM payments;
DELETE FROM keys;
DELETE FROM late_effects;
DELETE FROM events;
DELETE FROM counters;
"""


class KnownKey(NamedTuple):
    """An idempotency key the gateway has seen; `status` and `body` are None without an effect."""

    fingerprint: str
    first_seen: float
    turned_away: int
    status: int | None
    body: str | None


class LateEffect(NamedTuple):
    """An effect that is still to come, at `due_at` (seconds since 1970)."""

    key: str
    operation: str
    order_id: str
    request: str
    due_at: float


class Event(NamedTuple):
    """A webhook that is to be sent `copies` times."""

    seq: int
    id: str
    body: str
    copies: int
    attempts: int


def open_book(path: str) -> sqlite3.Connection:
    """Open the book at `path`, made if it is not there. Raises sqlite3.Error if it cannot be."""
    db = sqlite3.connect(path, isolation_level=None)
    db.row_factory = sqlite3.Row
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=NORMAL")
    db.executescript(_SCHEMA)
    return db


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """All of the statements within, or none of them."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")


def empty(db: sqlite3.Connection) -> None:
    """Forget everything but the webhook's address."""
    db.executescript(f"BEGIN; {_EMPTY} COMMIT;")


def now_text() -> str:
    """The time as RFC 3339 with an offset."""
    return datetime.now(UTC).isoformat()


# Payments


def add_payment(
    db: sqlite3.Connection,
    order_id: str,
    billing_key: str,
    status: str,
    amount: int,
    currency: str,
    decline: tuple[str | None, str | None],
) -> sqlite3.Row:
    captured = amount if status == "CAPTURED" else 0
    return _one(
        db.execute(
            "INSERT INTO payments (id, order_id, billing_key, status, amount, currency,"
            " captured_amount, decline_code, decline_message, created_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING *",
            (
                f"pg_{uuid.uuid4().hex}",
                order_id,
                billing_key,
                status,
                amount,
                currency,
                captured,
                *decline,
                now_text(),
            ),
        )
    )


def find_payment(
    db: sqlite3.Connection, order_id: str, preferred: str = "CAPTURED"
) -> sqlite3.Row | None:
    """The payment an order id means, of possibly several.

    The one in status `preferred`, else the most advanced; of several captured ones the one with
    the most money left to refund, so that a second capture comes to light when the first one has
    been refunded.
    """
    row: sqlite3.Row | None = db.execute(
        "SELECT * FROM payments WHERE order_id = ? ORDER BY status <> ?,"
        " CASE status WHEN 'CAPTURED' THEN 0 WHEN 'AUTHORIZED' THEN 1 WHEN 'VOIDED' THEN 2"
        " ELSE 3 END, refunded_amount - captured_amount, seq DESC LIMIT 1",
        (order_id, preferred),
    ).fetchone()
    return row


def set_status(
    db: sqlite3.Connection, payment_id: str, status: str, captured_amount: int
) -> sqlite3.Row:
    return _one(
        db.execute(
            "UPDATE payments SET status = ?, captured_amount = ? WHERE id = ? RETURNING *",
            (status, captured_amount, payment_id),
        )
    )


def add_refund(
    db: sqlite3.Connection,
    payment: sqlite3.Row,
    refund_id: str,
    amount: int,
    decline: tuple[str | None, str | None],
) -> sqlite3.Row:
    """Write the refund down and, unless it is declined, take it off the payment."""
    declined = decline[0] is not None
    if not declined:
        db.execute(
            "UPDATE payments SET refunded_amount = refunded_amount + ? WHERE id = ?",
            (amount, payment["id"]),
        )
    return _one(
        db.execute(
            "INSERT INTO refunds (id, refund_id, payment_id, order_id, status, amount, currency,"
            " decline_code, decline_message) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING *",
            (
                f"rf_{uuid.uuid4().hex}",
                refund_id,
                payment["id"],
                payment["order_id"],
                "DECLINED" if declined else "REFUNDED",
                amount,
                payment["currency"],
                *decline,
            ),
        )
    )


def find_refund(db: sqlite3.Connection, order_id: str, refund_id: str) -> sqlite3.Row | None:
    row: sqlite3.Row | None = db.execute(
        "SELECT * FROM refunds WHERE order_id = ? AND refund_id = ?"
        " ORDER BY status <> 'REFUNDED', seq DESC LIMIT 1",
        (order_id, refund_id),
    ).fetchone()
    return row


def all_payments(db: sqlite3.Connection, order_id: str | None) -> list[sqlite3.Row]:
    return db.execute(
        "SELECT * FROM payments WHERE ?1 IS NULL OR order_id = ?1 ORDER BY seq", (order_id,)
    ).fetchall()


def all_refunds(db: sqlite3.Connection, order_id: str | None) -> list[sqlite3.Row]:
    return db.execute(
        "SELECT * FROM refunds WHERE ?1 IS NULL OR order_id = ?1 ORDER BY seq", (order_id,)
    ).fetchall()


def totals(db: sqlite3.Connection, order_id: str | None) -> dict[str, dict[str, int]]:
    """What was captured and refunded, per currency."""
    rows = db.execute(
        "SELECT currency, sum(captured_amount), sum(refunded_amount) FROM payments"
        " WHERE ?1 IS NULL OR order_id = ?1 GROUP BY currency ORDER BY currency",
        (order_id,),
    )
    return {
        currency: {"captured": captured, "refunded": refunded}
        for currency, captured, refunded in rows
    }


# Idempotency keys


def find_key(db: sqlite3.Connection, key: str) -> KnownKey | None:
    row = db.execute(
        "SELECT fingerprint, first_seen, turned_away, status, body FROM keys WHERE key = ?", (key,)
    ).fetchone()
    return KnownKey(*row) if row else None


def forget_key(db: sqlite3.Connection, key: str) -> None:
    db.execute("DELETE FROM keys WHERE key = ?", (key,))


def remember_key(db: sqlite3.Connection, key: str, fingerprint: str, now: float) -> None:
    """Note that a key has been seen; its window runs from the first time."""
    db.execute(
        "INSERT INTO keys (key, fingerprint, first_seen) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
        (key, fingerprint, now),
    )


def count_turned_away(db: sqlite3.Connection, key: str) -> None:
    db.execute("UPDATE keys SET turned_away = turned_away + 1 WHERE key = ?", (key,))


def store_answer(db: sqlite3.Connection, key: str, status: int, body: str) -> None:
    db.execute("UPDATE keys SET status = ?, body = ? WHERE key = ?", (status, body, key))


# Late effects


def add_late_effect(db: sqlite3.Connection, late: LateEffect) -> None:
    db.execute("INSERT INTO late_effects VALUES (?, ?, ?, ?, ?)", late)


def take_late_effect(db: sqlite3.Connection, late: LateEffect) -> bool:
    """Remove a late effect; False if it is gone, as after a reset."""
    gone = db.execute(
        "DELETE FROM late_effects WHERE key = ? AND due_at = ?", (late.key, late.due_at)
    )
    return gone.rowcount == 1


def late_effects(db: sqlite3.Connection) -> list[LateEffect]:
    rows = db.execute("SELECT key, operation, order_id, request, due_at FROM late_effects")
    return [LateEffect(*row) for row in rows]


# Webhooks


def add_event(
    db: sqlite3.Connection, event_id: str, body: str, copies: int, held: bool, now: float
) -> None:
    """Queue a webhook; a `held` one waits until a later one has been sent."""
    db.execute(
        "INSERT INTO events (id, body, copies, state, due_at) VALUES (?, ?, ?, ?, ?)",
        (event_id, body, copies, "HELD" if held else "PENDING", now),
    )


def due_events(db: sqlite3.Connection, now: float) -> list[Event]:
    rows = db.execute(
        "SELECT seq, id, body, copies, attempts FROM events"
        " WHERE state = 'PENDING' AND due_at <= ? ORDER BY seq LIMIT 100",
        (now,),
    )
    return [Event(*row) for row in rows]


def next_event_at(db: sqlite3.Connection) -> float | None:
    """When the next webhook is due, None if there is none."""
    due: float | None = db.execute(
        "SELECT min(due_at) FROM events WHERE state = 'PENDING'"
    ).fetchone()[0]
    return due


def event_sent(db: sqlite3.Connection, event: Event) -> None:
    """Mark one as sent, and let go those that were held back for it."""
    with transaction(db):
        db.execute("UPDATE events SET state = 'SENT' WHERE seq = ?", (event.seq,))
        db.execute(
            "UPDATE events SET state = 'PENDING' WHERE state = 'HELD' AND seq < ?", (event.seq,)
        )


def event_failed(db: sqlite3.Connection, event: Event, again_at: float | None) -> None:
    """Note a failed attempt; without `again_at` it was the last one."""
    db.execute(
        "UPDATE events SET attempts = attempts + 1, state = iif(?1 IS NULL, 'GIVEN_UP', state),"
        " due_at = ifnull(?1, due_at) WHERE seq = ?2",
        (again_at, event.seq),
    )


# Counters and settings


def count(db: sqlite3.Connection, name: str) -> int:
    """The next number of a sequence: 1, 2, 3 …, also across restarts."""
    row = db.execute(
        "INSERT INTO counters VALUES (?, 1)"
        " ON CONFLICT (name) DO UPDATE SET value = value + 1 RETURNING value",
        (name,),
    )
    return int(_one(row)["value"])


def setting(db: sqlite3.Connection, name: str) -> str | None:
    row = db.execute("SELECT value FROM settings WHERE name = ?", (name,)).fetchone()
    return row["value"] if row else None


def set_setting(db: sqlite3.Connection, name: str, value: str | None) -> None:
    db.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", (name, value))


def _one(cursor: sqlite3.Cursor) -> sqlite3.Row:
    # All rows are fetched: an open RETURNING statement would keep the commit from happening.
    (row,) = cursor.fetchall()
    assert isinstance(row, sqlite3.Row)
    return row
