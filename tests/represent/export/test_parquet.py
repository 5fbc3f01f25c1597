"""Plain Parquet: what is written is what a reader without FusionChat gets."""

from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest

from fusionchat.represent.export.base import write_part
from fusionchat.represent.export.parquet import Parquet
from tests.represent.export.examples import ABOUT, example


def test_a_record_is_a_conversation_with_lists_of_its_kept_tokens(tmp_path):
    assert write_part(tmp_path / "part.parquet", [example()], Parquet(), ABOUT) == 1
    (record,) = pq.read_table(tmp_path / "part.parquet").to_pylist()
    assert record["id"] == "a" and record["domain"] == "math"
    assert record["input_ids"] == [10, 11, 12, 13, 14, 15] and record["rows"] == [3, 4]
    assert record["token_ids"] == [[13, 40], [14, 50, 99]], "an empty slot is not a token"
    assert np.exp(record["logprobs"][0]) == pytest.approx([0.75, 0.125], rel=1e-3)
    assert np.exp(record["tail"]) == pytest.approx([0.125, 0.125], rel=1e-3)


def test_a_row_that_is_not_aligned_has_no_tokens(tmp_path):
    one = example()
    topk = replace(one.topk, present=np.array([False, True]))
    write_part(tmp_path / "part.parquet", [one._replace(topk=topk)], Parquet(), ABOUT)
    (record,) = pq.read_table(tmp_path / "part.parquet").to_pylist()
    assert record["present"] == [False, True] and record["token_ids"][0] == [] and np.isnan(record["tail"][0])


def test_the_page_names_every_column():
    (text,) = Parquet().notes(ABOUT).values()
    assert all(f"`{name}`" in text for name in Parquet().schema(ABOUT).names)
