"""SettlementRun: a whole month for every customer, `settlement-run/{period}`.

A sliding window of MonthlySettlement children: a child that ends, or says that it waits for a
person, makes room for the next. One that fails or is stuck stops nobody. The run goes on as a new
execution before its history grows long, so its memory is bounded whatever the number of customers.
"""

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from functools import partial

from temporalio import workflow
from temporalio.exceptions import ApplicationError, ChildWorkflowError, FailureError

with workflow.unsafe.imports_passed_through():
    from activities.settlement_run import SettlementRunActivities
    from domain.run import CustomerPage, Progress, RunRequest
    from domain.settlement import SettlementOutcome, SettlementRequest

from workflows import policies, starts
from workflows.monthly_settlement import MonthlySettlement

PAGE = 200


@workflow.defn(name="SettlementRun")
class SettlementRun:
    """Ends when each customer is settled, skipped, failed or handed over to a person."""

    @workflow.init
    def __init__(self, run: RunRequest) -> None:
        self._run = run
        self._total = run.total or 0
        self._began = run.began
        self._after = run.after
        self._started = run.started
        self._finished = run.finished
        self._left_behind = run.left_behind
        self._under_way: dict[str, datetime] = dict(run.under_way)

    @workflow.run
    async def run(self, run: RunRequest) -> Progress:
        if run.total is None:
            begun = await workflow.execute_local_activity_method(
                SettlementRunActivities.begin,
                self._page(None),
                **policies.batch_step("count customers"),
            )
            self._total, self._began = begun.customers, begun.at
        while customers := await self._next_page():
            while customers:
                await self._until_under_way_below(run.concurrency)
                room = run.concurrency - len(self._under_way)
                await self._start(customers[:room])
                customers = customers[room:]
                await self._go_on_as_new_if_long()
        await self._until_under_way_below(1)
        if run.customers is None:
            await workflow.execute_local_activity_method(
                SettlementRunActivities.end, run.period, **policies.step("the run has ended")
            )
        return self.progress()

    @workflow.signal
    def settled(self, outcome: SettlementOutcome) -> None:
        """A customer goes on alone: it waits for a person, or for the end of its month."""
        self._leave(outcome.customer_id)

    @workflow.query
    def progress(self) -> Progress:
        """How far the run is."""
        return Progress(self._total, self._started, self._finished, self._left_behind)

    def _ended(self, customer_id: str, child: "asyncio.Task[SettlementOutcome]") -> None:
        """Whoever was terminated has not ended for us: it is started again."""
        failure = None if child.cancelled() else child.exception()
        failed = isinstance(failure, ChildWorkflowError) and isinstance(
            failure.cause, ApplicationError
        )
        if failed or (failure is None and not child.cancelled()):
            self._leave(customer_id)

    def _leave(self, customer_id: str) -> None:
        if self._under_way.pop(customer_id, None) is not None:
            self._finished += 1

    async def _until_under_way_below(self, bound: int) -> None:
        while len(self._under_way) >= bound:
            try:
                await workflow.wait_condition(
                    lambda: len(self._under_way) < bound, timeout=self._run.ask_again
                )
            except TimeoutError:
                await self._look_after()
                await self._go_on_as_new_if_long()

    async def _look_after(self) -> None:
        """Nobody has ended for a while: the child was started by somebody else, or by an execution
        before this one, and tells us nothing, or it was terminated, or it is stuck."""
        ended = await workflow.execute_local_activity_method(
            SettlementRunActivities.ended_among,
            self._named(self._under_way),
            **policies.step("which customers have ended?"),
        )
        for customer_id in ended:
            self._leave(customer_id)
        await self._leave_the_stuck_behind()
        # Whoever still runs is found; whoever was terminated runs again.
        await self._start_children(self._under_way)

    async def _leave_the_stuck_behind(self) -> None:
        """They go on alone: their rows will tell how they end."""
        patience = workflow.now() - self._run.patience
        stuck = [each for each, since in self._under_way.items() if since < patience]
        if not stuck:
            return
        for customer_id in stuck:
            del self._under_way[customer_id]
        self._left_behind += len(stuck)
        await workflow.execute_local_activity_method(
            SettlementRunActivities.leave_behind,
            self._named(stuck),
            **policies.step(f"go on without {len(stuck)} customers"),
        )

    async def _next_page(self) -> list[str]:
        return await workflow.execute_local_activity_method(
            SettlementRunActivities.next_customers,
            self._page(self._after),
            **policies.step(f"customers after {self._after}"),
        )

    async def _start(self, customers: list[str]) -> None:
        self._after = customers[-1]
        self._started += len(customers)
        self._under_way |= dict.fromkeys(customers, workflow.now())
        await self._start_children(customers)

    async def _start_children(self, customers: Iterable[str]) -> None:
        await asyncio.gather(*[self._start_child(each) for each in customers])

    async def _start_child(self, customer_id: str) -> None:
        request = self._request(customer_id)
        try:
            child = await workflow.start_child_workflow(
                MonthlySettlement.run, request, **starts.of_settlement(request).as_child()
            )
        except FailureError:
            workflow.logger.info("this month is being settled already: its row will tell")
            return
        child.add_done_callback(partial(self._ended, customer_id))

    def _request(self, customer_id: str) -> SettlementRequest:
        run = self._run
        return SettlementRequest(
            customer_id=customer_id,
            period=run.period,
            run=workflow.info().workflow_id,
            approval=run.approval,
            dunning=run.dunning,
            waits=run.waits,
        )

    def _page(self, after: str | None) -> CustomerPage:
        return CustomerPage(self._run.period, after, PAGE, self._run.customers)

    def _named(self, customers: Iterable[str]) -> CustomerPage:
        return CustomerPage(self._run.period, customers=tuple(sorted(customers)), began=self._began)

    async def _go_on_as_new_if_long(self) -> None:
        here = self._started - self._run.started
        if here < self._run.per_execution and not workflow.info().is_continue_as_new_suggested():
            return
        # How a child ends is told to this execution only: of the others the next one reads rows.
        with suppress(TimeoutError):
            await workflow.wait_condition(lambda: not self._under_way, timeout=self._run.ask_again)
        workflow.continue_as_new(
            replace(
                self._run,
                after=self._after,
                total=self._total,
                began=self._began,
                started=self._started,
                finished=self._finished,
                left_behind=self._left_behind,
                under_way=self._under_way,
            )
        )
