"""`fusionchat show`: what an artifact is, and a conversation with the right tokens and probabilities."""

import numpy as np
import pytest

from fusionchat.errors import ArtifactError
from fusionchat.represent.store.read import DistributionStore
from fusionchat.stages.corpus import read_tokens
from fusionchat.stages.names import CORPUS
from fusionchat.stages.show import describe, percent, show_conversation, visible


def test_a_run_lists_its_finished_jobs(finished):
    shown = describe(str(finished.folder))
    jobs = [row[0] for row in shown.tables[0].rows]
    assert (
        shown.what == "A run"
        and jobs == sorted(finished.jobs)
        and shown.facts["finished jobs"] == str(len(jobs))
    )


def test_a_capture_says_what_its_store_holds(finished):
    shown = describe(str(finished.path("represent/qwen")))
    store = DistributionStore(finished.path("represent/qwen"))
    assert shown.facts["distributions"].startswith(f"{store.rows:,} of {len(store)} conversations")
    assert shown.facts["represent.k"] == "5" and "ids U16 x 5" in shown.facts["columns"]


def test_a_store_at_a_url_is_shown(finished):
    shown = describe(f"file://{finished.path('represent/qwen')}")
    assert "distributions" in shown.facts


@pytest.mark.parametrize(
    "inside, what",
    [
        ("represent/qwen/shard-00000.safetensors", "A shard of a store"),
        (f"{CORPUS}/train.jsonl", "Records"),
        (f"{CORPUS}/rejects.json", "JSON"),
        ("align/qwen/vocabulary_map.safetensors", "Arrays"),
        ("merge/fused/model", "A model"),
    ],
)
def test_every_kind_of_file_is_known(finished, inside, what):
    assert describe(str(finished.folder / inside)).what.startswith(what)


@pytest.mark.parametrize(
    "place, message", [("nowhere", "no such path"), (".", "does not know what this folder is")]
)
def test_what_is_not_known_is_refused(tmp_path, monkeypatch, place, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ArtifactError, match=message):
        describe(place)


def test_a_conversation_has_each_token_with_its_probability(finished):
    folder = finished.path("represent/pivot")
    shown = show_conversation(str(folder), "2")
    tokens = read_tokens(finished.path(CORPUS), "train", "pivot").slice(2, 3)
    (table,) = shown.tables
    assert len(table.rows) == tokens.rows
    own = DistributionStore(folder).column("label_logprob", 2, 3)
    topk = DistributionStore(folder)[2]
    for row, cells in enumerate(table.rows):
        assert cells[1] == percent(own[row]) and cells[2].endswith(f" {percent(topk.logprobs[row, 0])}")
    text = "".join(cells[0] for cells in table.rows)
    assert shown.facts["assistant:"].split()[0] in text.replace("·", " ")
    by_id = shown.what.partition(": ")[2]
    assert show_conversation(str(folder), by_id) == shown


def test_a_fused_conversation_shows_the_label_where_it_was_kept(finished):
    (table,) = show_conversation(str(finished.path("fuse/qwen")), "0").tables
    known = [cells[1] for cells in table.rows if cells[1] != "-"]
    assert known, "labels among the kept tokens have a probability"


def test_a_conversation_that_is_not_there_is_refused(finished, tmp_path):
    with pytest.raises(ArtifactError, match="no conversation"):
        show_conversation(str(finished.path("fuse/qwen")), "100000")
    with pytest.raises(ArtifactError, match="not in a run"):
        show_conversation(str(tmp_path), "0")


@pytest.mark.parametrize(
    "logprob, text", [(0.0, "100.0"), (np.log(0.5), "50.0"), (np.log(0.00234), "0.23"), (np.nan, "-")]
)
def test_probabilities_in_per_cent(logprob, text):
    assert percent(logprob) == text


def test_spaces_and_parts_of_characters_are_seen():
    assert visible(b" the") == "·the" and visible(b"\n") == "⏎" and visible(b"\xe2\x82") == "\\xe2\\x82"
