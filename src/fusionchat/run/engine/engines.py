"""The engines by name."""

from collections.abc import Sequence

from fusionchat.run.engine import local
from fusionchat.run.job import Announce, Job
from fusionchat.run.plan import Run


def run_jobs(planned: Run, jobs: Sequence[Job], announce: Announce | None) -> None:
    """Run jobs that are not done with the recipe's engine, each after those that it needs.

    Raises:
        FusionChatError: The first error of a job.
    """
    if planned.recipe.runtime.engine == "ray":
        from fusionchat.run.engine.ray.cluster import require_ray

        require_ray()
        from fusionchat.run.engine.ray import engine as ray_engine

        ray_engine.run_jobs(planned, jobs, announce)
    else:
        local.run_jobs(planned, jobs, announce)
