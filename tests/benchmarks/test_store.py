"""The store's benchmark in small: each kind of damage is found and made good, kills lose nothing, invented rows are as said."""

import numpy as np
from benchmarks.store import old_size, size
from benchmarks.store_damage import corrupt
from benchmarks.store_data import invented

from fusionchat.represent.store.layout import Encoding


def test_every_kind_of_damage_is_found_and_made_good(tmp_path):
    rows = invented(1500, 300)
    outcome = corrupt(tmp_path, rows.scored.slice(0, 6), 60)
    assert len(outcome.made) > 25 and {kind.split(",")[0] for kind in outcome.made} >= {
        "header length", "header", "offsets", "checksums", "root", "ids", "logprobs", "ids.ends", "manifest.json", "notes.json"
    }  # fmt: skip
    assert outcome.found == outcome.made and outcome.mended == 60


def test_bytes_a_token_are_under_what_was_asked(tmp_path):
    small = invented(20_000, 49_152)
    assert np.exp(small.scored.topk.logprobs.astype(float)).sum(1).max() < 1.01
    assert size(small, Encoding(49_152), tmp_path / "a") < 56 < old_size(small, tmp_path / "b") < 90
    assert size(small, Encoding(49_152, "uint8", "zstd"), tmp_path / "c") < 34
