"""A finished evaluation, kept and read."""

import json

import numpy as np

from fusionchat.corpus.conversation import Conversation, Message
from fusionchat.evaluate.scores import Items, Scores, read_scores, write_scores
from fusionchat.evaluate.tasks import METRICS

TALKS = [Conversation(n, (Message("assistant", "x"),), domain=d) for n, d in (("a", "math"), ("b", ""))]
BITS = Items.of(TALKS, [3.25, 0.1 + 0.2], np.array([2, 3]))
RIGHT = Items.of(TALKS[1:], [1.0])
SCORES = Scores(7, {"bits_per_byte": BITS, "exact_match": RIGHT}, {"unscored_bytes": 4})


def test_items_are_named_by_their_conversations_and_count_alike_without_sizes():
    assert BITS.ids == ("a", "b") and BITS.domains == ("math", "")
    assert RIGHT.ids == ("b",) and RIGHT.sizes.tolist() == [1] and RIGHT.values.dtype == np.float64


def test_scores_are_read_as_they_were_written(tmp_path):
    write_scores(tmp_path, SCORES)
    found = read_scores(tmp_path)
    assert (found.parameters, found.counts, found.folder) == (7, {"unscored_bytes": 4}, tmp_path)
    for name, items in SCORES.items.items():
        own = found.items[name]
        assert (own.ids, own.domains) == (items.ids, items.domains)
        assert own.values.tolist() == items.values.tolist() and own.values.dtype == np.float64
        assert own.sizes.tolist() == items.sizes.tolist() and own.sizes.dtype == np.int64
    raw = json.loads((tmp_path / "scores.json").read_text())
    assert raw["metrics"]["exact_match"] == {"id": ["b"], "domain": [""], "value": [1.0], "size": [1]}


def test_the_summary_has_every_metric_that_was_measured():
    assert SCORES.summary(METRICS.values()) == {"bits_per_byte": 0.71, "exact_match": 1.0}
    bits_only = SCORES._replace(items={"bits_per_byte": BITS})
    assert bits_only.summary(METRICS.values()) == {"bits_per_byte": 0.71}
