"""A capture's figures: from its distributions, and from the notes that its shards left."""

import json
import math
import shutil

import numpy as np
import pytest

from fusionchat.represent.notes import Notes
from fusionchat.represent.store.layout import shard_path
from fusionchat.represent.store.read import DistributionStore
from fusionchat.stages.capture_figures import (
    Speed,
    drop_halves,
    keep_notes,
    notes_path,
    read_notes,
    summarize,
)
from fusionchat.stages.corpus import read_part, read_tokens


def test_notes_are_read_as_they_were_written_and_are_missed_without_harm(tmp_path):
    notes = Notes(np.array([2, 5]), {5: 1.5, 2: 0.25}, {5: 7, 2: 1}, batch_tokens=64, halved=1)
    keep_notes(tmp_path, 3, notes)
    held = read_notes(tmp_path, 3)
    assert held is not None and (held.entropy, held.needed) == ((0.25, 1.5), (1, 7))
    assert (held.batch_tokens, held.halved) == (64, 1)
    assert read_notes(tmp_path, 4) is None
    notes_path(tmp_path, 3).write_text('{"halved": "yes"}')
    assert read_notes(tmp_path, 3) is None


def test_notes_and_shards_without_each_other_go(tmp_path):
    """A recipe with fewer shards: what is left of the others must not be taken for this job's. Damaged notes are none."""
    for index in (0, 1, 3):
        keep_notes(tmp_path, index, Notes())
    for index in (0, 2, 3):
        shard_path(tmp_path, index).write_bytes(b"")
    notes_path(tmp_path, 3).write_text("{")
    drop_halves(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        "shard-00000.safetensors", "shard-00000.notes.json", "shard-00003.notes.json"
    }  # fmt: skip


def test_the_figures_of_a_capture_are_those_of_its_rows(finished, tmp_path):
    folder, summary = finished.path("represent/qwen"), finished.manifest("represent/qwen").summary
    corpus = finished.path("corpus/corpus")
    conversations, rendered = read_part(corpus, "train"), read_tokens(corpus, "train", "qwen")
    scored = DistributionStore(folder).scored(rendered, 0, len(conversations))
    assert summary["supervised_tokens"] == scored.tokens.rows
    size = sum(c.supervised_bytes for c in conversations) - summary["unscored_bytes"]
    nats = -float(scored.label_logprob.sum(dtype=np.float64))
    assert summary["bits_per_byte"] == pytest.approx(nats / math.log(2) / size, abs=1e-5)
    by_domain = summary["bits_per_byte_by_domain"]
    assert set(by_domain) == {c.domain or "(none)" for c in conversations}
    low, high = min(by_domain.values()), max(by_domain.values())
    assert low <= summary["bits_per_byte"] <= high
    mass = np.exp(scored.topk.logprobs.astype(float)).sum(1).mean()
    assert summary["mass_kept"] == pytest.approx(mass, abs=1e-5)
    assert summary["sampled_rows"] == min(1000, scored.tokens.rows)
    assert 0 < summary["entropy"] < math.log2(300) + 1 and 1 <= summary["k99_median"] <= summary["k99_p95"]
    assert (
        summary["batch_tokens"] == 2048 and summary["out_of_memory"] == 0 and summary["tokens_per_second"] > 0
    )
    # Without notes what they say is not measured; the rest is as before.
    for path in folder.glob("shard-*.safetensors"):
        shutil.copy(path, tmp_path)
    bare = summarize(tmp_path, rendered, conversations, Speed())
    unknown = {"entropy", "k99_median", "k99_p95", "batch_tokens", "tokens_per_second"}
    assert {name for name, value in bare.items() if value is None} == unknown and bare["sampled_rows"] == 0
    assert json.loads(json.dumps(bare))["bits_per_byte_by_domain"] == by_domain
