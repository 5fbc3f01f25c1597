"""What jobs ask of a cluster, and what a cluster lacks for one, in words."""

import pytest

from fusionchat.run.engine.ray.asks import Ask, Node, ask_of, cores, is_room, lacking
from fusionchat.run.job import Job, Resources
from fusionchat.runtime import RuntimeSettings
from tests.run.toy import Words

BIG = Node("big", "1", {"CPU": 64.0, "GPU": 8.0, "memory": 500e9, "node:1": 1.0})
SMALL = Node("small", "2", {"CPU": 16.0, "memory": 60e9, "disk": 1.0})


def ask(nodes=(BIG, SMALL), runtime=None, **resources):
    job = Job(stage="represent", name="qwen", version=1, settings=Words(), resources=Resources(**resources))
    return ask_of(job, RuntimeSettings(**(runtime or {})), nodes)


def test_a_job_asks_for_its_threads_gpus_and_memory():
    assert ask(threads=4, memory=3e9) == Ask(4, 0, 3_000_000_000)
    assert ask(threads=4, memory=3e9).options == {
        "num_cpus": 4, "num_gpus": 0, "memory": 3_000_000_000, "resources": None
    }  # fmt: skip
    assert ask(threads=4, memory=910e6) == ask(threads=4, memory=934e6) == Ask(4, 0, 1_000_000_000)
    on_gpu = ask(threads=4, gpus=2, memory=90e9)
    assert on_gpu == Ask(4, 2, 0) and on_gpu.resources == {"CPU": 4.0, "GPU": 2.0}


def test_gpus_are_asked_for_where_there_are_any_or_where_the_recipe_says_so():
    assert ask(nodes=(SMALL,), threads=1, gpus=1).gpus == 0
    assert ask(nodes=(SMALL,), threads=1, gpus=1, runtime={"device": "cuda"}).gpus == 1


def test_each_rank_asks_for_its_share():
    assert ask(threads=8, gpus=4, parallel="ranks", processes=4, memory=8e9) == Ask(2, 1, 0, (), 4)
    assert ask(nodes=(SMALL,), threads=2, parallel="ranks", processes=4, memory=8e9) == Ask(
        1, 0, 2 * 10**9, (), 4
    )


def test_auto_is_a_rank_for_each_gpu_of_the_smallest_node_with_gpus_and_one_without():
    auto = {"threads": 8, "parallel": "ranks", "processes": "auto"}
    assert ask(gpus=1, **auto) == Ask(1, 1, 0, (), 8)
    four = BIG._replace(has={"CPU": 64.0, "GPU": 4.0})
    assert ask(nodes=(BIG, four, SMALL), gpus=1, **auto) == Ask(2, 1, 0, (), 4)
    assert ask(nodes=(SMALL,), gpus=1, **auto) == Ask(8) and ask(**auto) == Ask(8)


def test_custom_resources_are_by_job():
    ray = {
        "resources": {"represent/*": {"disk": 1}, "represent/q?en": {"fast": 0.5}, "distill/*": {"other": 1}}
    }
    found = ask(threads=1, runtime={"ray": ray})
    assert found.custom == (("disk", 1.0), ("fast", 0.5)) and found.resources["fast"] == 0.5


@pytest.mark.parametrize(
    ("gpus", "processes", "expected"),
    [(0, 1, 16), (1, 1, 8), (4, 1, 32), (0, 4, 4), (9, 1, 1)],
)
def test_all_cores_are_those_of_the_smallest_node_or_the_share_of_the_gpus(gpus, processes, expected):
    assert cores((BIG, SMALL), gpus, processes) == expected


def test_what_a_cluster_lacks_is_named_with_the_most_that_a_node_has():
    assert lacking(Ask(4, 8), (BIG, SMALL)) == ""
    assert lacking(Ask(4, 9), (BIG, SMALL)) == "9 GPU in one node, and the most that a node has is 8 GPU"
    assert lacking(Ask(1, memory=10**12), (BIG,)).startswith(
        "1.0 TB of memory in one node, and the most that a node has is"
    )
    assert (
        lacking(Ask(1, custom=(("fast", 2.0),)), (BIG,))
        == "2 fast in one node, and the most that a node has is 0 fast"
    )
    assert (
        lacking(Ask(1, 1, custom=(("disk", 1.0),)), (BIG, SMALL))
        == "1 CPU and 1 GPU and 1 disk in one node, and no node has all of it"
    )
    assert lacking(Ask(8, 1, processes=8), (BIG,)) == ""
    assert (
        lacking(Ask(9, 1, processes=8), (BIG,))
        == "8 processes with 9 CPU and 1 GPU each, and there is room for 7"
    )
    assert lacking(Ask(1), ()) == "1 CPU in one node, and the most that a node has is 0 CPU"


def test_room_is_what_others_leave_of_all_nodes_together():
    assert is_room(Ask(1, 1), [Ask(1, 1, processes=6), Ask(8, 1)], (BIG,))
    assert not is_room(Ask(1, 1), [Ask(1, 1, processes=7), Ask(8, 1)], (BIG,))
    assert is_room(Ask(16), [Ask(64)], (BIG, SMALL)) and not is_room(Ask(17), [Ask(64)], (BIG, SMALL))
