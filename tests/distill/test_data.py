"""Micro-batches as tensors: rows of the members, right padding; fillers bear no loss."""

import numpy as np
import pytest

from fusionchat.corpus.render import Rendered
from fusionchat.distill.batching import plan_steps
from fusionchat.distill.data import StudentData, in_a_row
from tests.build import by_conversation, make_scored, make_topk


def rendered(length, rows):
    ids = np.arange(10, 10 + length, dtype=np.int32)
    places = np.asarray(rows, dtype=np.int32)
    zero = np.zeros(len(rows), np.int32)
    return Rendered(ids, places, zero, zero, zero)


def test_a_micro_batch_carries_the_rows_of_its_members():
    conversations = [rendered(4, [2, 3]), rendered(6, [5])]
    soft = make_scored(0, [2, 1])
    plan = plan_steps([2, 1], [4, 6], epochs=1, batch_size=2, micro_tokens=12, seed=0)
    [batch] = StudentData(conversations, by_conversation(soft), plan)[0]
    assert plan[0][0].members == [1, 0]
    assert batch["positions"].tolist() == [4, 6 + 1, 6 + 2]
    assert batch["labels"].tolist() == [15, 12, 13]
    assert batch["input_ids"][0].tolist() == [10, 11, 12, 13, 14, 15]
    assert batch["attention_mask"].sum(1).tolist() == [6, 4]
    np.testing.assert_array_equal(batch["ids"].numpy(), soft.topk.ids[[2, 0, 1]])
    assert batch["step_rows"].item() == 3


def test_a_filler_bears_no_loss():
    data = StudentData(
        [rendered(4, [2, 3])],
        None,
        plan_steps([2], [4], epochs=1, batch_size=1, micro_tokens=4, ranks=2, seed=0),
    )
    assert [[len(batch["labels"]) for batch in data[i]] for i in range(2)] == [[2], [0]]


def test_rows_of_own_text_are_marked_and_left_out_where_they_have_no_distribution():
    conversations = [rendered(4, [2, 3]), rendered(6, [4, 5])]
    soft = by_conversation(make_scored(0, [2, 2], present=[True, True, False, True]))
    plan = plan_steps([2, 2], [4, 6], epochs=1, batch_size=2, micro_tokens=12, seed=0)
    [batch] = StudentData(conversations, soft, plan, own={1})[0]
    assert batch["labels"].tolist() == [15, 12, 13] and batch["own"].tolist() == [True, False, False]
    assert batch["present"].all() and len(batch["tail"]) == len(batch["positions"]) == 3
    [plain] = StudentData(conversations, soft, plan)[0]
    assert len(plain["labels"]) == 4 and not plain["own"].any()


def test_plain_fine_tuning_has_no_distribution():
    data = StudentData(
        [rendered(4, [2])], None, plan_steps([1], [4], epochs=1, batch_size=1, micro_tokens=99, seed=0)
    )
    [batch] = data[0]
    assert not batch["present"].any() and batch["ids"].shape == (1, 1)
    assert batch["logprobs"].item() == pytest.approx(-np.inf)


def test_distributions_of_another_rendering_are_refused():
    plan = plan_steps([2, 1], [4, 6], epochs=1, batch_size=2, micro_tokens=12, seed=0)
    data = StudentData([rendered(4, [2, 3]), rendered(6, [5])], [make_topk(0, [1]), make_topk(0, [1])], plan)
    with pytest.raises(AssertionError, match="one distribution a supervised token"):
        data[0]


def test_distributions_come_one_after_the_other_narrow_ones_with_empty_slots():
    wide, narrow = make_topk(0, [2], k=3), make_topk(1, [1], k=2, present=[False])
    soft = in_a_row([wide, narrow], 3)
    assert [array.dtype for array in soft] == [np.int64, np.float32, np.float32, bool]
    assert soft.ids[2].tolist() == [*narrow.ids[0], 0] and soft.logprobs[2, 2] == -np.inf
    np.testing.assert_array_equal(soft.logprobs[:2], wide.logprobs)
    np.testing.assert_array_equal(soft.tail, np.append(wide.tail, narrow.tail))
    assert soft.present.tolist() == [True, True, False]
