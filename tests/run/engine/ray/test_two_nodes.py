"""A real Ray cluster of two nodes on this machine: a capture that both share, one of which dies, and a job beside it."""

import os
import shutil
import threading
import time

import pytest

ray = pytest.importorskip("ray", reason="the extra `ray` is not installed")

from fusionchat.artifacts import read_manifest  # noqa: E402
from fusionchat.errors import MachineError  # noqa: E402
from fusionchat.recipe.schema import load_recipe  # noqa: E402
from fusionchat.represent.store.read import DistributionStore  # noqa: E402
from fusionchat.run.engine.engines import run_jobs  # noqa: E402
from fusionchat.run.engine.ray.cluster import joined, nodes_now, probe  # noqa: E402
from fusionchat.runtime import RayRuntime  # noqa: E402
from fusionchat.stages.pipeline import open_run  # noqa: E402
from tests.run.engine.ray.held import Held  # noqa: E402
from tests.structure import ROOT  # noqa: E402

NODE = {"num_cpus": 1, "object_store_memory": 75 * 2**20, "memory": 8 * 10**9, "include_dashboard": False}
PATIENCE = 120.0


@pytest.fixture(scope="module")
def cluster():
    from ray.cluster_utils import Cluster

    path = os.pathsep.join([str(ROOT), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    asked = {"RAY_worker_niceness": "0", "RAY_USAGE_STATS_ENABLED": "0", "PYTHONPATH": path}
    before = {name: os.environ.get(name) for name in asked}
    os.environ.update(asked)
    made = Cluster(
        initialize_head=True, head_node_args={**NODE, "no_monitor": True, "include_log_monitor": False}
    )
    made.second = made.add_node(**NODE)
    yield made
    made.shutdown()
    for name, value in before.items():
        os.environ.pop(name) if value is None else os.environ.update({name: value})


def held(folder):
    """Nodes that wait with a shard, and the shard."""
    return dict(path.name.removeprefix("held-").rsplit("-", 1) for path in folder.glob("held-*"))


def test_a_node_that_dies_in_a_capture_costs_its_shard_which_the_other_makes(
    cluster, copied, finished, monkeypatch
):
    monkeypatch.setattr("fusionchat.stages.represent.shard_rows", lambda _: 60)
    settings = ("runtime.engine=ray", f"runtime.ray.address={cluster.address}")
    planned = open_run(load_recipe("recipe.yaml", settings))
    planned.stages = {**planned.stages, "represent": Held()}
    jobs = [planned.jobs["represent/qwen"], planned.jobs["merge/selection"]]
    for job in jobs:
        shutil.rmtree(copied / job.id)
    (copied / "hold").touch()
    dead = cluster.second.node_id[:6]
    shards = {}

    def kill():
        until = time.monotonic() + PATIENCE
        while len(held(copied)) < 2 and time.monotonic() < until:
            time.sleep(0.05)
        shards.update(held(copied))
        cluster.remove_node(cluster.second, allow_graceful=False)
        (copied / "hold").unlink()

    killer = threading.Thread(target=kill)
    killer.start()
    run_jobs(planned, jobs, None)
    killer.join()
    made = read_manifest(copied / "represent/qwen").made["shards"]
    lost = next(shard for node, shard in shards.items() if node.endswith(dead))
    assert len(shards) == 2, "both nodes have begun a shard"
    assert made[lost]["attempt"] == 2 and not made[lost]["node"].endswith(dead)
    assert len(made) == len(list((copied / "represent/qwen").glob("shard-*.safetensors"))) > 2
    mine, theirs = (DistributionStore(folder / "represent/qwen") for folder in (copied, finished.folder))
    for name in theirs.shard(0).columns:
        assert mine.column(name, 0, len(mine)).tobytes() == theirs.column(name, 0, len(theirs)).tobytes()
    assert (
        planned.status(jobs[1]).state == "done"
        and read_manifest(copied / "merge/selection").made["attempt"] == 1
    )


def test_a_cluster_without_what_a_job_needs_and_a_folder_that_nobody_sees(cluster, copied, monkeypatch):
    settings = (
        "runtime.engine=ray", f"runtime.ray.address={cluster.address}", "runtime.ray.patience=0",
        "runtime.ray.resources={merge/selection: {disk: 2}}",
    )  # fmt: skip
    planned = open_run(load_recipe("recipe.yaml", settings))
    with pytest.raises(
        MachineError, match=r"merge/selection needs 2 disk in one node, and the most .* is 0 disk"
    ):
        run_jobs(planned, [planned.jobs["merge/selection"]], None)
    monkeypatch.setattr("fusionchat.run.engine.ray.cluster.write_text", lambda path, token: None)
    with (
        joined(RayRuntime(address=cluster.address)),
        pytest.raises(MachineError, match="not see the run's folder"),
    ):
        probe(copied, nodes_now())
