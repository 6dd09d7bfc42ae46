"""A question takes its own answers, and only they end it."""

from itertools import product

import pytest

from domain.errors import AlreadyDecided, NotAnAnswer, NotInReview
from domain.gateway import SUCCESS, GatewayAnswer, GatewayStatus, Operation
from domain.review import QUESTIONS, Outcome, Question, Resolution, check

ANSWERS = {
    Question.CAPTURE: {"captured", "failed"},
    Question.AUTHORIZATION: {"authorized", "failed"},
    Question.VOID: {"voided", "captured"},
    Question.REFUND: {"refunded", "failed"},
    Question.LATE_CAPTURE_REFUND: {"refunded", "failed"},
}
ENDED_BY = {
    Question.CAPTURE: {"CAPTURED", "DECLINED"},
    Question.AUTHORIZATION: {"AUTHORIZED", "DECLINED"},
    Question.VOID: {"VOIDED", "CAPTURED"},
    Question.REFUND: {"REFUNDED", "DECLINED"},
    Question.LATE_CAPTURE_REFUND: {"REFUNDED"},
}


@pytest.mark.parametrize(("question", "outcome"), list(product(Question, Outcome)))
def test_a_person_gives_the_answers_of_the_question_and_no_other(
    question: Question, outcome: Outcome
) -> None:
    if outcome in ANSWERS[question]:
        check(question, None, outcome)
        assert question.decided(Resolution(outcome, "seen")).message == "seen"
    else:
        with pytest.raises(NotAnAnswer, match=f"{outcome} is no answer: "):
            check(question, None, outcome)
        with pytest.raises(KeyError):
            question.decided(Resolution(outcome, "seen"))


@pytest.mark.parametrize(("question", "status"), list(product(Question, GatewayStatus)))
def test_the_gateway_ends_a_review_only_by_an_answer_to_its_question(
    question: Question, status: GatewayStatus
) -> None:
    assert question.ended_by(GatewayAnswer(status)) is (status in ENDED_BY[question])


@pytest.mark.parametrize("operation", list(Operation))
def test_whatever_an_operation_asks_for_answers_its_question(operation: Operation) -> None:
    question = QUESTIONS[operation]
    assert question.ended_by(GatewayAnswer(SUCCESS[operation]))
    statuses = {question.decided(Resolution(each, "")).status for each in question.answers}
    assert SUCCESS[operation] in statuses


def test_nothing_is_asked() -> None:
    with pytest.raises(NotInReview):
        check(None, None, Outcome.CAPTURED)


def test_the_first_answer_counts_and_is_told_to_the_next_one() -> None:
    with pytest.raises(AlreadyDecided, match="captured"):
        check(Question.CAPTURE, "captured", Outcome.CAPTURED)


def test_the_words_of_a_question_name_its_answers() -> None:
    for question in Question:
        assert question.words.endswith(f"({' or '.join(question.answers)})")
