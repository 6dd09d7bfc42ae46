"""Who may do what: the one table of it, read by the routes, by the pages about them and by
`POST /auth/check`. Deny by default: what stands in no row may be done by nobody."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Role(StrEnum):
    """What somebody is. A customer meets its own things only, all others those of everybody."""

    CUSTOMER = "customer"
    SERVICE = "service"
    OPERATOR = "operator"
    FINANCE = "finance"
    ADMIN = "admin"


class TokenScope(StrEnum):
    """What a token may be used for, whatever its owner may do."""

    READ = "billing.read"
    PAYMENTS = "billing.payments"
    USAGE = "billing.usage"
    INVOICES = "billing.invoices"
    SETUP = "billing.setup"


class Action(StrEnum):
    """Everything that can be asked for, in the words of `POST /auth/check`."""

    ORDER_CREATE = "orders.create"
    ORDER_READ = "orders.read"
    PAYMENT_CREATE = "payments.create"
    PAYMENT_READ = "payments.read"
    STORY_READ = "payments.story"
    REVIEW_READ = "reviews.read"
    WEBHOOK_READ = "webhooks.read"
    PAYMENT_CANCEL = "payments.cancel"
    PAYMENT_RESOLVE = "payments.resolve"
    REFUND_CREATE = "refunds.create"
    REFUND_READ = "refunds.read"
    REFUND_RESOLVE = "refunds.resolve"
    WALLET_READ = "wallet.read"
    WALLET_TOP_UP = "wallet.top-up"
    WALLET_BOOK = "wallet.book"
    POINTS_READ = "points.read"
    COUPON_PUT = "coupons.put"
    COUPON_READ = "coupons.read"
    COUPON_LIST = "coupons.list"
    COUPON_CLAIM = "coupons.claim"
    STOCK_PUT = "inventory.put"
    STOCK_READ = "inventory.read"
    STOCK_RESOLVE = "inventory.resolve"
    RANKING_READ = "rankings.read"
    CUSTOMER_PUT = "customers.put"
    CUSTOMER_READ = "customers.read"
    CARD_ADD = "payment-methods.add"
    CARD_READ = "payment-methods.read"
    USAGE_REPORT = "usage.report"
    USAGE_READ = "usage.read"
    USAGE_VOID = "usage.void"
    PLAN_PUT = "pricing-plans.put"
    PLAN_READ = "pricing-plans.read"
    PLAN_WITHDRAW = "pricing-plans.withdraw"
    SETTLEMENT_RUN = "settlement.run"
    SETTLEMENT_READ = "settlement.read"
    INVOICE_READ = "invoices.read"
    INVOICE_VERIFY = "invoices.verify"
    INVOICE_PAY = "invoices.pay"
    INVOICE_CLOSE = "invoices.close"
    INVOICE_DECIDE = "invoices.decide"
    RECEIVABLE_READ = "receivables.read"
    KEY_CREATE = "keys.create"
    KEY_READ = "keys.read"
    KEY_ROTATE = "keys.rotate"
    KEY_REVOKE = "keys.revoke"
    AUDIT_READ = "audit.read"
    HISTORY_READ = "histories.read"
    DEAD_LETTER_READ = "dead-letters.read"
    DEAD_LETTER_DECIDE = "dead-letters.decide"
    DEAD_LETTER_DECIDE_MANY = "dead-letters.decide-many"
    PROPOSAL_READ = "proposals.read"
    PROPOSAL_WITHDRAW = "proposals.withdraw"
    STATUS_READ = "status.read"
    GATEWAY_READ = "gateways.read"
    GATEWAY_HURRY = "gateways.hurry"
    ACCESS_CHECK = "access.check"


@dataclass(frozen=True)
class Rule:
    """Who may do it, and which scope a token needs where scopes are looked at."""

    roles: frozenset[Role]
    scope: TokenScope | None


C, S, O, F, A = Role  # noqa: E741


def _rule(scope: TokenScope | None, *roles: Role) -> Rule:
    return Rule(frozenset(roles), scope)


RULES: Mapping[Action, Rule] = {
    Action.ORDER_CREATE: _rule(TokenScope.PAYMENTS, S, O),
    Action.ORDER_READ: _rule(TokenScope.READ, C, S, O, F, A),
    Action.PAYMENT_CREATE: _rule(TokenScope.PAYMENTS, C, S, O),
    Action.PAYMENT_READ: _rule(TokenScope.READ, C, S, O, F, A),
    Action.STORY_READ: _rule(TokenScope.READ, O, F, A),
    Action.REVIEW_READ: _rule(TokenScope.READ, O, F, A),
    Action.WEBHOOK_READ: _rule(TokenScope.READ, O, F, A),
    Action.PAYMENT_CANCEL: _rule(TokenScope.PAYMENTS, S, O),
    Action.PAYMENT_RESOLVE: _rule(TokenScope.PAYMENTS, O),
    Action.REFUND_CREATE: _rule(TokenScope.PAYMENTS, S, O, F),
    Action.REFUND_READ: _rule(TokenScope.READ, S, O, F, A),
    Action.REFUND_RESOLVE: _rule(TokenScope.PAYMENTS, O),
    Action.WALLET_READ: _rule(TokenScope.READ, C, S, O, F, A),
    Action.WALLET_TOP_UP: _rule(TokenScope.PAYMENTS, C, S, O, F),
    # A customer who could say that money has arrived would be rich.
    Action.WALLET_BOOK: _rule(TokenScope.PAYMENTS, O, F),
    Action.POINTS_READ: _rule(TokenScope.READ, C, S, O, F, A),
    Action.COUPON_PUT: _rule(TokenScope.SETUP, O, A),
    # Who could list them could use those that others were given.
    Action.COUPON_LIST: _rule(TokenScope.READ, O, F, A),
    Action.COUPON_READ: _rule(TokenScope.READ, C, S, O, F, A),
    Action.COUPON_CLAIM: _rule(TokenScope.PAYMENTS, C, S, O),
    Action.STOCK_PUT: _rule(TokenScope.SETUP, O, A),
    Action.STOCK_READ: _rule(TokenScope.READ, C, S, O, F, A),
    Action.STOCK_RESOLVE: _rule(TokenScope.SETUP, O, A),
    Action.RANKING_READ: _rule(TokenScope.READ, C, S, O, F, A),
    Action.CUSTOMER_PUT: _rule(TokenScope.SETUP, O, A),
    Action.CUSTOMER_READ: _rule(TokenScope.READ, C, S, O, F, A),
    Action.CARD_ADD: _rule(TokenScope.SETUP, O, A),
    Action.CARD_READ: _rule(TokenScope.READ, C, S, O, F, A),
    Action.USAGE_REPORT: _rule(TokenScope.USAGE, S, O),
    Action.USAGE_READ: _rule(TokenScope.READ, C, S, O, F, A),
    # A service that could take back what it has reported would be billed for what it likes.
    Action.USAGE_VOID: _rule(TokenScope.USAGE, O, F),
    Action.PLAN_PUT: _rule(TokenScope.SETUP, O, F, A),
    Action.PLAN_READ: _rule(TokenScope.READ, O, F, A),
    Action.PLAN_WITHDRAW: _rule(TokenScope.SETUP, O, F, A),
    Action.SETTLEMENT_RUN: _rule(TokenScope.INVOICES, O, F),
    Action.SETTLEMENT_READ: _rule(TokenScope.READ, O, F, A),
    Action.INVOICE_READ: _rule(TokenScope.READ, C, S, O, F, A),
    Action.INVOICE_VERIFY: _rule(TokenScope.READ, O, F, A),
    Action.INVOICE_PAY: _rule(TokenScope.INVOICES, C, O, F),
    Action.INVOICE_CLOSE: _rule(TokenScope.INVOICES, O, F),
    Action.INVOICE_DECIDE: _rule(TokenScope.INVOICES, O, F),
    Action.RECEIVABLE_READ: _rule(TokenScope.READ, O, F, A),
    Action.KEY_CREATE: _rule(TokenScope.SETUP, A),
    Action.KEY_READ: _rule(TokenScope.READ, A),
    Action.KEY_ROTATE: _rule(TokenScope.SETUP, A),
    Action.KEY_REVOKE: _rule(TokenScope.SETUP, A),
    Action.AUDIT_READ: _rule(TokenScope.READ, O, A),
    Action.HISTORY_READ: _rule(TokenScope.READ, O, A),
    # They hold what customers sent, and a replay may charge one again.
    Action.DEAD_LETTER_READ: _rule(TokenScope.READ, A),
    Action.DEAD_LETTER_DECIDE: _rule(TokenScope.SETUP, A),
    Action.DEAD_LETTER_DECIDE_MANY: _rule(TokenScope.SETUP, A),
    Action.PROPOSAL_READ: _rule(TokenScope.READ, O, F, A),
    # And what it proposes, with the scope of that: `domain.proposal.ASKS`.
    Action.PROPOSAL_WITHDRAW: _rule(None, O, F, A),
    Action.STATUS_READ: _rule(TokenScope.READ, O, F, A),
    Action.GATEWAY_READ: _rule(TokenScope.READ, O, F, A),
    Action.GATEWAY_HURRY: _rule(TokenScope.PAYMENTS, O),
    Action.ACCESS_CHECK: _rule(None, C, S, O, F, A),
}
