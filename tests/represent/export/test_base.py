"""Parquet files of examples: named as the hub expects, in groups, whole or not at all."""

import pyarrow.parquet as pq
import pytest

from fusionchat.represent.export import FORMATS
from fusionchat.represent.export.base import GROUP, part_path, write_part
from tests.represent.export.examples import ABOUT, example


def test_parts_have_the_names_that_the_hub_finds(tmp_path):
    assert part_path(tmp_path, 3, 12) == tmp_path / "data" / "train-00003-of-00012.parquet"


@pytest.mark.parametrize("form", FORMATS)
def test_examples_are_written_group_by_group(tmp_path, form):
    path = tmp_path / "part.parquet"
    assert write_part(path, (example() for _ in range(GROUP + 3)), FORMATS[form], ABOUT) == GROUP + 3
    file = pq.ParquetFile(path)
    assert file.metadata.num_rows == GROUP + 3 and file.num_row_groups == 2


def test_a_part_that_is_cut_off_is_not_there(tmp_path):
    def broken():
        yield example()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_part(tmp_path / "part.parquet", broken(), FORMATS["parquet"], ABOUT)
    assert list(tmp_path.iterdir()) == []
