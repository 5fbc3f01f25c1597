"""Which worker gets which GPUs, on machines that are made up."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusionchat.run.engine.gpus import Choice, choose, first_groups, gpus_here


@pytest.mark.parametrize(
    ("device", "visible", "found"),
    [
        ("auto", None, ("0", "1", "2")),
        ("cuda", None, ("0", "1", "2")),
        ("cpu", None, ()),
        ("cuda:1", None, ()),
        ("mps", "0", ()),
        ("auto", "3, 5", ("3", "5")),
        ("auto", "GPU-aa,GPU-bb", ("GPU-aa", "GPU-bb")),
        ("auto", "", ()),
        ("auto", "2,-1,4", ("2",)),
    ],
)
def test_gpus_of_a_machine(device, visible, found):
    environment = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    assert gpus_here(device, environment, lambda: 3) == found


def test_each_worker_begins_with_one_as_far_as_there_are_any():
    assert first_groups(("0", "1"), 3) == [("0",), ("1",), ()]
    assert first_groups(("0", "1", "2"), 2) == [("0",), ("1",)]
    assert first_groups((), 2) == [(), ()]


def test_a_worker_with_as_many_is_taken_as_it_is():
    assert choose(1, [(), ("3",), ("4",)], ("5",)) == Choice(1, ("3",))
    assert choose(2, [("0",), ("1", "2")], ()) == Choice(1, ("1", "2"))
    assert choose(0, [("0",), (), ("1",)], ()) == Choice(1, ())
    assert choose(0, [("0",)], ()) == Choice(0, ("0",))


def test_a_group_is_made_of_a_worker_s_own_then_free_ones_then_those_of_idle_ones():
    assert choose(2, [("0",), ("1",)], ("7",)) == Choice(0, ("0", "7"))
    assert choose(2, [("0",), ("1",)], ()) == Choice(0, ("0", "1"))
    assert choose(4, [("0",), ("1",)], ("6", "7")) == Choice(0, ("0", "6", "7", "1"))
    assert choose(1, [("0", "1")], ()) == Choice(0, ("0",))
    assert choose(3, [("0",), ("1",)], ()) is None
    assert choose(1, [], ("0",)) is None
    assert choose(1, [()], ()) is None


@given(st.data())
def test_no_gpu_is_given_to_two_workers(data):
    gpus = [str(i) for i in range(data.draw(st.integers(0, 8)))]
    owners = data.draw(st.lists(st.integers(0, 4), min_size=len(gpus), max_size=len(gpus)))
    groups = [tuple(g for g, owner in zip(gpus, owners, strict=True) if owner == i) for i in range(5)]
    free, idle = groups[0], groups[1:4]  # the last is busy
    need = data.draw(st.integers(0, 6))
    found = choose(need, idle, free)
    if found is None:
        assert need > len(free) + sum(map(len, idle))
    elif need:
        assert len(found.gpus) == len(set(found.gpus)) == need and not set(found.gpus) & set(groups[4])
