"""A real Ray cluster of two nodes on this machine: a capture that both share, one of which dies, and a job beside it."""

import os
import shutil
import threading
import time

import pytest

ray = pytest.importorskip("ray", reason="the extra `ray` is not installed")

from fusionchat.artifacts import read_manifest  # noqa: E402
from fusionchat.errors import MachineError  # noqa: E402
from fusionchat.host import is_running  # noqa: E402
from fusionchat.recipe.schema import load_recipe  # noqa: E402
from fusionchat.run.attempts import attempts  # noqa: E402
from fusionchat.run.engine.engines import run_jobs  # noqa: E402
from fusionchat.run.engine.ray.cluster import joined, nodes_now, probe  # noqa: E402
from fusionchat.runtime import RayRuntime  # noqa: E402
from fusionchat.stages.pipeline import open_run  # noqa: E402
from tests.run.engine.ray.held import Held  # noqa: E402
from tests.run.files import files_of  # noqa: E402
from tests.structure import ROOT  # noqa: E402

NODE = {"num_cpus": 1, "object_store_memory": 75 * 2**20, "memory": 8 * 10**9, "include_dashboard": False}
SLOW = {
    "RAY_agent_register_timeout_ms": "300000",
    "RAY_raylet_start_wait_time_s": "300",
    "RAY_health_check_period_ms": "300",
}
"""So that a busy machine starts a node at all, and a dead one is found soon: nobody answers at its port."""
PATIENCE = 300.0


@pytest.fixture(scope="module")
def cluster():
    from ray.cluster_utils import Cluster

    path = os.pathsep.join([str(ROOT), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    asked = {"RAY_worker_niceness": "0", "RAY_USAGE_STATS_ENABLED": "0", "PYTHONPATH": path, **SLOW}
    before = {name: os.environ.get(name) for name in asked}
    os.environ.update(asked)
    head = {**NODE, "no_monitor": True, "include_log_monitor": False}
    try:
        made = Cluster(initialize_head=True, head_node_args=head)
        made.second = made.add_node(**NODE)
    except Exception as error:  # Ray has no other class for it
        pytest.skip(f"Ray cannot start a node here: {error}")
    yield made
    made.shutdown()
    for name, value in before.items():
        os.environ.pop(name) if value is None else os.environ.update({name: value})


def held(folder):
    """Nodes that wait with a shard, and the shard."""
    return dict(path.name.removeprefix("held-").rsplit("-", 1) for path in folder.glob("held-*"))


def test_a_node_that_dies_in_a_capture_costs_its_shard_which_the_other_makes(cluster, copied, monkeypatch):
    monkeypatch.setattr("fusionchat.stages.represent.shard_rows", lambda _: 60)
    settings = ("runtime.engine=ray", f"runtime.ray.address={cluster.address}")
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
        second = next(one for one in ray.nodes() if "node:__internal_head__" not in one["Resources"])
        dead.append(second["NodeID"][:6])
        tried = attempts(copied, jobs[0].id, jobs[0].fingerprint)
        process = next(one.process for one in tried if one.node.endswith(dead[0]))
        cluster.remove_node(cluster.second, allow_graceful=False)
        while is_running(process) and time.monotonic() < until:
            time.sleep(0.05)  # else it goes on with its shard before it ends
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
