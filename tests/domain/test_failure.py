"""Our word for why nothing was taken."""

import pytest

from domain.failure import FailureCode, failure_code
from domain.gateway import GatewayAnswer, GatewayStatus


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (GatewayAnswer(GatewayStatus.DECLINED, code="card_declined"), "declined"),
        (GatewayAnswer(GatewayStatus.NOT_SENT), "gateway-unavailable"),
        (GatewayAnswer(GatewayStatus.REFUSED, code="invalid-request"), "gateway-refused"),
        (GatewayAnswer(GatewayStatus.NOT_FOUND), "gateway-not-found"),
        (GatewayAnswer(GatewayStatus.DECLINED, code="resolved-failed"), "resolved-failed"),
    ],
)
def test_every_way_to_fail_has_a_word(answer: GatewayAnswer, code: str) -> None:
    assert failure_code(answer) == code


def test_the_words_are_stable_slugs() -> None:
    assert all(code.value == code.value.lower().replace("_", "-") for code in FailureCode)
