"""What every row must say about every other: one statement for each invariant.

Each looks at all that there is of something and says of each one what is `wrong` with it, most
often nothing. They only read, and hold at any moment: what is under way is left out. With
`customers` only what is theirs is looked at, else everything.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    DateTime,
    Function,
    Text,
    TextClause,
    bindparam,
    column,
    func,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, aggregate_order_by

from domain.period import Period
from domain.verification import SHOWN, Booked, Finding, Invariant, Moved, Open, Priced, Violation
from store.database import Transaction
from store.tables import invoices

Customers = Sequence[str] | None
"""Whose; None for everybody's."""

_CUSTOMERS = bindparam("customers", type_=ARRAY(Text))

_LEDGER_BALANCES = text("""
WITH totals AS (
    SELECT transaction_id, unit, sum(amount) AS total FROM postings GROUP BY transaction_id, unit
), sums AS (
    SELECT transaction_id,
        string_agg(format('%s %s', total, unit), ', ' ORDER BY unit) FILTER (WHERE total <> 0)
            AS remainder
    FROM totals GROUP BY transaction_id
)
SELECT t.key AS id, CASE
    WHEN sums.transaction_id IS NULL THEN 'It has no postings.'
    WHEN sums.remainder IS NOT NULL
        THEN format('Its postings come to %s instead of 0.', sums.remainder)
    END AS wrong
FROM ledger_transactions t LEFT JOIN sums ON sums.transaction_id = t.id
WHERE :customers IS NULL
    OR t.payment_id IN (SELECT id FROM payments WHERE customer_id = ANY (:customers))
    OR EXISTS (
        SELECT FROM postings p WHERE p.transaction_id = t.id
            AND p.account LIKE 'wallet:%' AND split_part(p.account, ':', 2) = ANY (:customers)
    )
""")

_WALLETS = text("""
WITH posted AS (
    SELECT account, unit, sum(amount) AS total FROM postings
    WHERE account LIKE 'wallet:%' GROUP BY account, unit
), said AS (
    SELECT format('wallet:%s:available', customer_id) AS account, currency AS unit,
        available AS total
    FROM wallets
    UNION ALL
    SELECT format('wallet:%s:held', customer_id), currency, held FROM wallets
)
SELECT account || ' ' || unit AS id, CASE
    WHEN COALESCE(said.total, 0) <> COALESCE(posted.total, 0)
        THEN format('The wallet says %s, its postings come to %s.',
            COALESCE(said.total, 0), COALESCE(posted.total, 0))
    END AS wrong
FROM said FULL JOIN posted USING (account, unit)
WHERE :customers IS NULL OR split_part(account, ':', 2) = ANY (:customers)
""")

_HOLDS = text("""
WITH live AS (
    SELECT customer_id, currency, sum(amount) AS total FROM wallet_holds
    WHERE state = 'HELD' GROUP BY customer_id, currency
)
SELECT customer_id || ' ' || currency AS id, CASE
    WHEN COALESCE(w.held, 0) <> COALESCE(live.total, 0)
        THEN format('The wallet has set %s aside, its live holds come to %s.',
            COALESCE(w.held, 0), COALESCE(live.total, 0))
    END AS wrong
FROM wallets w FULL JOIN live USING (customer_id, currency)
WHERE :customers IS NULL OR customer_id = ANY (:customers)
""")

_NOTHING_HELD = text("""
WITH holding AS (
    SELECT payment_id, format('%s %s of the wallet', amount, currency) AS what FROM wallet_holds
    WHERE state = 'HELD'
    UNION ALL
    SELECT payment_id, format('%s of %s', quantity, sku) FROM stock_reservations
    WHERE state = 'RESERVED'
    UNION ALL
    SELECT payment_id, format('a use of coupon %s', code) FROM coupon_uses
    WHERE state = 'IN_USE'
), held AS (
    SELECT payment_id, string_agg(what, ', ' ORDER BY what) AS what FROM holding GROUP BY payment_id
)
SELECT p.id::text AS id, CASE
    WHEN held.payment_id IS NOT NULL
        THEN format('It is %s and still holds %s.', p.status, held.what)
    END AS wrong
FROM payments p LEFT JOIN held ON held.payment_id = p.id
WHERE p.status IN ('COMPLETED', 'FAILED', 'CANCELLED')
    AND (:customers IS NULL OR p.customer_id = ANY (:customers))
""")

_HOLDS_END = text("""
WITH due AS (
    SELECT id, customer_id, status, currency AS unit, wallet_amount AS amount FROM payments
    UNION ALL
    SELECT id, customer_id, status, 'POINT', points_amount FROM payments
)
SELECT due.id::text || ' ' || due.unit AS id, CASE
    WHEN h.state = 'HELD' THEN NULL
    WHEN due.status = 'COMPLETED' AND due.amount > 0
        AND (h.state IS DISTINCT FROM 'COMMITTED' OR h.amount <> due.amount)
        OR due.status = 'COMPLETED' AND due.amount = 0 AND h.state IS NOT NULL
        OR due.status <> 'COMPLETED' AND (h.state <> 'RELEASED' OR h.amount <> due.amount)
        THEN format('It is %s and takes %s of the wallet, but its hold is %s.',
            due.status, due.amount, COALESCE(h.state || ' of ' || h.amount, 'missing'))
    END AS wrong
FROM due LEFT JOIN wallet_holds h ON h.payment_id = due.id AND h.currency = due.unit
WHERE due.status IN ('COMPLETED', 'FAILED', 'CANCELLED')
    AND (:customers IS NULL OR due.customer_id = ANY (:customers))
""")

_COUPON_COUNTS = text("""
WITH live AS (
    SELECT code, count(*) AS uses FROM coupon_uses WHERE state <> 'RESTORED' GROUP BY code
), claimed AS (
    SELECT code, count(*) AS claims FROM coupon_claims GROUP BY code
)
SELECT c.code AS id, CASE
    WHEN c.used <> COALESCE(live.uses, 0)
        THEN format('It counts %s uses and has %s.', c.used, COALESCE(live.uses, 0))
    WHEN c.issued <> COALESCE(claimed.claims, 0)
        THEN format('It counts %s claims and has %s.', c.issued, COALESCE(claimed.claims, 0))
    END AS wrong
FROM coupons c LEFT JOIN live USING (code) LEFT JOIN claimed USING (code)
WHERE :customers IS NULL
    OR c.code IN (SELECT code FROM coupon_uses WHERE customer_id = ANY (:customers))
""")

_COUPON_USES_END = text("""
SELECT p.id::text AS id, CASE
    WHEN u.state = 'IN_USE' THEN NULL
    WHEN p.status = 'COMPLETED' AND p.coupon_code <> ''
        AND (u.state IS DISTINCT FROM 'USED' OR u.code <> p.coupon_code)
        OR p.status = 'COMPLETED' AND p.coupon_code = '' AND u.state IS NOT NULL
        OR p.status <> 'COMPLETED' AND u.state <> 'RESTORED'
        THEN format('It is %s, and its use of coupon %s is %s.',
            p.status, COALESCE(u.code, p.coupon_code), COALESCE(u.state, 'missing'))
    END AS wrong
FROM payments p LEFT JOIN coupon_uses u ON u.payment_id = p.id
WHERE p.status IN ('COMPLETED', 'FAILED', 'CANCELLED')
    AND (:customers IS NULL OR p.customer_id = ANY (:customers))
""")

_COUPONS_APPLIED = text("""
SELECT o.id::text AS id, CASE
    WHEN o.coupon_applied_by IS NOT NULL
        AND (o.coupon_applied_by IS DISTINCT FROM p.id OR p.coupon_code = '')
        OR o.coupon_applied_by IS NULL AND p.status = 'COMPLETED' AND p.coupon_code <> ''
        THEN format('Its coupon is applied by %s, and it is paid by %s.',
            COALESCE(o.coupon_applied_by::text, 'nobody'), COALESCE(p.id::text, 'nobody'))
    END AS wrong
FROM orders o LEFT JOIN payments p
    ON p.payable_type = 'ORDER' AND p.payable_id = o.id AND p.status NOT IN ('FAILED', 'CANCELLED')
WHERE :customers IS NULL OR o.customer_id = ANY (:customers)
""")

_STOCK = text("""
WITH aside AS (
    SELECT sku, sum(quantity) AS quantity FROM stock_reservations
    WHERE state IN ('RESERVED', 'NEEDS_REVIEW') GROUP BY sku
)
SELECT sku AS id, CASE
    WHEN COALESCE(i.reserved, 0) <> COALESCE(aside.quantity, 0)
        THEN format('%s are reserved, its reservations come to %s.',
            COALESCE(i.reserved, 0), COALESCE(aside.quantity, 0))
    END AS wrong
FROM inventory i FULL JOIN aside USING (sku)
WHERE :customers IS NULL OR sku IN (
    SELECT r.sku FROM stock_reservations r JOIN payments p ON p.id = r.payment_id
    WHERE p.customer_id = ANY (:customers)
)
""")

_RESERVATIONS_END = text("""
WITH sold AS (
    SELECT payment_id, jsonb_agg(jsonb_build_array(sku, quantity)) AS stock FROM stock_reservations
    WHERE state IN ('COMMITTED', 'RESERVED') GROUP BY payment_id
)
SELECT p.id::text AS id, CASE
    WHEN p.status = 'COMPLETED' AND NOT (
            p.stock @> COALESCE(sold.stock, '[]') AND COALESCE(sold.stock, '[]') @> p.stock
        )
        OR p.status <> 'COMPLETED' AND EXISTS (
            SELECT FROM stock_reservations r WHERE r.payment_id = p.id AND r.state = 'COMMITTED'
        )
        THEN format('It is %s and sells %s, but %s has left the stock.',
            p.status, p.stock, COALESCE(sold.stock, '[]'))
    END AS wrong
FROM payments p LEFT JOIN sold ON sold.payment_id = p.id
WHERE p.status IN ('COMPLETED', 'FAILED', 'CANCELLED')
    AND (:customers IS NULL OR p.customer_id = ANY (:customers))
""")

_POINTS = text("""
WITH moved AS (
    SELECT t.payment_id,
        sum(p.amount) FILTER (WHERE p.account = 'points:redeemed' AND t.kind = 'redeem')
            AS redeemed,
        -sum(p.amount) FILTER (WHERE p.account = 'points:issued' AND t.kind = 'earn') AS earned,
        sum(p.amount) FILTER (WHERE p.account = 'points:issued' AND t.kind = 'take-back')
            AS taken_back
    FROM postings p JOIN ledger_transactions t ON t.id = p.transaction_id
    WHERE p.account IN ('points:redeemed', 'points:issued')
    GROUP BY t.payment_id
), compared AS (
    SELECT p.id, p.customer_id,
        ROW(CASE p.status WHEN 'COMPLETED' THEN p.points_amount ELSE 0 END,
            p.points_earned, p.points_taken_back) AS said,
        ROW(COALESCE(m.redeemed, 0), COALESCE(m.earned, 0), COALESCE(m.taken_back, 0)) AS booked
    FROM payments p LEFT JOIN moved m ON m.payment_id = p.id
)
SELECT id::text AS id, CASE
    WHEN said::text <> booked::text
        THEN format('Its points (redeemed, earned, taken back) are %s, in the ledger %s.',
            said, booked)
    END AS wrong
FROM compared WHERE :customers IS NULL OR customer_id = ANY (:customers)
""")

_AUTHORIZATIONS = text("""
SELECT p.id::text AS id, CASE
    WHEN a.outcome = 'AUTHORIZED' AND c.outcome IS DISTINCT FROM 'CAPTURED'
        AND NOT EXISTS (SELECT FROM watches w WHERE w.payment_id = p.id AND w.ended_at IS NULL)
        THEN format('It is %s, and its authorization was neither let go nor captured.', p.status)
    END AS wrong
FROM payments p
JOIN gateway_attempts a ON a.reference_id = p.id AND a.operation = 'authorize'
LEFT JOIN gateway_attempts c ON c.reference_id = p.id AND c.operation = 'capture'
WHERE p.status IN ('FAILED', 'CANCELLED')
    AND (:customers IS NULL OR p.customer_id = ANY (:customers))
""")

_ATTEMPTS = text("""
SELECT a.reference_id::text || ' ' || a.operation AS id, CASE
    WHEN a.outcome IS NULL AND r.id IS NOT NULL AND r.status IN ('COMPLETED', 'FAILED')
        OR a.outcome IS NULL AND r.id IS NULL AND p.status IN ('COMPLETED', 'FAILED', 'CANCELLED')
            AND w.payment_id IS NULL
        THEN format('It was sent to the PG by what is %s, and nobody knows what became of it.',
            COALESCE(r.status, p.status))
    END AS wrong
FROM gateway_attempts a
JOIN payments p ON p.id = a.payment_id
LEFT JOIN refunds r ON r.id = a.reference_id
LEFT JOIN watches w ON w.payment_id = p.id AND w.ended_at IS NULL
WHERE :customers IS NULL OR p.customer_id = ANY (:customers)
""")

_PAYMENTS_BOOKED = text("""
WITH booked AS (
    SELECT p.id,
        -sum(l.amount) FILTER (WHERE l.account = 'gateway:' || p.gateway) AS card,
        -sum(l.amount) FILTER (WHERE l.account = format('wallet:%s:held', p.customer_id)) AS wallet,
        sum(l.amount) FILTER (
            WHERE l.account = CASE p.payable_type
                WHEN 'TOP_UP' THEN format('wallet:%s:available', p.customer_id) ELSE 'sales' END
        ) AS income
    FROM payments p
    JOIN ledger_transactions t ON t.payment_id = p.id AND t.kind = 'capture'
    JOIN postings l ON l.transaction_id = t.id
    GROUP BY p.id
), compared AS (
    SELECT p.id, p.status,
        CASE p.status WHEN 'COMPLETED'
            THEN ROW(p.card_amount, p.wallet_amount, p.card_amount + p.wallet_amount)
            ELSE ROW(0::bigint, 0::bigint, 0::bigint) END AS due,
        ROW(COALESCE(b.card, 0), COALESCE(b.wallet, 0), COALESCE(b.income, 0)) AS booked
    FROM payments p LEFT JOIN booked b ON b.id = p.id
    WHERE p.status IN ('COMPLETED', 'FAILED', 'CANCELLED')
        AND (:customers IS NULL OR p.customer_id = ANY (:customers))
)
SELECT id::text AS id, CASE
    WHEN due::text <> booked::text
        THEN format('It is %s: (card, wallet, income) should be %s, and %s is booked.',
            status, due, booked)
    END AS wrong
FROM compared
""")

_REFUNDS_BOOKED = text("""
WITH booked AS (
    SELECT r.id,
        sum(l.amount) FILTER (WHERE l.account = 'gateway:' || r.gateway) AS card,
        sum(l.amount) FILTER (
            WHERE l.account = format('wallet:%s:available', r.customer_id) AND l.unit <> 'POINT'
        ) AS wallet,
        sum(l.amount) FILTER (
            WHERE l.account = format('wallet:%s:available', r.customer_id) AND l.unit = 'POINT'
        ) AS points
    FROM refunds r
    JOIN ledger_transactions t ON t.key = 'refund/' || r.id
    JOIN postings l ON l.transaction_id = t.id
    GROUP BY r.id
), compared AS (
    SELECT r.id, r.status,
        CASE r.status WHEN 'COMPLETED' THEN ROW(r.card_amount, r.wallet_amount, r.points_amount)
            ELSE ROW(0::bigint, 0::bigint, 0::bigint) END AS due,
        ROW(COALESCE(b.card, 0), COALESCE(b.wallet, 0), COALESCE(b.points, 0)) AS booked
    FROM refunds r LEFT JOIN booked b ON b.id = r.id
    WHERE :customers IS NULL OR r.customer_id = ANY (:customers)
)
SELECT id::text AS id, CASE
    WHEN due::text <> booked::text
        THEN format('It is %s: (card, wallet, points) should be %s, and %s is booked.',
            status, due, booked)
    END AS wrong
FROM compared
""")

_LATE_CAPTURES = text("""
WITH kept AS (
    SELECT t.payment_id, l.unit, sum(l.amount) AS amount
    FROM postings l JOIN ledger_transactions t ON t.id = l.transaction_id
    WHERE l.account = 'suspense:late-captures'
    GROUP BY t.payment_id, l.unit
), given_back AS (
    SELECT r.payment_id,
        bool_or(r.status NOT IN ('COMPLETED', 'FAILED')) AS on_its_way,
        bool_or(r.status = 'FAILED' AND EXISTS (
            SELECT FROM reviews v WHERE v.reference_id = r.id AND v.decided_by IS NOT NULL
        )) AS given_up
    FROM refunds r GROUP BY r.payment_id
)
SELECT COALESCE(kept.payment_id::text, '') AS id, CASE
    WHEN kept.amount <> 0 AND NOT COALESCE(g.on_its_way OR g.given_up, false)
        THEN format('%s %s are kept in suspense, and nobody gives them back.',
            kept.amount, kept.unit)
    END AS wrong
FROM kept LEFT JOIN payments p ON p.id = kept.payment_id
LEFT JOIN given_back g ON g.payment_id = kept.payment_id
WHERE :customers IS NULL OR p.customer_id = ANY (:customers)
""")

_ORDERS = text("""
WITH paying AS (
    SELECT payable_id, bool_or(status = 'COMPLETED') AS paid,
        bool_or(status NOT IN ('COMPLETED', 'FAILED', 'CANCELLED')) AS under_way,
        string_agg(status, ', ' ORDER BY created_at) AS statuses
    FROM payments WHERE payable_type = 'ORDER' GROUP BY payable_id
)
SELECT o.id::text AS id, CASE
    WHEN o.status NOT IN ('PAYING', 'NEEDS_REVIEW') AND paying.under_way
        OR NOT COALESCE(paying.under_way, false) AND o.status <> CASE
            WHEN paying.payable_id IS NULL THEN 'CREATED'
            WHEN paying.paid THEN 'COMPLETED' ELSE 'FAILED' END
        THEN format('It is %s, its payments are %s.',
            o.status, COALESCE(paying.statuses, 'none'))
    END AS wrong
FROM orders o LEFT JOIN paying ON paying.payable_id = o.id
WHERE :customers IS NULL OR o.customer_id = ANY (:customers)
""")

_REFUNDS = text("""
WITH counted AS (
    SELECT r.payment_id,
        sum(r.card_amount) FILTER (WHERE r.status <> 'FAILED') AS card,
        sum(r.wallet_amount) FILTER (WHERE r.status <> 'FAILED') AS wallet,
        sum(r.points_amount) FILTER (WHERE r.status <> 'FAILED') AS points,
        sum(r.card_amount + r.wallet_amount) FILTER (WHERE r.status = 'COMPLETED') AS money,
        sum(r.card_amount + r.wallet_amount + r.points_amount)
            FILTER (WHERE r.status = 'COMPLETED') AS in_all
    -- A payment that took nothing has one refund at most, that of a late capture.
    FROM refunds r JOIN payments p ON p.id = r.payment_id AND p.status = 'COMPLETED'
    GROUP BY r.payment_id
), compared AS (
    SELECT p.id, p.customer_id, p.status, p.card_amount, p.wallet_amount, p.points_amount, c.card,
        c.wallet, c.points,
        ROW(p.card_refunded, p.wallet_refunded, p.points_refunded, p.money_refunded,
            p.refunded_amount) AS said,
        ROW(COALESCE(c.card, 0), COALESCE(c.wallet, 0), COALESCE(c.points, 0),
            COALESCE(c.money, 0), COALESCE(c.in_all, 0)) AS counted
    FROM payments p LEFT JOIN counted c ON c.payment_id = p.id
)
SELECT id::text AS id, CASE
    WHEN said::text <> counted::text THEN format(
        'It says (card, wallet, points, money, all) %s, its refunds come to %s.', said, counted)
    WHEN card > card_amount OR wallet > wallet_amount OR points > points_amount
        THEN format('Its refunds come to %s, more than it took.', counted)
    END AS wrong
FROM compared WHERE :customers IS NULL OR customer_id = ANY (:customers)
""")

_STEPS = text("""
WITH stepped AS (
    SELECT s.saga_id,
        bool_or(s.step = 'payment.complete' AND s.state = 'DONE') AS completed,
        bool_or(s.step = 'payment.fail' AND s.state = 'DONE') AS failed,
        string_agg(s.step || ' is ' || s.state, ', ' ORDER BY s.step) FILTER (
            WHERE s.state NOT IN ('DONE') AND s.step NOT IN ('payment.complete', 'payment.fail')
        ) AS not_done,
        string_agg(s.step || ' is ' || s.state, ', ' ORDER BY s.step) FILTER (
            WHERE s.state NOT IN ('UNDONE', 'REFUSED')
                AND s.step NOT IN ('payment.complete', 'payment.fail')
                -- Goods of a SKU that was withdrawn wait for a person.
                AND NOT (s.step = 'inventory.reserve' AND s.state = 'NEEDS_REVIEW')
        ) AS not_undone
    FROM saga_steps s GROUP BY s.saga_id
)
SELECT p.id::text AS id, CASE
    WHEN p.status = 'COMPLETED' AND s.completed IS NOT TRUE
        THEN 'It is COMPLETED, but has not taken that step.'
    WHEN p.status <> 'COMPLETED' AND s.failed IS NOT TRUE
        THEN format('It is %s, but has not taken that step.', p.status)
    WHEN p.status = 'COMPLETED' AND s.failed OR p.status <> 'COMPLETED' AND s.completed
        THEN format('It is %s, but has taken the step of the other end too.', p.status)
    WHEN p.status = 'COMPLETED' AND s.not_done IS NOT NULL
        THEN format('It is COMPLETED, but %s.', s.not_done)
    WHEN p.status <> 'COMPLETED' AND s.not_undone IS NOT NULL
        THEN format('It is %s, but %s.', p.status, s.not_undone)
    END AS wrong
FROM payments p LEFT JOIN stepped s ON s.saga_id = p.id
WHERE p.status IN ('COMPLETED', 'FAILED', 'CANCELLED')
    AND (:customers IS NULL OR p.customer_id = ANY (:customers))
""")

_STEPS_TOLD = text("""
WITH told AS (
    SELECT data->>'sagaId' AS saga_id, data->>'step' AS step, data->>'outcome' AS outcome,
        lag(data->>'outcome') OVER each AS before,
        row_number() OVER (
            PARTITION BY data->>'sagaId', data->>'step' ORDER BY aggregate_version DESC
        ) AS age,
        -- Nothing but what is given back, if need be by a person.
        bool_or(data->>'step' IN ('payment.complete', 'payment.fail')) OVER (
            PARTITION BY data->>'sagaId' ORDER BY aggregate_version
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AND data->>'outcome' NOT IN ('UNDONE', 'NEEDS_REVIEW') AS after_the_end
    FROM outbox
    WHERE topic = 'billing.order.step' AND raw_header_names IS NULL
        AND (:customers IS NULL OR customer_id = ANY (:customers))
    WINDOW each AS (PARTITION BY data->>'sagaId', data->>'step' ORDER BY aggregate_version)
), newest AS (
    SELECT saga_id, step, max(outcome) FILTER (WHERE age = 1) AS outcome,
        bool_or(outcome = before) AS twice, bool_or(after_the_end) AS after_the_end
    FROM told GROUP BY saga_id, step
), standing AS (
    SELECT s.saga_id::text AS saga_id, s.step, s.state
    FROM saga_steps s JOIN payments p ON p.id = s.saga_id AND p.payable_type = 'ORDER'
    WHERE :customers IS NULL OR p.customer_id = ANY (:customers)
)
SELECT saga_id || ' ' || step AS id, CASE
    WHEN standing.state IS DISTINCT FROM newest.outcome
        THEN format('It is %s, but was told as %s.',
            COALESCE(standing.state, 'missing'), COALESCE(newest.outcome, 'nothing'))
    WHEN newest.twice THEN format('It was told twice as %s.', newest.outcome)
    WHEN newest.after_the_end THEN 'It was told after the end of its payment.'
    END AS wrong
FROM standing FULL JOIN newest USING (saga_id, step)
""")

_ORDERS_TOLD = text("""
WITH told AS (
    SELECT DISTINCT ON (aggregate_id) aggregate_id, data->>'orderStatus' AS status FROM outbox
    WHERE topic = 'billing.order.step' AND raw_header_names IS NULL
        AND (:customers IS NULL OR customer_id = ANY (:customers))
    ORDER BY aggregate_id, aggregate_version DESC
)
SELECT o.id::text AS id, CASE
    WHEN o.status <> COALESCE(told.status, 'CREATED')
        THEN format('It is %s, but was told as %s.', o.status, COALESCE(told.status, 'CREATED'))
    END AS wrong
FROM orders o LEFT JOIN told ON told.aggregate_id = o.id
WHERE o.status NOT IN ('PAYING', 'NEEDS_REVIEW')
    AND (:customers IS NULL OR o.customer_id = ANY (:customers))
""")

_ENDS_TOLD = text("""
WITH due AS (
    SELECT id AS aggregate_id, customer_id, 'billing.order.created' AS topic FROM orders
    UNION ALL
    SELECT id, customer_id, CASE status
        WHEN 'COMPLETED' THEN 'billing.payment.completed' ELSE 'billing.payment.failed' END
    FROM payments WHERE status IN ('COMPLETED', 'FAILED', 'CANCELLED')
    UNION ALL
    SELECT payable_id, customer_id, CASE status
        WHEN 'COMPLETED' THEN 'billing.order.completed' ELSE 'billing.order.failed' END
    FROM payments
    WHERE status IN ('COMPLETED', 'FAILED', 'CANCELLED') AND payable_type = 'ORDER'
    UNION ALL
    SELECT payment_id, customer_id, 'billing.refund.completed' FROM refunds
    WHERE status = 'COMPLETED'
    UNION ALL
    SELECT id, customer_id, topic
    FROM invoices CROSS JOIN (
        VALUES ('billing.invoice.created'), ('billing.settlement.completed')
    ) AS issued (topic)
    WHERE number IS NOT NULL
    UNION ALL
    SELECT id, customer_id, 'billing.invoice.paid' FROM invoices WHERE status = 'PAID'
    UNION ALL
    SELECT i.id, i.customer_id, 'billing.overdue.notice.DLT'
    FROM dead_letters d JOIN invoices i ON d.reference = 'invoice/' || i.id
), expected AS (
    SELECT aggregate_id, topic, count(*) AS times FROM due
    WHERE :customers IS NULL OR customer_id = ANY (:customers)
    GROUP BY aggregate_id, topic
), told AS (
    SELECT aggregate_id, topic, count(*) AS times FROM outbox
    WHERE topic IN (
        'billing.order.created', 'billing.order.completed', 'billing.order.failed',
        'billing.payment.completed', 'billing.payment.failed', 'billing.refund.completed',
        'billing.invoice.created', 'billing.settlement.completed', 'billing.invoice.paid',
        'billing.overdue.notice.DLT'
    ) AND raw_header_names IS NULL AND (:customers IS NULL OR customer_id = ANY (:customers))
    GROUP BY aggregate_id, topic
)
SELECT aggregate_id::text || ' ' || topic AS id, CASE
    WHEN COALESCE(expected.times, 0) <> COALESCE(told.times, 0)
        THEN format('It should have been told %s times, and was told %s times.',
            COALESCE(expected.times, 0), COALESCE(told.times, 0))
    END AS wrong
FROM expected FULL JOIN told USING (aggregate_id, topic)
""")

_VERSIONS = text("""
WITH told AS (
    SELECT aggregate_id, count(*) AS events, min(aggregate_version) AS first,
        max(aggregate_version) AS last, min(customer_id) AS customer_id
    FROM outbox GROUP BY aggregate_id
)
SELECT aggregate_id::text AS id, CASE
    WHEN told.events IS NULL OR told.first <> 1 OR told.last <> told.events
        THEN format('It has %s events, from version %s to %s.',
            COALESCE(told.events, 0), told.first, told.last)
    WHEN v.version IS DISTINCT FROM told.last
        THEN format('It counts %s events and has %s.', COALESCE(v.version, 0), told.events)
    END AS wrong
FROM aggregate_versions v FULL JOIN told USING (aggregate_id)
WHERE :customers IS NULL OR told.customer_id = ANY (:customers)
""")

_REVIEWS = text("""
WITH waiting AS (
    SELECT id, id AS payment_id FROM payments WHERE status = 'NEEDS_REVIEW'
    UNION ALL
    SELECT id, payment_id FROM refunds WHERE status = 'NEEDS_REVIEW'
), asked AS (
    SELECT v.reference_id AS id, v.payment_id,
        CASE WHEN r.id IS NOT NULL THEN r.status IN ('COMPLETED', 'FAILED')
            ELSE p.status IN ('COMPLETED', 'FAILED', 'CANCELLED') AND w.payment_id IS NULL
        END AS ended
    FROM reviews v
    JOIN payments p ON p.id = v.payment_id
    LEFT JOIN refunds r ON r.id = v.reference_id
    LEFT JOIN watches w ON w.payment_id = p.id AND w.ended_at IS NULL
    WHERE v.closed_at IS NULL
)
SELECT COALESCE(waiting.id, asked.id)::text AS id, CASE
    WHEN asked.id IS NULL THEN 'It waits for a person, but nobody is asked.'
    WHEN asked.ended THEN 'A person is asked about it, but it has ended.'
    END AS wrong
FROM waiting FULL JOIN asked ON asked.id = waiting.id
JOIN payments p ON p.id = COALESCE(waiting.payment_id, asked.payment_id)
WHERE :customers IS NULL OR p.customer_id = ANY (:customers)
""")

_INVOICE_LINES = text("""
WITH summed AS (
    SELECT invoice_id, sum(amount) AS total FROM invoice_lines GROUP BY invoice_id
)
SELECT i.id::text AS id, CASE
    WHEN i.total <> COALESCE(summed.total, 0)
        THEN format('Its total is %s, its lines come to %s.', i.total, COALESCE(summed.total, 0))
    END AS wrong
FROM invoices i LEFT JOIN summed ON summed.invoice_id = i.id
WHERE i.status <> 'REJECTED' AND (:customers IS NULL OR i.customer_id = ANY (:customers))
""")

_INVOICE_USAGE = text("""
WITH claimed AS (
    SELECT invoice_id, resource_type, count(*) AS events, sum(quantity) AS quantity
    FROM usage_events WHERE invoice_id IS NOT NULL GROUP BY invoice_id, resource_type
), noted AS (
    SELECT a.invoice_id, a.resource_type, sum(a.events) AS events, sum(a.quantity) AS quantity
    FROM aggregated_usage a JOIN invoices i ON i.id = a.invoice_id
    WHERE i.status NOT IN ('REJECTED', 'CANCELLED')
    GROUP BY a.invoice_id, a.resource_type
)
SELECT invoice_id::text || ' ' || resource_type AS id, CASE
    WHEN i.id IS NULL THEN format('%s events are claimed by an invoice that is not there.',
        claimed.events)
    -- What a check has stopped keeps the usage of its own month only.
    WHEN i.status = 'DRAFT' THEN NULL
    WHEN COALESCE(claimed.events, 0) <> COALESCE(noted.events, 0)
        OR COALESCE(claimed.quantity, 0) <> COALESCE(noted.quantity, 0)
        THEN format('It is %s and bills %s in %s events, but has claimed %s in %s.', i.status,
            COALESCE(noted.quantity, 0), COALESCE(noted.events, 0),
            COALESCE(claimed.quantity, 0), COALESCE(claimed.events, 0))
    END AS wrong
FROM claimed FULL JOIN noted USING (invoice_id, resource_type)
LEFT JOIN invoices i ON i.id = invoice_id
WHERE :customers IS NULL OR i.customer_id = ANY (:customers)
""")

_INVOICE_NUMBERS = text("""
WITH numbered AS (
    SELECT number, issued_at, customer_id, lag(number) OVER given AS before,
        lag(issued_at) OVER given AS dated
    FROM invoices WHERE number IS NOT NULL
    WINDOW given AS (ORDER BY number)
)
SELECT number::text AS id, CASE
    WHEN number <> COALESCE(before, 0) + 1
        THEN format('The number before it is %s.', COALESCE(before, 0))
    WHEN issued_at < dated THEN format('It is dated %s, number %s before it %s.',
        issued_at, before, dated)
    END AS wrong
FROM numbered WHERE :customers IS NULL OR customer_id = ANY (:customers)
UNION ALL
SELECT 'series ' || series, CASE
    WHEN last <> (SELECT COALESCE(max(number), 0) FROM invoices)
        THEN format('It has given %s numbers, the last that an invoice has is %s.',
            last, (SELECT COALESCE(max(number), 0) FROM invoices))
    END
FROM invoice_numbers WHERE :customers IS NULL
""")

_INVOICES_PAID = text("""
WITH booked AS (
    SELECT p.payable_id AS invoice_id, sum(l.amount) AS amount
    FROM payments p
    JOIN ledger_transactions t ON t.payment_id = p.id AND t.kind = 'capture'
    JOIN postings l ON l.transaction_id = t.id AND l.account = 'sales'
    WHERE p.payable_type = 'INVOICE'
    GROUP BY p.payable_id
), outside AS (
    SELECT t.key, sum(l.amount) AS amount
    FROM ledger_transactions t
    JOIN postings l ON l.transaction_id = t.id AND l.account = 'sales'
    WHERE t.kind = 'paid-outside'
    GROUP BY t.key
)
SELECT i.id::text AS id, CASE
    WHEN COALESCE(b.amount, 0) + COALESCE(o.amount, 0)
        <> CASE i.status WHEN 'PAID' THEN i.total ELSE 0 END
        THEN format('It is %s with a total of %s; %s are booked as charged, %s as paid outside.',
            i.status, i.total, COALESCE(b.amount, 0), COALESCE(o.amount, 0))
    END AS wrong
FROM invoices i
LEFT JOIN booked b ON b.invoice_id = i.id
LEFT JOIN outside o ON o.key = 'invoice/' || i.id || '/paid-outside'
WHERE :customers IS NULL OR i.customer_id = ANY (:customers)
""")

_USAGE_COUNTED = text("""
WITH counted AS (
    SELECT customer_id, event_id, count(*) AS events,
        bool_or(void_reason IS NOT NULL AND invoice_id IS NOT NULL) AS void_billed
    FROM usage_events GROUP BY customer_id, event_id
)
SELECT customer_id || ' ' || event_id AS id, CASE
    WHEN i.customer_id IS NULL THEN 'It has an event, but no identity: it could be counted again.'
    WHEN counted.events IS NULL THEN 'It was accepted, but has no event: it is never billed.'
    WHEN counted.events > 1 THEN format('It was counted %s times.', counted.events)
    WHEN counted.void_billed THEN 'It is void, but on an invoice.'
    END AS wrong
FROM usage_identities i FULL JOIN counted USING (customer_id, event_id)
WHERE :customers IS NULL OR customer_id = ANY (:customers)
""")

_USAGE_BILLED = text("""
WITH months AS (
    SELECT * FROM unnest(
        CAST(:periods AS text[]), CAST(:zones AS text[]),
        CAST(:begins AS timestamptz[]), CAST(:ends AS timestamptz[])
    ) AS month (period, zone, begins, ends)
), settled AS (
    SELECT i.id, i.customer_id, i.period, i.created_at, m.begins, m.ends
    FROM invoices i
    JOIN months m ON m.period = i.period AND m.zone = i.snapshot->>'timeZone'
    WHERE (i.number IS NOT NULL OR i.status = 'SKIPPED') AND i.status <> 'CANCELLED'
        -- Who gave usage back leaves it for the next settlement.
        AND NOT EXISTS (
            SELECT FROM invoices g WHERE g.customer_id = i.customer_id
                AND g.status IN ('REJECTED', 'CANCELLED', 'DRAFT')
                AND GREATEST(g.updated_at, g.closed_at) > i.created_at
        )
), free AS (
    SELECT s.id, count(*) AS events, min(e.event_id) AS first
    FROM settled s
    JOIN usage_events e ON e.customer_id = s.customer_id
        AND e.occurred_at >= s.begins AND e.occurred_at < s.ends
    WHERE e.invoice_id IS NULL AND e.void_reason IS NULL
        -- What was being written while the month was claimed is billed next time.
        AND e.received_at < s.created_at - interval '1 minute'
    GROUP BY s.id
)
SELECT s.id::text AS id, CASE
    WHEN free.id IS NOT NULL THEN format(
        '%s events of %s came before it was made and are on no invoice, %s the first of them.',
        free.events, s.period, free.first)
    END AS wrong
FROM settled s LEFT JOIN free USING (id)
WHERE :customers IS NULL OR s.customer_id = ANY (:customers)
""")

_STATEMENTS: Mapping[Invariant, TextClause] = {
    Invariant.LEDGER_BALANCES: _LEDGER_BALANCES,
    Invariant.WALLETS: _WALLETS,
    Invariant.HOLDS: _HOLDS,
    Invariant.NOTHING_HELD: _NOTHING_HELD,
    Invariant.HOLDS_END: _HOLDS_END,
    Invariant.COUPON_COUNTS: _COUPON_COUNTS,
    Invariant.COUPON_USES_END: _COUPON_USES_END,
    Invariant.COUPONS_APPLIED: _COUPONS_APPLIED,
    Invariant.STOCK: _STOCK,
    Invariant.RESERVATIONS_END: _RESERVATIONS_END,
    Invariant.POINTS: _POINTS,
    Invariant.AUTHORIZATIONS: _AUTHORIZATIONS,
    Invariant.ATTEMPTS: _ATTEMPTS,
    Invariant.PAYMENTS_BOOKED: _PAYMENTS_BOOKED,
    Invariant.REFUNDS_BOOKED: _REFUNDS_BOOKED,
    Invariant.LATE_CAPTURES: _LATE_CAPTURES,
    Invariant.ORDERS: _ORDERS,
    Invariant.REFUNDS: _REFUNDS,
    Invariant.STEPS: _STEPS,
    Invariant.STEPS_TOLD: _STEPS_TOLD,
    Invariant.ORDERS_TOLD: _ORDERS_TOLD,
    Invariant.ENDS_TOLD: _ENDS_TOLD,
    Invariant.VERSIONS: _VERSIONS,
    Invariant.REVIEWS: _REVIEWS,
    Invariant.INVOICE_LINES: _INVOICE_LINES,
    Invariant.INVOICE_USAGE: _INVOICE_USAGE,
    Invariant.INVOICE_NUMBERS: _INVOICE_NUMBERS,
    Invariant.INVOICES_PAID: _INVOICES_PAID,
    Invariant.USAGE_COUNTED: _USAGE_COUNTED,
    Invariant.USAGE_BILLED: _USAGE_BILLED,
}

INVARIANTS = tuple(_STATEMENTS)
"""Those that one statement tells."""


async def look(tx: Transaction, invariant: Invariant, customers: Customers = None) -> Finding:
    """Look at everything that an invariant is about, or at all of it that is these customers'."""
    values: dict[str, Any] = {"customers": customers}
    if invariant is Invariant.USAGE_BILLED:
        values |= await _months(tx)
    statement = _STATEMENTS[invariant].bindparams(_CUSTOMERS)
    each = statement.columns(column("id", Text), column("wrong", Text)).subquery("checked").c
    is_wrong = each.wrong.is_not(None)
    ids, sentences = (
        _gathered(told, each.id).filter(is_wrong)[1:SHOWN] for told in (each.id, each.wrong)
    )
    query = select(func.count(), func.count(each.wrong), ids, sentences).select_from(each.id.table)
    looked_at, violations, first, wrong = (await tx.execute(query, values)).one()
    told = zip(first or (), wrong or (), strict=True)
    return Finding(invariant, looked_at, violations, tuple(Violation(*one) for one in told))


def _gathered(told: ColumnElement[str], by: ColumnElement[str]) -> Function[Any]:
    ordered = aggregate_order_by(func.coalesce(told, ""), by)
    return func.array_agg(ordered, type_=ARRAY(Text))


async def _months(tx: Transaction) -> dict[str, list[Any]]:
    """When the months of the invoices began and ended. Only we know: PostgreSQL has time zones of
    its own (`domain.period`)."""
    zone = invoices.c.snapshot["timeZone"].astext
    query = select(invoices.c.period, zone).where(zone.is_not(None)).distinct()
    months = [(Period.parse(period), name) for period, name in await tx.execute(query)]
    return {
        "periods": [str(period) for period, _ in months],
        "zones": [name for _, name in months],
        "begins": [period.starts_at(name) for period, name in months],
        "ends": [period.ends_at(name) for period, name in months],
    }


async def priced(
    tx: Transaction, customers: Customers, after_id: str | None, limit: int
) -> list[Priced]:
    """Invoices whose lines stand, with their frozen price lists, in id order after `after_id`."""
    query = select(invoices.c.id, invoices.c.snapshot).where(
        invoices.c.status.not_in(["DRAFT", "REJECTED"])
    )
    if customers is not None:
        query = query.where(invoices.c.customer_id.in_(customers))
    if after_id is not None:
        query = query.where(invoices.c.id > after_id)
    rows = await tx.execute(query.order_by(invoices.c.id).limit(limit))
    return [Priced(*row) for row in rows]


_OPEN = text("""
SELECT 'payment' AS noun, id::text AS id, customer_id, '' AS period FROM payments
WHERE status NOT IN ('COMPLETED', 'FAILED', 'CANCELLED') AND created_at < :before
UNION
SELECT 'payment', payment_id::text, p.customer_id, ''
FROM watches w JOIN payments p ON p.id = w.payment_id
WHERE w.ended_at IS NULL AND w.began_at < :before
UNION ALL
SELECT 'refund', id::text, customer_id, '' FROM refunds
WHERE status NOT IN ('COMPLETED', 'FAILED', 'CANCELLED') AND created_at < :before
UNION ALL
SELECT 'invoice', id::text, customer_id, period FROM invoices
WHERE status IN ('ISSUED', 'OVERDUE', 'UNCOLLECTIBLE') AND issued_at < :before
UNION ALL
-- One that a check has stopped waits for another settlement, which somebody has to ask for.
SELECT 'settlement', id::text, customer_id, period FROM invoices
WHERE (status = 'AWAITING_APPROVAL' OR status = 'DRAFT' AND reason IS NULL)
    AND created_at < :before AND updated_at < :before
UNION ALL
SELECT 'settlement', customer_id || ' ' || period, customer_id, period FROM settlement_outcomes
WHERE status = 'NOT_OVER' AND updated_at < :before
""").bindparams(bindparam("before", type_=DateTime(timezone=True)))


async def open_before(tx: Transaction, before: datetime) -> list[Open]:
    """Whatever is open since then: somebody must own it."""
    return [Open(*row) for row in await tx.execute(_OPEN, {"before": before})]


_AT_GATEWAYS = text("""
WITH moved AS (
    SELECT t.payment_id, l.unit,
        COALESCE(-sum(l.amount) FILTER (WHERE l.amount < 0), 0)::bigint AS captured,
        COALESCE(sum(l.amount) FILTER (WHERE l.amount > 0), 0)::bigint AS refunded
    FROM postings l JOIN ledger_transactions t ON t.id = l.transaction_id
    WHERE l.account IN (SELECT 'gateway:' || name FROM unnest(CAST(:gateways AS text[])) AS name)
        AND (CAST(:ids AS uuid[]) IS NULL OR t.payment_id = ANY (CAST(:ids AS uuid[])))
    GROUP BY t.payment_id, l.unit
)
SELECT p.id::text, m.unit, m.captured, m.refunded,
    p.status IN ('COMPLETED', 'FAILED', 'CANCELLED')
    AND NOT EXISTS (SELECT FROM watches w WHERE w.payment_id = p.id AND w.ended_at IS NULL)
    AND NOT EXISTS (
        SELECT FROM refunds r WHERE r.payment_id = p.id
            AND r.status NOT IN ('COMPLETED', 'FAILED', 'CANCELLED')
    ) AS at_rest
FROM payments p LEFT JOIN moved m ON m.payment_id = p.id
WHERE p.card_amount > 0 AND p.gateway = ANY (CAST(:gateways AS text[]))
    AND (CAST(:ids AS uuid[]) IS NULL OR p.id = ANY (CAST(:ids AS uuid[])))
    AND (:customers IS NULL OR p.customer_id = ANY (:customers))
""").bindparams(_CUSTOMERS)


async def at_gateways(
    tx: Transaction,
    gateways: Sequence[str],
    payment_ids: Sequence[str] | None = None,
    customers: Customers = None,
) -> dict[str, Booked]:
    """What the ledger says of each payment through these gateways, or of these payments. Read as it
    comes: PostgreSQL ends a transaction that is silent for as long as a million rows would take."""
    values = {"gateways": list(gateways), "ids": payment_ids, "customers": customers}
    booked: dict[str, Booked] = {}
    rows = await tx.stream(_AT_GATEWAYS, values)
    async for id_, unit, captured, refunded, at_rest in rows:
        before = booked[id_].moves if id_ in booked else {}
        moves = {} if unit is None else {unit: Moved(captured, refunded)}
        booked[id_] = Booked({**before, **moves}, at_rest)
    return booked
