"""What is asked of a PG, and which answers decide something."""

from domain.gateway import SUCCESS, GatewayAnswer, GatewayStatus, Operation
from tests.support.samples import a_payment, a_refund


def test_only_yes_and_no_decide() -> None:
    definite = {status for status in GatewayStatus if GatewayAnswer(status).definite}

    assert definite == {
        GatewayStatus.AUTHORIZED,
        GatewayStatus.CAPTURED,
        GatewayStatus.VOIDED,
        GatewayStatus.REFUNDED,
        GatewayStatus.DECLINED,
    }
    assert set(SUCCESS.values()) == definite - {GatewayStatus.DECLINED}


def test_a_resend_has_the_key_of_the_first_and_nothing_else_has_it() -> None:
    payment = a_payment(card_amount=1000)
    refund = a_refund(payment, 1000, 0)
    other = a_payment(card_amount=1000)

    charge = payment.gateway_request(Operation.CHARGE).idempotency_key

    assert payment.gateway_request(Operation.CHARGE).idempotency_key == charge
    others = (refund.gateway_refund(), other.gateway_request(Operation.CHARGE))
    assert len({charge, *(request.idempotency_key for request in others)}) == 3


def test_a_key_fits_what_gateways_take() -> None:
    key = a_payment(card_amount=1).gateway_request(Operation.CHARGE).idempotency_key

    assert len(key) <= 64
    assert key.isascii()
    assert key.isprintable()
