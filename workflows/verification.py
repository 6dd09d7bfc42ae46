"""Verification: what the hourly Schedule starts. Its result is what `/metrics` tells until the next
one has completed, so it needs no table of its own."""

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.verification import VerificationActivities
    from domain.verification import Report

from workflows import policies, search_attributes


@workflow.defn(name="Verification")
class Verification:
    """Looks once; its Outcome is VIOLATED or HOLDS."""

    @workflow.run
    async def run(self) -> Report:
        report = await workflow.execute_activity_method(
            VerificationActivities.verify, **policies.verification("does everything agree?")
        )
        outcome = "VIOLATED" if report.violations else "HOLDS"
        workflow.upsert_search_attributes([search_attributes.OUTCOME.value_set(outcome)])
        return report
