"""Pursues one request to a payment gateway until its outcome is known.

A time-out is UNKNOWN, not a decline. While the resend window is open the same key is sent again;
after it the PG is only asked, on a ladder; what stays undecided waits for a person.
"""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError
from temporalio.types import MethodAsyncSingleParam

with workflow.unsafe.imports_passed_through():
    from activities.gateway import GatewayActivities
    from activities.review import ReviewActivities
    from domain.errors import Rejected
    from domain.gateway import (
        SUCCESS,
        Attempt,
        GatewayAnswer,
        GatewayRequest,
        GatewayStatus,
        Operation,
    )
    from domain.money import format_amount
    from domain.review import QUESTIONS, ClosedReview, Question, Resolution, check
    from domain.waits import Ladder, Waits

from workflows import policies
from workflows.saga import cancel_requested

UNKNOWN = "UNKNOWN"
NEEDS_REVIEW = "NEEDS_REVIEW"

_SEND: dict[Operation, MethodAsyncSingleParam[GatewayActivities, GatewayRequest, GatewayAnswer]] = {
    Operation.CHARGE: GatewayActivities.charge,
    Operation.AUTHORIZE: GatewayActivities.authorize,
    Operation.CAPTURE: GatewayActivities.capture,
    Operation.VOID: GatewayActivities.void,
    Operation.REFUND: GatewayActivities.refund,
}

_NOT_ASKED = GatewayAnswer(GatewayStatus.NOT_SENT, message="The gateway was not asked.")

Mark = Callable[[str, str, Question | None], Awaitable[None]]
"""Writes UNKNOWN, or NEEDS_REVIEW with the question, and the reason, where people can see it."""


class Pursuit:
    """One operation at a PG. Created with its workflow, so that signals find it from the start."""

    def __init__(
        self,
        request: GatewayRequest,
        waits: Waits,
        mark: Mark,
        question: Question | None = None,
    ) -> None:
        self._request = request
        self._waits = waits
        self._mark = mark
        self._question = question or QUESTIONS[request.operation]
        self._opened_at = self._first_sent_by = workflow.info().start_time
        self._last_sent_at: datetime | None = None
        self._marked_unknown = False
        self._hinted = False
        self._resolution: Resolution | None = None
        self._decided_by: str | None = None
        self._answer: GatewayAnswer | None = None
        self._in_review = False
        self._undoes = False

    @property
    def in_review(self) -> bool:
        """Whether a question waits, from before it is written down until its answer is."""
        return self._in_review

    def check(self, resolution: Resolution) -> None:
        """Raises `ApplicationError` when nothing is asked, when it is decided already, or when this
        is the answer to another question."""
        decided = self._resolution.outcome if self._resolution else None
        try:
            check(self._question if self._in_review else None, decided, resolution.outcome)
        except Rejected as refusal:
            raise ApplicationError(str(refusal), type=refusal.slug) from refusal

    @property
    def undecided(self) -> bool:
        """Whether a request may have left us, in this run or an earlier, with unknown outcome."""
        return self._maybe_sent and self._answer is None

    @property
    def succeeded(self) -> bool:
        """Whether the PG did what was asked."""
        return self._answer is not None and self._answer.status is SUCCESS[self._request.operation]

    @property
    def confirmed(self) -> bool:
        """Whether the PG itself says that it did what was asked."""
        return self.succeeded and not self.decided

    @property
    def decided(self) -> bool:
        """Whether a person has decided: nobody is asked twice."""
        return self._decided_by is not None

    @property
    def answer(self) -> GatewayAnswer:
        """How it ended, as far as it has: NOT_SENT when nothing has left us."""
        return self._answer or _NOT_ASKED

    @property
    def watch_ends_at(self) -> datetime:
        """When the PG forgets the key, so that nothing can come of it any more."""
        return self._first_sent_by + self._waits.key_window

    @property
    def not_found(self) -> bool:
        """Whether it was found that nothing happened, which a late effect may still belie."""
        return self._answer is not None and self._answer.status is GatewayStatus.NOT_FOUND

    def begin(self, attempt: Attempt) -> None:
        """Take over what the attempt row knows: when its payment was made. An earlier run may have
        begun to send much later, though before this run began."""
        self._opened_at = self._first_sent_by = attempt.opened_at
        # A Reset is another run too, though its history begins like that of the one before.
        if attempt.resumed or attempt.opened_by_run not in ("", workflow.info().run_id):
            self._last_sent_at = self._first_sent_by = workflow.info().start_time

    def begin_undo(self) -> None:
        """Begin without an attempt row what is safe to send again at any time; it is sent although
        the workflow is cancelled, even because of that."""
        self._opened_at = workflow.now()
        self._undoes = True

    def hint(self) -> None:
        """The PG has news: ask now instead of at the next step of the ladder."""
        self._hinted = True

    def resolve(self, resolution: Resolution, decided_by: str) -> None:
        """A person has decided, with the Update of this id."""
        self._resolution = resolution
        self._decided_by = decided_by

    def learn(self, answer: GatewayAnswer) -> None:
        """What the PG did was found out by asking about something else."""
        self._answer = answer

    async def outcome(self) -> GatewayAnswer:
        """Send, and find out. CAPTURED, REFUNDED and DECLINED are the PG's word (or a person's);
        REFUSED and NOT_SENT mean that nothing happened; NOT_FOUND that the PG proved not to know
        it, which a late effect may still belie."""
        self._answer = await self._send() or await self.find_out()
        return self._answer

    async def find_out(self) -> GatewayAnswer:
        """Ask on the ladder, then a person; sends nothing."""
        self._answer = await self._inquire() or await self.review(
            "The gateway's answers do not tell what happened."
        )
        return self._answer

    async def review(self, why: str) -> GatewayAnswer:
        """Ask a person. Only what answers the question ends it: their word, or the PG's after a
        hint."""
        self._in_review = True
        await self._mark(NEEDS_REVIEW, f"{why} {self._question.words}", self._question)
        self._answer = await self._decided()
        closed = ClosedReview(
            self._request.reference_id,
            self._resolution.outcome if self._resolution else self._answer.status.lower(),
            self._answer.message,
            self._decided_by,
            self._resolution.by if self._resolution else None,
        )
        written = await workflow.execute_local_activity_method(
            ReviewActivities.close, closed, **policies.step(f"decided: {closed.outcome}")
        )
        if written != closed:
            self._answer = self._question.answered(written)
            self._decided_by = written.decided_by
        self._in_review = False
        return self._answer

    async def watch(self, ends_at: datetime) -> GatewayAnswer | None:
        """After "not found": ask until the PG's key window ends; a capture, if one comes. The last
        word must be the PG's: while it gives none, the watch goes on."""
        ladder = Ladder(self._waits)
        while True:
            left = ends_at - workflow.now()
            pause = ladder.left(workflow.now())
            await self._pause(min(pause, left) if left > timedelta(0) else pause, "late capture?")
            over = workflow.now() >= ends_at
            answer = await self._call(GatewayActivities.inquire, "watch for a late capture")
            if answer.status is SUCCESS[self._request.operation]:
                return answer
            if over and (answer.definite or answer.status is GatewayStatus.NOT_FOUND):
                break
        return None

    @property
    def _maybe_sent(self) -> bool:
        return self._last_sent_at is not None

    async def _send(self) -> GatewayAnswer | None:
        verb = self._request.operation
        activity = _SEND[verb]
        answer = _NOT_ASKED
        ladder = Ladder(self._waits)
        ends_at = self._opened_at + self._waits.resend_window
        while (left := ends_at - workflow.now()) > timedelta(0) and not self._called_off():
            sent_at = workflow.now()
            answer = await self._call(activity, f"{verb} {self._amount()}")
            nothing_before = not self._maybe_sent
            if answer.definite or (answer.status is GatewayStatus.REFUSED and nothing_before):
                return answer
            if answer.status is not GatewayStatus.NOT_SENT:
                self._last_sent_at = sent_at
                await self._unknown(answer)
            await self._pause(min(ladder.left(workflow.now()), left), f"send the {verb} again")
        return None if self._maybe_sent else answer

    def _called_off(self) -> bool:
        return cancel_requested() and not self._undoes

    async def _inquire(self) -> GatewayAnswer | None:
        not_found_at: datetime | None = None
        ladder = Ladder(self._waits)
        while True:
            answer = await self._call(GatewayActivities.inquire, f"inquire {self._amount()}")
            if answer.definite:
                return answer
            await self._unknown(answer)
            if answer.status is GatewayStatus.NOT_FOUND and self._not_found_counts():
                now = workflow.now()
                not_found_at = not_found_at or now
                left = not_found_at + self._waits.not_found_apart - now
                if left <= timedelta(0):
                    return answer
                await self._pause(left, "not found: ask once more")
            elif ladder.is_over(workflow.now()):
                return None
            else:
                await self._pause(ladder.left(workflow.now()), "inquire again")

    async def _decided(self) -> GatewayAnswer:
        while self._resolution is None:
            await workflow.wait_condition(lambda: self._hinted or self._resolution is not None)
            if self._resolution is None:
                self._hinted = False
                answer = await self._call(GatewayActivities.inquire, "inquire after a hint")
                if self._question.ended_by(answer):
                    return answer
        return self._question.decided(self._resolution)

    def _not_found_counts(self) -> bool:
        last = self._last_sent_at or self._opened_at
        return self._waits.not_found_counts(workflow.now() - last)

    async def _unknown(self, answer: GatewayAnswer) -> None:
        if not self._marked_unknown:
            self._marked_unknown = True
            reason = answer.message or "The gateway gave no believable answer."
            await self._mark(UNKNOWN, reason, None)

    async def _call(
        self,
        activity: MethodAsyncSingleParam[GatewayActivities, GatewayRequest, GatewayAnswer],
        summary: str,
    ) -> GatewayAnswer:
        """A worker that died, or any fault of the activity, leaves the outcome unknown."""
        try:
            return await workflow.execute_activity_method(
                activity,
                self._request,
                **policies.gateway_call(summary, self._waits.read_timeout),
            )
        except ActivityError as error:
            return GatewayAnswer(GatewayStatus.UNKNOWN, message=f"{error.message}: {error.cause}")

    async def _pause(self, duration: timedelta, summary: str) -> None:
        try:
            await workflow.wait_condition(
                lambda: self._hinted, timeout=duration, timeout_summary=summary
            )
        except TimeoutError:
            return
        self._hinted = False

    def _amount(self) -> str:
        return format_amount(self._request.amount, self._request.currency)
