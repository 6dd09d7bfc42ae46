"""The errors that callers see.

    Rejected                      a business refusal: an answer, never retried
    ├── InvalidRequest            400  unreadable, or a field is not what it must be
    ├── NotFound                  404  no such thing, or it belongs to somebody else
    ├── KeyMissing                400  the Idempotency-Key header is missing or malformed
    ├── KeyReused                 422  the same key came with another request
    ├── RequestInProgress         409  the first request with this key has no outcome yet
    ├── OrderNotPayable           409  paid, being paid, or in review
    ├── NotInReview               409  nothing waits for this decision
    ├── AlreadyDecided            409  somebody else has decided meanwhile
    ├── SecondPersonNeeded        409  proposed, and somebody else must agree
    ├── NotAnAnswer               422  the review asks something else
    ├── AlreadyFinal              409  the payment or invoice has ended: nothing left to do
    ├── InvoiceNotIssued          409  a draft, or a rejected one: nothing is owed yet
    ├── PeriodOpen                409  the month is not over yet
    ├── UsageConflict             409  the same event id came with another payload
    ├── UsageBilled               409  an invoice has the event, or a draft that is not rejected
    ├── UsageTooOld               422  older than the bound for late usage
    ├── UsageInFuture             422  more than an hour ahead
    ├── SettlementFailed          422  a quality check stops it, or there is no price list
    ├── InsufficientFunds         422  the wallet holds less than it should give
    ├── BalanceTooLarge           422  the wallet would hold more than it may
    ├── HoldReleased              –    an earlier run gave the hold back; never seen over HTTP
    ├── WalletAmountTooLarge      422  the wallet part is more than what is payable
    ├── PaymentMethodMissing      422  a card is needed and none is known
    ├── CouponNotApplicable       422  outside its window or limits, or not for this order
    ├── CouponNotIssued           422  all given out, or not claimed by this customer
    ├── PointsNotAccepted         422  a currency that points cannot pay, or more than is owed
    ├── InsufficientPoints        422  the customer has fewer points
    ├── OutOfStock                422  less is available than ordered
    ├── RefundExceedsCapture      422  more than what is left of the capture
    ├── NotRefundable             422  the payment took no money
    ├── AmountOutOfRange          400  zero, negative, or above the bound
    ├── PayloadTooLarge           413  the body is longer than the limit
    ├── UnsupportedMediaType      415  the body is not JSON
    ├── HeadersTooLarge           431  too many headers, or too long ones
    ├── Unauthenticated           401  no token, or one that is not believed
    ├── LoginFailed               401  the name, the password or both are wrong, or nobody is let in
    ├── SessionEnded              401  logged out, too old, or its refresh token came twice
    ├── TooManyLogins             429  too many wrong passwords from one address
    ├── NameTaken                 409  somebody else logs in with that name
    ├── LastAdmin                 409  nobody would be left who can let in others
    ├── InsufficientRole          403  none of the caller's roles may do this
    ├── InsufficientScope         403  the token may not be used for this
    ├── QuotaExceeded             429  the caller has asked for too much lately
    └── SignatureInvalid          401  a webhook whose signature does not verify

`slug` is the stable last part of the problem's `type` URI (RFC 9457), listed in
docs/api/problems.md. Everything that is not a `Rejected` is a fault and is retried.
"""

from collections.abc import Mapping
from typing import Any


class Rejected(Exception):
    """A business refusal. `str(error)` is one sentence for the person who asked."""

    slug = "rejected"
    title = "The request was refused"
    status = 422


class InvalidRequest(Rejected):
    slug = "invalid-request"
    title = "The request cannot be understood"
    status = 400


class NotFound(Rejected):
    slug = "not-found"
    title = "There is no such thing"
    status = 404


class KeyMissing(Rejected):
    slug = "idempotency-key-missing"
    title = "The Idempotency-Key header is missing or malformed"
    status = 400


class KeyReused(Rejected):
    slug = "idempotency-key-reused"
    title = "This Idempotency-Key was used for another request"
    status = 422


class RequestInProgress(Rejected):
    slug = "request-in-progress"
    title = "The first request with this Idempotency-Key has no outcome yet"
    status = 409


class OrderNotPayable(Rejected):
    slug = "order-not-payable"
    title = "The order cannot be paid in its present state"
    status = 409


class NotInReview(Rejected):
    slug = "not-in-review"
    title = "Nothing is waiting for a decision"
    status = 409


class AlreadyDecided(Rejected):
    slug = "already-decided"
    title = "Somebody else has decided"
    status = 409


class SecondPersonNeeded(Rejected):
    """Nothing was done yet. `proposal`: what waits for somebody else, as callers see it."""

    slug = "second-person-needed"
    title = "One person alone may not decide this"
    status = 409

    def __init__(self, words: str, proposal: Mapping[str, Any] | None = None) -> None:
        super().__init__(words)
        self.proposal = proposal


class NotAnAnswer(Rejected):
    slug = "not-an-answer"
    title = "The review asks something else"


class AlreadyFinal(Rejected):
    slug = "already-final"
    title = "It has ended, and nothing can be changed"
    status = 409


class InvoiceNotIssued(Rejected):
    slug = "invoice-not-issued"
    title = "The invoice has not been issued"
    status = 409


class PeriodOpen(Rejected):
    slug = "period-open"
    title = "The month is not over yet"
    status = 409


class UsageConflict(Rejected):
    slug = "usage-conflict"
    title = "This usage event was reported before with another content"
    status = 409


class UsageBilled(Rejected):
    slug = "usage-billed"
    title = "The usage is on an invoice"
    status = 409


class UsageTooOld(Rejected):
    slug = "usage-too-old"
    title = "The usage is too old to be billed"


class UsageInFuture(Rejected):
    slug = "usage-in-future"
    title = "The usage has not happened yet"


class SettlementFailed(Rejected):
    slug = "settlement-failed"
    title = "The month could not be settled"


class InsufficientFunds(Rejected):
    slug = "insufficient-funds"
    title = "The wallet does not hold enough"


class BalanceTooLarge(Rejected):
    slug = "balance-too-large"
    title = "The wallet would hold more than it may"


class HoldReleased(Rejected):
    slug = "abandoned"
    title = "An earlier run of this payment was undone"


class WalletAmountTooLarge(Rejected):
    slug = "wallet-amount-too-large"
    title = "The wallet part is more than what is payable"


class PaymentMethodMissing(Rejected):
    slug = "payment-method-missing"
    title = "A card is needed and none is known"


class CouponNotApplicable(Rejected):
    slug = "coupon-not-applicable"
    title = "The coupon does not apply"


class CouponNotIssued(Rejected):
    slug = "coupon-not-issued"
    title = "No coupon is left, or none was claimed"


class PointsNotAccepted(Rejected):
    slug = "points-not-accepted"
    title = "Points cannot pay this"


class InsufficientPoints(Rejected):
    slug = "insufficient-points"
    title = "The customer does not have so many points"


class OutOfStock(Rejected):
    slug = "out-of-stock"
    title = "There is not enough in stock"


class RefundExceedsCapture(Rejected):
    slug = "refund-exceeds-capture"
    title = "The refund is more than what is left of the capture"


class NotRefundable(Rejected):
    slug = "not-refundable"
    title = "The payment took no money"


class AmountOutOfRange(Rejected):
    slug = "amount-out-of-range"
    title = "The amount is zero, negative or too large"
    status = 400


class PayloadTooLarge(Rejected):
    slug = "payload-too-large"
    title = "The body is too large"
    status = 413


class UnsupportedMediaType(Rejected):
    slug = "unsupported-media-type"
    title = "The body must be JSON"
    status = 415


class HeadersTooLarge(Rejected):
    slug = "headers-too-large"
    title = "The headers are too large"
    status = 431


class Unauthenticated(Rejected):
    """`presented`: a token came, and is not believed."""

    slug = "unauthenticated"
    title = "Who calls is not known"
    status = 401

    def __init__(self, words: str, *, presented: bool = False) -> None:
        super().__init__(words)
        self.presented = presented


class InsufficientRole(Rejected):
    slug = "insufficient-role"
    title = "The caller's role may not do this"
    status = 403


class InsufficientScope(Rejected):
    """`scope`: the one that is needed."""

    slug = "insufficient-scope"
    title = "The token may not be used for this"
    status = 403

    def __init__(self, words: str, scope: str = "") -> None:
        super().__init__(words)
        self.scope = scope


class QuotaExceeded(Rejected):
    slug = "quota-exceeded"
    title = "The caller asks for too much"
    status = 429


class SignatureInvalid(Rejected):
    slug = "signature-invalid"
    title = "The webhook's signature does not verify"
    status = 401


class LoginFailed(Rejected):
    """One answer for everything that may be wrong: it says nothing about who there is."""

    slug = "login-failed"
    title = "This name and this password open nothing now"
    status = 401


class SessionEnded(Rejected):
    slug = "session-ended"
    title = "The session has ended"
    status = 401


class TooManyLogins(Rejected):
    """`seconds`: until somebody at that address may try again."""

    slug = "too-many-logins"
    title = "Too many log-ins from there have failed"
    status = 429

    def __init__(self, words: str, seconds: int = 60) -> None:
        super().__init__(words)
        self.headers = {"Retry-After": str(seconds)}


class NameTaken(Rejected):
    slug = "name-taken"
    title = "Somebody else has that name"
    status = 409


class LastAdmin(Rejected):
    slug = "last-admin"
    title = "Nobody would be left who can let in others"
    status = 409
