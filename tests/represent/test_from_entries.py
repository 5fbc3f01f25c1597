"""Entries of another program as a capture, by hand."""

import numpy as np
import pytest

from fusionchat.corpus.render import Rendered
from fusionchat.corpus.rendered_part import join
from fusionchat.errors import ModelError
from fusionchat.models.ref import ModelRef
from fusionchat.represent.asked import Asked
from fusionchat.represent.entries import Entries
from fusionchat.represent.from_entries import scored


def asked(k=2, vocabulary=9):
    return Asked(
        ModelRef("qwen", "m", "m"), vocabulary=vocabulary, k=k, dtype="float32", device="cpu", batch_tokens=8
    )


def part():
    """Two conversations; the supervised tokens are 5 and 6 of the first, 7 of the second."""

    def rendered(ids, rows):
        place = np.arange(len(rows), dtype=np.int32)
        return Rendered(
            np.array(ids, np.int32), np.array(rows, np.int32), np.ones_like(place), place, place + 1
        )

    return join([rendered([1, 5, 6], [1, 2]), rendered([1, 7], [1])])


def entries(*rows):
    """Rows of {token: probability}."""
    return Entries(
        np.array([token for row in rows for token in row]),
        np.log([mass for row in rows for mass in row.values()]),
        np.array([len(row) for row in rows]),
    )


ROWS = ({5: 0.5, 2: 0.25, 3: 0.125}, {2: 0.5, 3: 0.25, 6: 0.0625}, {7: 0.75, 1: 0.25})


def test_the_most_likely_are_kept_and_the_label_is_known():
    made = scored(entries(*ROWS), part(), ["a", "b"], asked())
    assert made.tokens.labels.tolist() == [5, 6, 7] and made.topk.present.all()
    assert made.topk.ids.tolist() == [[5, 2], [2, 3], [7, 1]] and made.topk.ids.dtype == np.int32
    np.testing.assert_allclose(
        np.exp(made.topk.logprobs.astype(float)), [[0.5, 0.25], [0.5, 0.25], [0.75, 0.25]], rtol=1e-3
    )
    np.testing.assert_allclose(np.exp(made.topk.tail[:2].astype(float)), [0.25, 0.25], rtol=1e-3)
    np.testing.assert_allclose(np.exp(made.label_logprob), [0.5, 0.0625, 0.75], rtol=1e-6)
    assert made.topk.logprobs.dtype == made.topk.tail.dtype == np.float16


def test_no_more_are_kept_than_the_vocabulary_has():
    whole = [{token: 0.1 for token in range(9)}] * 3
    assert scored(entries(*whole), part(), ["a", "b"], asked(k=20)).topk.k == 9


def test_fewer_than_were_asked_for_are_refused():
    with pytest.raises(
        ModelError, match="Some tokens have 1 log-probabilities, but 2 were requested"
    ) as caught:
        scored(entries(*ROWS[:2], {7: 0.75}), part(), ["a", "b"], asked())
    assert caught.value.where == "sources.qwen.capture: conversation b"


def test_no_supervised_tokens_are_no_distributions():
    nothing = Entries(np.zeros(0, np.int64), np.zeros(0), np.zeros(0, np.int64))
    none = np.zeros(0, np.int32)
    silent = join([Rendered(np.array([1, 2], np.int32), none, none, none, none)])
    made = scored(nothing, silent, ["a"], asked())
    assert (made.topk.rows, made.topk.k, made.tokens.offsets.tolist()) == (0, 2, [0, 0])


def test_what_adds_up_to_more_than_1_is_no_distribution():
    logits = entries({5: 3.0, 2: 0.25}, *ROWS[1:])
    with pytest.raises(ModelError, match="These are not log-probabilities") as caught:
        scored(logits, part(), ["a", "b"], asked())
    assert caught.value.where == "sources.qwen.capture: conversations a to b"


def test_a_text_whose_own_token_is_not_known_is_named():
    with pytest.raises(ModelError, match="b"):
        scored(entries(*ROWS[:2], {1: 0.5, 2: 0.25}), part(), ["a", "b"], asked())
