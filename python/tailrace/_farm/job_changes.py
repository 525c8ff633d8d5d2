"""What is changed by hand of jobs that have not ended."""

from __future__ import annotations

from .farm_run import FarmRun
from .repository.changes import JobFields
from .settings import JobSettings
from .states import check_idle


async def resume(run: FarmRun, job_id: str) -> None:
    """Do what `JobManager.resume` says."""
    async with run.one_at_a_time:
        while (job := await run.changeable(job_id, "resumed")).row.state != "paused":
            row = job.row
            if row.after:
                # Without those that it came after it may write their files beside them.
                await run.claims.check(row._replace(after=()))
            # It may have begun meanwhile.
            if job.row is row:
                run.table.note(job, "pending", {"after": (), "not_before": None, "error": None}, {})
                break
        else:
            goes_on = job.active is not None and job.active.has_begun and job.active.resume()
            run.table.note(job, "running" if goes_on else "pending", {}, {})
    run.slots.changed()
    await run.ledger.flush()


async def edit(run: FarmRun, job_id: str, settings: JobSettings | None, fields: JobFields) -> None:
    """Do what `JobManager.edit` says; `fields` are those of its row that change."""
    await run.until_ended(job_id)
    async with run.one_at_a_time:
        while True:
            job = await run.changeable(job_id, "edited")
            check_idle(job.row, "edited", is_active=job.active is not None)
            row = job.row
            if settings is not None and settings.output_file != job.settings.output_file:
                await run.claims.check(row._replace(**fields))
            # It may have begun meanwhile.
            if job.row is row and job.active is None:
                break
        if settings is not None:
            job.settings = settings
        run.table.change(job, fields)
    await run.ledger.flush()
