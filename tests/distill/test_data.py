"""Micro-batches as tensors: rows of the members, right padding; fillers bear no loss."""

import numpy as np
import pytest

from fusionchat.corpus.render import Rendered
from fusionchat.distill.data import StudentData
from fusionchat.distill.plan import plan_steps
from fusionchat.errors import ArtifactError
from tests.build import make_topk


def rendered(length, rows):
    ids = np.arange(10, 10 + length, dtype=np.int32)
    places = np.asarray(rows, dtype=np.int32)
    zero = np.zeros(len(rows), np.int32)
    return Rendered(ids, places, zero, zero, zero)


def test_a_micro_batch_carries_the_rows_of_its_members():
    conversations = [rendered(4, [2, 3]), rendered(6, [5])]
    soft = make_topk(0, [2, 1])
    plan = plan_steps([2, 1], [4, 6], epochs=1, batch_size=2, passes=1, seed=0)
    batch = StudentData(conversations, soft, plan)[0]
    assert plan[0].members == [0, 1]
    assert batch["positions"].tolist() == [1, 2, 6 + 4]
    assert batch["labels"].tolist() == [12, 13, 15]
    assert batch["input_ids"][0].tolist() == [10, 11, 12, 13, 0, 0]
    assert batch["attention_mask"].sum(1).tolist() == [4, 6]
    np.testing.assert_array_equal(batch["ids"].numpy(), soft.ids)
    assert batch["step_rows"].item() == 3


def test_a_filler_bears_no_loss():
    data = StudentData(
        [rendered(4, [2, 3])], None, plan_steps([2], [4], epochs=1, batch_size=1, passes=2, seed=0)
    )
    assert [len(data[i]["labels"]) for i in range(2)] == [2, 0]


def test_plain_fine_tuning_has_no_distribution():
    data = StudentData(
        [rendered(4, [2])], None, plan_steps([1], [4], epochs=1, batch_size=1, passes=1, seed=0)
    )
    assert not data[0]["present"].any() and data[0]["ids"].shape == (1, 1)
    assert data[0]["logprobs"].item() == pytest.approx(-np.inf)


@pytest.mark.parametrize("rows", [[2, 2], [1, 2], [2]])
def test_distributions_of_another_rendering_are_refused(rows):
    plan = plan_steps([2, 1], [4, 6], epochs=1, batch_size=2, passes=1, seed=0)
    with pytest.raises(ArtifactError, match="tokens have changed"):
        StudentData([rendered(4, [2, 3]), rendered(6, [5])], make_topk(0, rows), plan)
