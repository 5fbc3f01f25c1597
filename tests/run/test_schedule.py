"""List scheduling: by hand where it can be, and its bounds for random graphs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusionchat.run.schedule import Task, critical_path, schedule, take, ways_to_end


def times(found):
    return {one.name: (round(one.begin, 6), round(one.end, 6)) for one in found.placed}


def test_independent_jobs_are_side_by_side_and_a_chain_is_not():
    found = schedule(
        [Task("a", 4, 1), Task("b", 3, 1), Task("c", 2, 1, ("a",)), Task("d", 1, 0, ("b", "c"))], 1, 2
    )
    assert times(found) == {"a": (0, 4), "b": (0, 3), "c": (4, 6), "d": (6, 7)}
    assert (found.length, found.critical, found.critical_seconds) == (7, ("a", "c", "d"), 7)
    assert found.gpu_seconds == 9 and found.idle == pytest.approx(1 - 9 / 14)


def test_the_job_with_the_longest_way_goes_first():
    found = schedule([Task("short", 1, 1), Task("first", 1, 1), Task("last", 9, 1, ("first",))], 1, 1)
    assert times(found)["first"] == (0, 1) and times(found)["short"] == (10, 11)


def test_free_gpus_help_with_shards_until_another_job_needs_them():
    found = schedule(
        [Task("capture", 12, 2, shards=True), Task("x", 2, 0), Task("train", 1, 6, ("x",))], 1, 8
    )
    # 4 groups for 2 s (8 of 12), then 1 for 1 s beside the training, then 4 again for the last 3
    assert times(found) == {"x": (0, 2), "train": (2, 3), "capture": (0, 3.75)}
    assert found.gpu_seconds == pytest.approx(24 + 6) and found.critical_seconds == pytest.approx(3)


def test_a_capture_stays_on_one_node_and_ranks_may_spread():
    with pytest.raises(ValueError, match="big needs 9 GPUs, and a node has 8"):
        schedule([Task("big", 1, 9)], 4, 8)
    with pytest.raises(ValueError, match="big needs 33 GPUs, and all nodes have 32"):
        schedule([Task("big", 1, 33, spreads=True)], 4, 8)
    assert schedule([Task("big", 1, 32, spreads=True)], 4, 8).idle == pytest.approx(0)


def test_gpus_are_taken_from_the_fullest_node_that_has_enough():
    free = {0: 8, 1: 3, 2: 2}
    assert take(Task("a", 1, 2), free) == {2: 2} and take(Task("b", 1, 4), free) == {0: 4}
    assert take(Task("c", 1, 6, spreads=True), free) == {0: 4, 1: 2} and free == {0: 0, 1: 1, 2: 0}
    assert take(Task("d", 1, 2), free) is None and take(Task("e", 1, 2, spreads=True), free) is None
    assert take(Task("f", 1), free) == {}


def test_nothing_takes_no_time():
    assert schedule([], 1, 1)[:4] == ((), 0.0, (), 0.0)


@st.composite
def graphs(draw):
    tasks = []
    for n in range(draw(st.integers(1, 8))):
        needs = tuple(f"t{m}" for m in range(n) if draw(st.booleans()) and draw(st.booleans()))
        gpus = draw(st.integers(0, 3))
        tasks.append(
            Task(f"t{n}", draw(st.integers(1, 20)), gpus, needs, draw(st.booleans()), draw(st.booleans()))
        )
    return tasks


@given(graphs(), st.integers(1, 3), st.integers(3, 4))
def test_no_schedule_is_shorter_than_its_critical_path_and_its_work_and_all_work_is_done(tasks, nodes, gpus):
    found = schedule(tasks, nodes, gpus)
    assert found.gpu_seconds == pytest.approx(sum(task.seconds * task.gpus for task in tasks))
    assert found.length >= found.critical_seconds - 1e-6 and -1e-6 <= found.idle <= 1
    when = times(found)
    assert len(when) == len(tasks)
    assert all(when[task.name][0] >= when[need][1] - 1e-6 for task in tasks for need in task.needs)
    ways = ways_to_end(tasks, {task.name: task.seconds for task in tasks})
    assert sum(
        next(t.seconds for t in tasks if t.name == name) for name in critical_path(tasks, ways)
    ) == max(ways.values())
