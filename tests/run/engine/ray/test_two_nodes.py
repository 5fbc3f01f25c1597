"""A real Ray cluster of two nodes on this machine: a capture that both share, one of which dies, and a job beside it."""

import shutil
import threading
import time
from contextlib import ExitStack

import pytest

pytest.importorskip("ray", reason="the extra `ray` is not installed")

from benchmarks.cluster_nodes import cluster, kill_node

from fusionchat.artifacts import read_manifest
from fusionchat.errors import MachineError
from fusionchat.recipe.schema import load_recipe
from fusionchat.run.engine.engines import run_jobs
from fusionchat.run.engine.ray.cluster import joined, nodes_now, probe
from fusionchat.runtime import RayRuntime
from fusionchat.stages.pipeline import open_run
from tests.run.engine.ray.held import Held
from tests.run.files import files_of

PATIENCE = 300.0


@pytest.fixture(scope="module")
def on():
    with ExitStack() as stack:
        try:
            made = stack.enter_context(cluster(2))
        except Exception as error:  # Ray has no other class for it
            pytest.skip(f"Ray cannot start a node here: {error}")
        yield made


def held(folder):
    """Nodes that wait with a shard, and the shard."""
    return dict(path.name.removeprefix("held-").rsplit("-", 1) for path in folder.glob("held-*"))


def test_a_node_that_dies_in_a_capture_costs_its_shard_which_the_other_makes(on, copied, monkeypatch):
    monkeypatch.setattr("fusionchat.stages.represent.shard_rows", lambda _: 60)
    settings = ("runtime.engine=ray", f"runtime.ray.address={on.address}")
    planned = open_run(load_recipe("recipe.yaml", settings))
    planned.stages = {**planned.stages, "represent": Held()}
    jobs = [planned.jobs["represent/qwen"], planned.jobs["merge/selection"]]
    for job in jobs:
        shutil.rmtree(copied / job.id)
    shutil.rmtree(copied / "jobs")
    (copied / "hold").touch()
    shards, dead = {}, []

    def kill():
        until = time.monotonic() + PATIENCE
        while len(held(copied)) < 2 and time.monotonic() < until:
            time.sleep(0.05)
        shards.update(held(copied))
        dead.extend(node.node_id[:6] for node in on.worker_nodes)
        try:
            kill_node(on, dead[0])
        finally:
            (copied / "hold").unlink()

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    run_jobs(planned, jobs, None)
    killer.join()
    made = read_manifest(copied / "represent/qwen").made["shards"]
    lost = next(shard for node, shard in shards.items() if node.endswith(dead[0]))
    assert len(shards) == 2, "both nodes have begun a shard"
    assert made[lost]["attempt"] == 2 and not made[lost]["node"].endswith(dead[0])
    assert len(made) == len(list((copied / "represent/qwen").glob("shard-*.safetensors"))) > 2
    assert (
        planned.status(jobs[1]).state == "done"
        and read_manifest(copied / "merge/selection").made["attempt"] == 1
    )
    before = files_of(copied / "represent/qwen")
    shutil.rmtree(copied / "represent/qwen")
    run_jobs(open_run(load_recipe("recipe.yaml")), [jobs[0]], None)
    assert files_of(copied / "represent/qwen") == before


def test_a_cluster_without_what_a_job_needs_and_a_folder_that_nobody_sees(on, copied, monkeypatch):
    settings = (
        "runtime.engine=ray", f"runtime.ray.address={on.address}", "runtime.ray.patience=0",
        "runtime.ray.resources={merge/selection: {disk: 2}}",
    )  # fmt: skip
    planned = open_run(load_recipe("recipe.yaml", settings))
    with pytest.raises(
        MachineError, match=r"merge/selection needs 2 disk in one node, and the most .* is 0 disk"
    ):
        run_jobs(planned, [planned.jobs["merge/selection"]], None)
    monkeypatch.setattr("fusionchat.run.engine.ray.cluster.write_text", lambda path, token: None)
    with (
        joined(RayRuntime(address=on.address)),
        pytest.raises(MachineError, match="not see the run's folder"),
    ):
        probe(copied, nodes_now())
