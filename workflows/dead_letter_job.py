"""DeadLetterJob: many dead letters for which somebody has decided the same, `dlq-job/{jobId}`.

The rows say which letters there are and how far the job is; the workflow only brings one after the
other. So it ends when the job is paused, and is started again, by whoever resumes it or by the
sweeper, where the rows say that the one before it stopped.
"""

from datetime import timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.dead_letter import DeadLetterActivities
    from domain.dead_letter import JobBatch, JobLetter, JobPage, JobRequest, JobState

from workflows import policies, search_attributes

BATCH = 50


@workflow.defn(name="DeadLetterJob")
class DeadLetterJob:
    """Works until nothing is left, or the job does not run any more; returns how it stands then."""

    @workflow.run
    async def run(self, job: JobRequest) -> JobState:
        seen = 0
        while (batch := await self._next(job)).letters:
            for letter_id in batch.letters:
                await workflow.execute_local_activity_method(
                    DeadLetterActivities.decide,
                    JobLetter(job.job_id, letter_id),
                    **policies.step(f"decide about {letter_id}"),
                )
            pause = timedelta(seconds=len(batch.letters) / job.rate)
            await workflow.sleep(pause, summary="not too many at once")
            seen += len(batch.letters)
            if seen >= job.per_execution:
                workflow.continue_as_new(job)
        workflow.upsert_search_attributes([search_attributes.OUTCOME.value_set(batch.state)])
        return batch.state

    async def _next(self, job: JobRequest) -> JobBatch:
        return await workflow.execute_local_activity_method(
            DeadLetterActivities.next,
            JobPage(job.job_id, BATCH),
            **policies.step("which letters are next?"),
        )
