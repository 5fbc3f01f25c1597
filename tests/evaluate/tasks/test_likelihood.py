"""Models' bits per byte over the events that all of them score, from the files of their evaluations."""

import numpy as np

from fusionchat.corpus.conversation import Conversation, Message
from fusionchat.evaluate.row_bits import EVENTS, events_file
from fusionchat.evaluate.scores import Items, Scores
from fusionchat.evaluate.tasks.likelihood import Likelihood
from fusionchat.represent.events import Events

TALKS = [Conversation(name, (Message("assistant", "abcdef"),)) for name in "ab"]


def evaluated(folder, bits, *rows, unscored=0) -> Scores:
    """An evaluation whose rows are (conversation, begin, end), with their bits."""
    place, begin, end = (np.array(part) for part in zip(*rows, strict=True))
    begin, end = begin.astype(np.int32), end.astype(np.int32)
    size = (np.minimum(end, 6) - begin).astype(np.int32)
    events = Events(place.astype(np.int64), np.zeros(len(rows), np.int32), begin, end, size)
    folder.mkdir()
    (folder / EVENTS).write_bytes(events_file(events, np.array(bits, np.float64)))
    sums = [np.bincount(place, part, minlength=2) for part in (bits, size)]
    items = Items.of(TALKS, sums[0], sums[1].astype(np.int64))
    right = Items.of(TALKS, [1.0, 0.0])
    return Scores(1, {"bits_per_byte": items, "exact_match": right}, {"unscored_bytes": unscored}, folder)


def test_what_one_model_does_not_score_leaves_all_and_other_metrics_stay(tmp_path):
    whole = evaluated(tmp_path / "x", [1, 2, 4, 8], (0, 0, 3), (0, 3, 6), (1, 0, 2), (1, 2, 6))
    part = evaluated(tmp_path / "y", [16, 32, 64], (0, 3, 6), (1, 0, 1), (1, 1, 6), unscored=3)
    found, note = Likelihood.comparable({"x": whole, "y": part})
    assert [one.items["bits_per_byte"].values.tolist() for one in found] == [[2, 12], [16, 96]]
    assert all(one.items["bits_per_byte"].sizes.tolist() == [3, 6] for one in found)
    assert all(one.items["exact_match"].values.tolist() == [1, 0] for one in found)
    assert "9 of 12 bytes" in note and "y has no score of 3 bytes" in note


def test_models_that_score_the_same_stay_as_they_are(tmp_path):
    models = {
        "x": evaluated(tmp_path / "x", [1, 2], (0, 0, 6), (1, 0, 6)),
        "y": evaluated(tmp_path / "y", [3, 4, 5], (0, 0, 6), (1, 0, 3), (1, 3, 6)),
    }
    found, note = Likelihood.comparable(models)
    assert note == "" and found[0] is models["x"] and found[1] is models["y"]
