"""Jobs one after the other: a job's stages in order until one fails, and a summary where there are several jobs."""

from __future__ import annotations

from collections.abc import Sequence

from cai_bootstrap.commands import complain
from cai_bootstrap.errors import CaiError, DiskFull, UserError
from cai_bootstrap.report.curriculum import CURRICULUM_FILE
from cai_bootstrap.report.sweep import Job, print_summary
from cai_bootstrap.store.run import run_folder


def run_jobs(jobs: Sequence[Job], until: str = "gate") -> int:
    """Runs every job and gives the exit code, 1 when any of them failed. Several jobs end with their summary.

    A failed job does not keep the others from running; the user's mistakes and a full disk hold for all of them and are
    raised.
    """
    code = max([run_job(job, until, len(jobs)) for job in jobs])
    if len(jobs) > 1:
        print_summary(jobs)
    return code


def run_job(job: Job, until: str, num_jobs: int) -> int:
    """Runs one job of so many, and gives its exit code; what it computed and where it stopped is in `job` then."""
    code = _run_chain(job, until, num_jobs)
    table = run_folder(job.root, job.run) / CURRICULUM_FILE
    if len(job.chain) > 1 and table.exists():
        print(table.read_text(encoding="utf-8"), flush=True)
    if code != 0 and job.not_run:
        print(f"not run: {', '.join(job.not_run)}, since {job.why_not_run}", flush=True)
    return code


def _run_chain(job: Job, until: str, num_jobs: int) -> int:
    from cai_bootstrap import pipeline
    from cai_bootstrap.planning import what_changed

    for config in job.chain:
        if num_jobs > 1:
            overrides = " ".join(job.overrides)
            print(f"{job.name} of {num_jobs}, run={config.run} stage={config.stage.name}: {overrides}", flush=True)
        try:
            if changes := what_changed(config):
                print(changes, flush=True)
            code = pipeline.run_stage(config, until, made=job.made, brief=num_jobs > 1 or len(job.chain) > 1)
        except CaiError as error:
            if isinstance(error, UserError | DiskFull):
                raise
            job.error = " ".join(str(error).split())
            code = complain(error)
        if code != 0:
            job.stopped_at = config.stage.name
            return code
    return 0
