"""The plan of a training: every conversation once an epoch, whatever the passes."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fusionchat.distill.plan import plan_steps


@settings(max_examples=60, deadline=None)
@given(
    count=st.integers(1, 40),
    epochs=st.sampled_from([0.5, 1, 2, 2.5]),
    batch_size=st.integers(1, 12),
    passes=st.integers(1, 5),
    seed=st.integers(0, 99),
)
def test_every_conversation_is_seen_once_an_epoch(count, epochs, batch_size, passes, seed):
    rows = np.random.default_rng(seed).integers(1, 9, count).tolist()
    plan = plan_steps(rows, rows, epochs=epochs, batch_size=batch_size, passes=passes, seed=seed)
    assert len(plan) % passes == 0
    seen = [i for micro in plan if micro.counts for i in micro.members]
    assert len(seen) == max(1, round(epochs * count))
    assert max(np.bincount(seen, minlength=count)) <= np.ceil(epochs)
    assert min(np.bincount(seen, minlength=count)) >= int(epochs)
    for start in range(0, len(plan), passes):
        step = plan[start : start + passes]
        total = sum(rows[i] for micro in step if micro.counts for i in micro.members)
        assert {micro.step_rows for micro in step} == {total} and all(micro.members for micro in step)


def test_steps_do_not_depend_on_the_passes():
    def steps(passes):
        plan = plan_steps([1] * 23, list(range(23)), epochs=2, batch_size=8, passes=passes, seed=3)
        return [
            sorted(i for micro in plan[s : s + passes] if micro.counts for i in micro.members)
            for s in range(0, len(plan), passes)
        ]

    assert steps(1) == steps(2) == steps(4)
