"""The local engine: jobs in this process, or side by side in worker processes of this machine.

With ``runtime.workers`` more than 1, that number of workers (``fusionchat worker RUN --for-engine``) make one
job after another, each with the job's threads and GPUs of its own, as soon as the jobs that it needs are
done. Workers without a job make shards of captures that others have begun. The results are the same bit for
bit.
"""

import os
from collections.abc import Sequence

from fusionchat.models.device import cuda_count
from fusionchat.run.engine.gpus import gpus_here
from fusionchat.run.engine.leased import is_left, job_lease
from fusionchat.run.engine.side_by_side import SideBySide
from fusionchat.run.execute import make
from fusionchat.run.job import Announce, Context, Job
from fusionchat.run.order import write_order
from fusionchat.run.plan import Run


def run_jobs(planned: Run, jobs: Sequence[Job], announce: Announce | None) -> None:
    """Run jobs that are not done, each after those that it needs.

    Raises:
        FusionChatError: The first error of a job; jobs that run beside it are finished first.
        MachineError: A job needs more GPUs than there are.
    """
    runtime = planned.recipe.runtime
    for job in planned.jobs.values():
        write_order(planned.folder, job, runtime)
    shared = any(job.resources.parallel == "shards" for job in jobs)
    workers = runtime.workers if shared else min(runtime.workers, len(jobs))
    if workers > 1 and jobs:
        gpus = gpus_here(runtime.device, os.environ, cuda_count)
        SideBySide(planned, jobs, announce, workers, gpus).run()
        return
    for job in jobs:
        with job_lease(planned, job):
            if is_left(planned, job, announce):
                make(job, planned.folder, planned.stages, Context(runtime))
