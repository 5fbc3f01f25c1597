"""A real Ray cluster of this machine: three nodes share a capture, one of them dies, and two go on; a job fails twice."""

import os
import shutil
import signal
import threading
import time
from contextlib import ExitStack

import pytest

pytest.importorskip("ray", reason="the extra `ray` is not installed")

from benchmarks.cluster_nodes import cluster, kill_node

from fusionchat.artifacts import read_manifest
from fusionchat.errors import FusionChatError, MachineError
from fusionchat.recipe.schema import load_recipe
from fusionchat.run.engine.engines import run_jobs
from fusionchat.run.engine.ray.cluster import joined, nodes_now, probe
from fusionchat.run.overview import keep_plan, overview
from fusionchat.runtime import RayRuntime
from fusionchat.stages.pipeline import open_run
from tests.run.engine.ray.held import Failing, Held
from tests.run.files import files_of

PATIENCE = 300.0
CAPTURE, MERGE = "represent/qwen", "merge/selection"


@pytest.fixture(scope="module")
def on():
    with ExitStack() as stack:
        try:
            made = stack.enter_context(cluster(3))
        except Exception as error:  # Ray has no other class for it
            pytest.skip(f"Ray cannot start a node here: {error}")
        yield made


@pytest.fixture
def nodes(on):
    """The names of the nodes; the head's is the first."""
    with joined(RayRuntime(address=on.address)):
        found = {node.id[:6]: node.name for node in nodes_now()}
    return [found[node.node_id[:6]] for node in (on.head_node, *on.worker_nodes)]


def held(folder):
    """Nodes that wait with a shard, and the shard."""
    return dict(path.name.removeprefix("held-").rsplit("-", 1) for path in folder.glob("held-*"))


def killing(on, folder, nodes, shards):
    """A thread that kills a node once every one has made a shard and has begun another, which ``shards`` says then."""

    def kill():
        until = time.monotonic() + PATIENCE
        while len(held(folder)) < len(nodes) and time.monotonic() < until:
            time.sleep(0.05)
        shards.update(held(folder))
        try:
            kill_node(on, nodes[1])
        finally:
            (folder / "hold").unlink()

    return threading.Thread(target=kill, daemon=True)


def test_three_nodes_share_a_capture_of_which_one_dies_and_a_job_that_fails_twice_stops_the_run(
    on, nodes, copied, monkeypatch
):
    monkeypatch.setattr("fusionchat.stages.represent.shard_rows", lambda _: 20)
    settings = ("runtime.engine=ray", f"runtime.ray.address={on.address}")
    planned = open_run(load_recipe("recipe.yaml", settings))
    planned.stages = {**planned.stages, "represent": Held(), "merge": Failing()}
    jobs = [planned.jobs[name] for name in (CAPTURE, MERGE, Failing.FAILS)]
    for job in jobs:
        shutil.rmtree(copied / job.id)
    shutil.rmtree(copied / "jobs")
    (copied / "hold").touch()
    shards = dict[str, str]()
    killer = killing(on, copied, nodes, shards)
    killer.start()
    with pytest.raises(FusionChatError, match="It cannot be merged"):
        run_jobs(planned, jobs, None)
    killer.join()

    made = read_manifest(copied / CAPTURE).made["shards"]
    assert {who["node"] for who in made.values()} == set(nodes) == shards.keys(), "all have made shards"
    lost = made[shards[nodes[1]]]
    assert lost["attempt"] == 2 and lost["node"] in (nodes[0], nodes[2])
    assert len(made) == len(list((copied / CAPTURE).glob("shard-*.safetensors")))
    before = files_of(copied / CAPTURE)
    shutil.rmtree(copied / CAPTURE)
    run_jobs(open_run(load_recipe("recipe.yaml")), [jobs[0]], None)
    assert files_of(copied / CAPTURE) == before

    assert [planned.status(job).state for job in jobs] == ["done", "done", "begun"]
    assert read_manifest(copied / MERGE).made["attempt"] == 1
    keep_plan(copied, planned.jobs)
    (failed,) = [line for line in overview(copied) if line.state == "failed"]
    assert (failed.job, failed.attempt, failed.words) == (Failing.FAILS, 2, "It cannot be merged")
    logs = (copied / "jobs" / Failing.FAILS).glob("log-*.txt")
    assert sum(log.read_text().count("before it fails") for log in logs) == 2


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
    heard = []
    before = signal.signal(signal.SIGTERM, lambda *_: heard.append("SIGTERM"))
    try:
        with joined(RayRuntime(address=on.address)):
            os.kill(os.getpid(), signal.SIGTERM)  # Ray's own handler ends the process
            with pytest.raises(MachineError, match="not see the run's folder"):
                probe(copied, nodes_now())
    finally:
        signal.signal(signal.SIGTERM, before)
    assert heard == ["SIGTERM"]
